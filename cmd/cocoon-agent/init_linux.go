package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// initRun is process 1, where that is not an init system: it runs the agent as its
// child and reaps whatever is orphaned, which the kernel gives to process 1. A
// process that is its own init would have to tell these from its commands, whose
// exit statuses it must not take away. SIGTERM and SIGINT (Ctrl-Alt-Del, as the
// kernel tells process 1) are the agent's. It ends with the agent.
func initRun() error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	self, err := os.Executable()
	if err != nil { // no /proc
		self = os.Args[0]
	}
	agent, err := os.StartProcess(self, os.Args, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		return fmt.Errorf("PID 1: start the agent: %w", err)
	}
	go func() { // ends with the program
		for s := range signals {
			_ = agent.Signal(s)
		}
	}()
	return reapUntil(agent.Pid)
}

// reapUntil reaps children until one ends, and says how that did.
func reapUntil(pid int) error {
	for {
		var status syscall.WaitStatus
		ended, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return fmt.Errorf("PID 1: wait: %w", err)
		case ended != pid:
		case status.Signaled():
			return fmt.Errorf("PID 1: the agent died: signal: %v", status.Signal())
		case status.ExitStatus() != 0:
			return fmt.Errorf("PID 1: the agent exited with status %d", status.ExitStatus())
		default:
			return nil
		}
	}
}
