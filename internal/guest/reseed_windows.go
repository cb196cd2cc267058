package guest

import (
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

var (
	setSystemTime      = kernel32.NewProc("SetSystemTime")
	setComputerNameExW = kernel32.NewProc("SetComputerNameExW")
)

var (
	errRandom  = fmt.Errorf("%w: Windows takes no entropy from programs; it reseeds itself if the VM has a generation id", ErrUnsupported)
	errSysprep = fmt.Errorf("%w: use sysprep", ErrUnsupported)
	errSSHKeys = fmt.Errorf("%w in Windows guests", ErrUnsupported)
)

// reseed takes the steps that Windows has, and says of the others that it has them not.
func reseed(s Seed) ([]Step, error) {
	taken := []Step{{Name: "entropy", Err: errRandom}, {Name: "random_seed", Note: "Windows has none"}}
	take := func(name string, wanted bool, do func() (bool, string, error)) {
		if wanted {
			changed, note, err := do()
			taken = append(taken, Step{name, changed, note, classed(err)})
		}
	}
	refuse := func(err error) func() (bool, string, error) {
		return func() (bool, string, error) { return false, "", err }
	}
	take("machine_id", s.MachineID, refuse(errSysprep))
	take("dbus_id", s.MachineID, func() (bool, string, error) { return false, "Windows has none", nil })
	take("clock", !s.Clock.IsZero(), s.setClock)
	take("hostname", s.Hostname != "", func() (bool, string, error) { return setHostname(s.Hostname) })
	take("ssh_keys", s.SSHKeys, refuse(errSSHKeys))
	return taken, nil
}

func classed(err error) error {
	switch {
	case errors.Is(err, os.ErrPermission), errors.Is(err, windows.ERROR_PRIVILEGE_NOT_HELD):
		return fmt.Errorf("%w: %w", ErrNotPermitted, err)
	case errors.Is(err, windows.ERROR_DISK_FULL), errors.Is(err, windows.ERROR_NOT_ENOUGH_MEMORY), errors.Is(err, windows.ERROR_NO_SYSTEM_RESOURCES):
		return fmt.Errorf("%w: %w", ErrResources, err)
	default:
		return err
	}
}

// writeClock sets the wall clock, to a millisecond.
func writeClock(now time.Time) error {
	if err := enablePrivilege("SeSystemtimePrivilege"); err != nil {
		return err
	}
	t := now.UTC()
	to := windows.Systemtime{
		Year: uint16(t.Year()), Month: uint16(t.Month()), DayOfWeek: uint16(t.Weekday()), Day: uint16(t.Day()),
		Hour: uint16(t.Hour()), Minute: uint16(t.Minute()), Second: uint16(t.Second()),
		Milliseconds: uint16(t.Nanosecond() / int(time.Millisecond)),
	}
	if ok, _, err := setSystemTime.Call(uintptr(unsafe.Pointer(&to))); ok == 0 {
		return os.NewSyscallError("SetSystemTime", err)
	}
	return nil
}

// enablePrivilege enables a privilege that the agent's account has.
func enablePrivilege(name string) error {
	var token windows.Token
	err := windows.OpenProcessToken(windows.CurrentProcess(), windows.TOKEN_ADJUST_PRIVILEGES|windows.TOKEN_QUERY, &token)
	if err != nil {
		return os.NewSyscallError("OpenProcessToken", err)
	}
	defer token.Close()
	wide, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return err
	}
	privileges := windows.Tokenprivileges{PrivilegeCount: 1}
	privileges.Privileges[0].Attributes = windows.SE_PRIVILEGE_ENABLED
	if err := windows.LookupPrivilegeValue(nil, wide, &privileges.Privileges[0].Luid); err != nil {
		return os.NewSyscallError("LookupPrivilegeValue", err)
	}
	// An account without it gets no error here, but from the call that needs it.
	return os.NewSyscallError("AdjustTokenPrivileges", windows.AdjustTokenPrivileges(token, false, &privileges, 0, nil, nil))
}

func setHostname(name string) (changed bool, note string, err error) {
	if now, err := os.Hostname(); err == nil && now == name {
		return false, "already set", nil
	}
	wide, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return false, "", err
	}
	ok, _, err := setComputerNameExW.Call(windows.ComputerNamePhysicalDnsHostname, uintptr(unsafe.Pointer(wide)))
	if ok == 0 {
		return false, "", os.NewSyscallError("SetComputerNameEx", err)
	}
	return true, "from the next restart of Windows on", nil
}
