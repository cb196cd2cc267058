package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unsafe"

	"github.com/alecthomas/kong"
	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/eventlog"
	"golang.org/x/sys/windows/svc/mgr"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

// systemCommands are those that only this operating system has.
func systemCommands() []kong.Option {
	return []kong.Option{kong.DynamicCommand("service", "Install, remove or control the Windows service cocoon-agent.", "", new(serviceCommand))}
}

// helpIfAsked is the whole program if the agent has started it as a helper.
func helpIfAsked() (status int, helped bool) { return proc.ActAsHelper() }

type serviceCommand struct {
	Install   serviceInstall   `cmd:"" help:"Install the service, or take over the one of that name, with the options of serve that follow --."`
	Uninstall serviceUninstall `cmd:"" help:"Stop and remove the service."`
	Start     serviceStart     `cmd:"" help:"Start the service, and wait until it runs."`
	Stop      serviceStop      `cmd:"" help:"Stop the service, and wait until it has stopped."`
	Status    serviceStatus    `cmd:"" help:"Print the state of the service. Exit status: 0 if it runs, 3 if not, 4 if it is not installed."`
}

// controlTime is how long a service may take to start or to stop, and controlInterval how often it
// is looked at.
const (
	controlTime     = time.Minute
	controlInterval = 100 * time.Millisecond
)

// Exit statuses of "service status".
const (
	statusStopped      = 3
	statusNotInstalled = 4
)

// withService calls do with the service.
func withService(do func(*mgr.Service) error) error {
	m, err := mgr.Connect()
	if err != nil {
		return fmt.Errorf("service manager: %w", err)
	}
	defer func() { _ = m.Disconnect() }()
	s, err := m.OpenService(serviceName)
	if err != nil {
		return fmt.Errorf("service %s: %w", serviceName, err)
	}
	defer s.Close()
	return do(s)
}

type serviceInstall struct {
	Options []string `arg:"" optional:"" passthrough:"" help:"Options of serve, such as --port 1024."`
}

// Run installs the service. A service of that name becomes this program's. If it runs then it goes
// on as it is: it may be what runs this command.
func (c *serviceInstall) Run(k *kong.Kong) error {
	options := c.Options
	if len(options) > 0 && options[0] == "--" {
		options = options[1:]
	}
	if err := checkServe(options); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	m, err := mgr.Connect()
	if err != nil {
		return fmt.Errorf("service manager: %w", err)
	}
	defer func() { _ = m.Disconnect() }()
	config := mgr.Config{
		DisplayName: "Cocoon agent", StartType: mgr.StartAutomatic, ErrorControl: mgr.ErrorNormal,
	}
	args := append([]string{"serve", "--service"}, options...)
	s, err := m.CreateService(serviceName, self, config, args...)
	if errors.Is(err, windows.ERROR_SERVICE_EXISTS) {
		s, err = takeOver(m, config, windows.ComposeCommandLine(append([]string{self}, args...)))
	}
	if err != nil {
		return fmt.Errorf("service %s: %w", serviceName, err)
	}
	defer s.Close()
	warn := func(what any) { _, _ = fmt.Fprintln(k.Stderr, "cocoon-agent: warning:", what) }
	for _, err := range improve(s) {
		warn(err)
	}
	for _, path := range []string{self, filepath.Dir(self)} {
		if who, err := changeableBy(path); err != nil {
			warn(err)
		} else if who != "" {
			warn(fmt.Sprintf("%s can be changed by %s: see to it that administrators alone can, as the program runs as LocalSystem", path, who))
		}
	}
	if status, err := s.Query(); err == nil && status.State != svc.Stopped {
		_, _ = fmt.Fprintln(k.Stdout, "the service runs: it goes on as it is until it is stopped and started, or the guest is")
	}
	return nil
}

// errWithin: the service would end whoever stops it, before he can go on.
var errWithin = errors.New("this command runs through the service, which would end it: use the console, or a scheduled task")

// within reports whether this program runs below the service: in the job of one of its commands.
func within(s *mgr.Service) bool {
	status, err := s.Query()
	if err != nil || status.ProcessId == 0 {
		return false
	}
	parents, err := parentsOfAll()
	if err != nil {
		return false
	}
	pid := windows.GetCurrentProcessId()
	for range len(parents) {
		if pid == status.ProcessId {
			return true
		}
		pid = parents[pid]
	}
	return false
}

