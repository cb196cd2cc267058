package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/windows"
)

// interruptWord is the first argument of a helper that interrupts a process.
const interruptWord = "-interrupt-console-of"

// attachTime is how long a process that has just started may take to have its console.
const attachTime = time.Second

// interruptTime is how long a helper may take.
const interruptTime = 10 * time.Second

// interrupt sends Ctrl-C to all that is attached to the console of a process. A program is
// attached to one console at most, and it would get the Ctrl-C too: a helper does it.
func interrupt(pid int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), interruptTime)
	defer cancel()
	c := exec.CommandContext(ctx, self, interruptWord, strconv.Itoa(pid))
	c.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.DETACHED_PROCESS}
	said, err := c.CombinedOutput()
	if err != nil {
		return fmt.Errorf("interrupt: %w: %s", err, strings.TrimSpace(string(said)))
	}
	return nil
}

func actAsHelper() (status int, acted bool) {
	if len(os.Args) != 3 || os.Args[1] != interruptWord {
		return 0, false
	}
	pid, err := strconv.ParseUint(os.Args[2], 10, 32)
	if err == nil {
		err = interruptHere(uint32(pid))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}

var (
	attachConsole         = kernel32.NewProc("AttachConsole")
	freeConsole           = kernel32.NewProc("FreeConsole")
	procSetCtrlHandler    = kernel32.NewProc("SetConsoleCtrlHandler")
	generateConsoleCtrlEv = kernel32.NewProc("GenerateConsoleCtrlEvent")
)

// interruptHere attaches this program to the console of a process, and sends Ctrl-C there, which
// the program itself ignores.
func interruptHere(pid uint32) error {
	_, _, _ = freeConsole.Call() // there may be none
	// A process attaches itself a little after its start.
	ok, _, err := attachConsole.Call(uintptr(pid))
	for end := time.Now().Add(attachTime); ok == 0 && isAny(err, windows.ERROR_INVALID_HANDLE, windows.ERROR_GEN_FAILURE) && time.Now().Before(end); {
		<-time.After(10 * time.Millisecond)
		ok, _, err = attachConsole.Call(uintptr(pid))
	}
	if ok == 0 {
		if errors.Is(err, windows.ERROR_INVALID_HANDLE) {
			return errors.New("the process has no console")
		}
		return os.NewSyscallError("AttachConsole", err)
	}
	if err := setConsoleCtrlHandler(0, true); err != nil {
		return err
	}
	const ctrlC, everybody = 0, 0
	if ok, _, err := generateConsoleCtrlEv.Call(ctrlC, everybody); ok == 0 {
		return os.NewSyscallError("GenerateConsoleCtrlEvent", err)
	}
	return nil
}

// setConsoleCtrlHandler adds a handler or takes it away; 0 is the one that ignores Ctrl-C.
func setConsoleCtrlHandler(handler uintptr, add bool) error {
	var adds uintptr
	if add {
		adds = 1
	}
	if ok, _, err := procSetCtrlHandler.Call(handler, adds); ok == 0 {
		return os.NewSyscallError("SetConsoleCtrlHandler", err)
	}
	return nil
}