// parentsOfAll are the parents of all processes, by their pids.
func parentsOfAll() (map[uint32]uint32, error) {
	all, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPPROCESS, 0)
	if err != nil {
		return nil, os.NewSyscallError("CreateToolhelp32Snapshot", err)
	}
	defer func() { _ = windows.CloseHandle(all) }()
	parents := make(map[uint32]uint32)
	var x windows.ProcessEntry32
	x.Size = uint32(unsafe.Sizeof(x))
	for err = windows.Process32First(all, &x); err == nil; err = windows.Process32Next(all, &x) {
		parents[x.ProcessID] = x.ParentProcessID
	}
	return parents, nil
}

// takeOver makes the service that is there this program's.
func takeOver(m *mgr.Mgr, config mgr.Config, line string) (*mgr.Service, error) {
	s, err := m.OpenService(serviceName)
	if err != nil {
		return nil, err
	}
	wide := windows.StringToUTF16Ptr
	err = windows.ChangeServiceConfig(s.Handle, windows.SERVICE_WIN32_OWN_PROCESS, config.StartType, config.ErrorControl,
		wide(line), nil, nil, nil, wide("LocalSystem"), nil, wide(config.DisplayName))
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// commandOfService is the command line that the service manager runs.
func commandOfService(s *mgr.Service) (string, error) {
	for size := uint32(1024); ; {
		buf := make([]byte, size)
		config := (*windows.QUERY_SERVICE_CONFIG)(unsafe.Pointer(&buf[0]))
		err := windows.QueryServiceConfig(s.Handle, config, size, &size)
		if errors.Is(err, windows.ERROR_INSUFFICIENT_BUFFER) {
			continue
		}
		if err != nil {
			return "", err
		}
		return windows.UTF16PtrToString(config.BinaryPathName), nil
	}
}

// checkServe returns what is wrong with options of "serve".
func checkServe(options []string) error {
	for _, option := range options {
		if name, _, _ := strings.Cut(option, "="); name == "--check" || name == "--service" {
			return misuse("%s is not an option of a service", name)
		}
	}
	_, err := parseServe(append([]string{serveName}, options...))
	return asUsage(err)
}

// improveService sets what an installer cannot set, for the service that runs.
func improveService() (problems []error) {
	err := withService(func(s *mgr.Service) error {
		problems = improve(s)
		return nil
	})
	if err != nil {
		problems = append(problems, err)
	}
	return problems
}

// How a service that fails is restarted: soon, and then at most every half minute. The count of
// failures begins again after a day.
var recovery = []mgr.RecoveryAction{
	{Type: mgr.ServiceRestart, Delay: time.Second},
	{Type: mgr.ServiceRestart, Delay: 5 * time.Second},
	{Type: mgr.ServiceRestart, Delay: 30 * time.Second},
}

const recoveryReset = uint32(24 * 60 * 60) // seconds

// serviceDescription says what the service is for.
const serviceDescription = "Runs commands for the host of this VM, over virtio-vsock."

// improve sets the description, recovery actions, the time for a shutdown, and the source of
// events. The service works without each of them.
func improve(s *mgr.Service) (problems []error) {
	note := func(what string, err error) {
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", what, err))
		}
	}
	note("description", setDescription(s, serviceDescription))
	note("recovery actions", s.SetRecoveryActions(recovery, recoveryReset))
	note("recovery actions for failures without a crash", s.SetRecoveryActionsOnNonCrashFailures(true))
	note("time for a shutdown", setPreshutdownTime(s, waitHint))
	err := eventlog.InstallAsEventCreate(serviceName, eventlog.Error|eventlog.Warning|eventlog.Info)
	if err != nil && !strings.Contains(err.Error(), "already exists") {
		note("source of events", err)
	}
	return problems
}

// setPreshutdownTime sets for how long Windows waits for the service at a shutdown.
func setPreshutdownTime(s *mgr.Service, milliseconds uint32) error {
	return windows.ChangeServiceConfig2(s.Handle, windows.SERVICE_CONFIG_PRESHUTDOWN_INFO, (*byte)(unsafe.Pointer(&milliseconds)))
}

func setDescription(s *mgr.Service, text string) error {
	d := windows.SERVICE_DESCRIPTION{Description: windows.StringToUTF16Ptr(text)}
	return windows.ChangeServiceConfig2(s.Handle, windows.SERVICE_CONFIG_DESCRIPTION, (*byte)(unsafe.Pointer(&d)))
}

type serviceUninstall struct{}

// Run removes the service.
func (*serviceUninstall) Run() error {
	return withService(func(s *mgr.Service) error {
		if err := stopService(s); err != nil {
			return err
		}
		if err := s.Delete(); err != nil {
			return fmt.Errorf("service %s: %w", serviceName, err)
		}
		_ = eventlog.Remove(serviceName) // it may not be there
		return nil
	})
}

type serviceStart struct{}

// Run starts the service.
func (*serviceStart) Run() error {
	return withService(func(s *mgr.Service) error {
		return control(s, svc.Running, func() error { return s.Start() }, windows.ERROR_SERVICE_ALREADY_RUNNING)
	})
}

type serviceStop struct{}

// Run stops the service.
func (*serviceStop) Run() error { return withService(stopService) }

func stopService(s *mgr.Service) error {
	if within(s) {
		return fmt.Errorf("service %s: %w", serviceName, errWithin)
	}
	ask := func() error {
		_, err := s.Control(svc.Stop)
		return err
	}
	return control(s, svc.Stopped, ask, windows.ERROR_SERVICE_CANNOT_ACCEPT_CTRL, windows.ERROR_SERVICE_NOT_ACTIVE)
}

// control asks for a state and waits until the service has it. The service refuses by one of the
// errors while it is on its way elsewhere, such as to a stop before it can start: it is asked again.
// One that is asked to run and then stops has failed.
func control(s *mgr.Service, want svc.State, ask func() error, busy ...error) error {
	asked := false
	for deadline := time.Now().Add(controlTime); ; <-time.After(controlInterval) {
		status, err := s.Query()
		if err == nil && status.State == want {
			return nil
		}
		if err == nil && asked && status.State == svc.Stopped {
			return fmt.Errorf("service %s: it has stopped, with exit code %d; %s says why", serviceName, exitOf(status), defaultLogFile())
		}
		if err == nil && time.Now().After(deadline) {
			return fmt.Errorf("service %s: %s after %v", serviceName, stateName(status.State), controlTime)
		}
		if err == nil && !asked {
			err = ask()
			asked = err == nil
			if slices.ContainsFunc(busy, func(b error) bool { return errors.Is(err, b) }) {
				err = nil
			}
		}
		if err != nil {
			return fmt.Errorf("service %s: %w", serviceName, err)
		}
	}
}

type serviceStatus struct{}

// Run prints the state.
func (*serviceStatus) Run(k *kong.Kong) error {
	var status svc.Status
	var line string
	err := withService(func(s *mgr.Service) (err error) {
		if status, err = s.Query(); err == nil {
			line, err = commandOfService(s)
		}
		return err
	})
	if errors.Is(err, windows.ERROR_SERVICE_DOES_NOT_EXIST) {
		_, _ = fmt.Fprintln(k.Stdout, "not installed")
		return &statusError{statusNotInstalled}
	}
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(k.Stdout, "state:   %s\n", stateName(status.State))
	if status.ProcessId != 0 {
		_, _ = fmt.Fprintf(k.Stdout, "pid:     %d\n", status.ProcessId)
	}
	if code := exitOf(status); status.State == svc.Stopped && code != 0 {
		_, _ = fmt.Fprintf(k.Stdout, "exit:    %d\n", code)
	}
	_, _ = fmt.Fprintf(k.Stdout, "command: %s\n", line)
	if status.State != svc.Running {
		return &statusError{statusStopped}
	}
	return nil
}

func exitOf(s svc.Status) uint32 {
	if s.Win32ExitCode == uint32(windows.ERROR_SERVICE_SPECIFIC_ERROR) {
		return s.ServiceSpecificExitCode
	}
	return s.Win32ExitCode
}

func stateName(s svc.State) string {
	names := map[svc.State]string{
		svc.Stopped: "stopped", svc.StartPending: "starting", svc.StopPending: "stopping", svc.Running: "running",
		svc.ContinuePending: "continuing", svc.PausePending: "pausing", svc.Paused: "paused",
	}
	if name, ok := names[s]; ok {
		return name
	}
	return fmt.Sprintf("state %d", s)
}
