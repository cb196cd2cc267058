package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// runAbove is process 1 of a container: it runs the agent as its child and reaps
// whatever is orphaned, which the kernel gives to process 1. A process that is its
// own init would have to tell these from its commands, whose exit statuses it must
// not take away. SIGTERM and SIGINT are the agent's. It ends with the agent.
func runAbove() error {
	outliveSignals()
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	agent, err := startBelow(os.Args, os.Environ(), nil)
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

// outliveSignals has process 1 take no notice of signals that end a program of Go. The kernel does
// not end process 1 by a signal, but the runtime has handlers.
func outliveSignals() { signal.Notify(make(chan os.Signal, 1)) }

// startBelow starts this program as a child.
func startBelow(args, env []string, sys *syscall.SysProcAttr) (*os.Process, error) {
	self, err := os.Executable()
	if err != nil { // no /proc
		self = args[0]
	}
	return os.StartProcess(self, args, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}, Env: env, Sys: sys})
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

const (
	// againTime is how long an init waits before it starts the agent again.
	againTime = time.Second

	// agentTime is how long the agent may take to end, after the grace of its commands.
	agentTime = 30 * time.Second

	// othersTime is how long all other processes may take to end, after SIGTERM and then
	// after SIGKILL.
	othersTime = 2 * time.Second

	// unmountTime is how long file systems may take to write what they have.
	unmountTime = 30 * time.Second

	// reapInterval is how often orphans are looked for while no agent runs.
	reapInterval = 50 * time.Millisecond
)

// An initSystem is process 1 of a guest that has no other init. It never ends by itself: the
// kernel would panic.
type initSystem struct {
	log   zerolog.Logger
	args  []string // of the agent
	grace time.Duration
	guest bool // this is a VM, and no container
}

// inits are what process 1 does for the signals that end it, as busybox's init does.
var inits = map[os.Signal]struct {
	name    string
	command int // reboot(2)
}{
	syscall.SIGTERM: {"reboot", unix.LINUX_REBOOT_CMD_RESTART},
	syscall.SIGINT:  {"reboot", unix.LINUX_REBOOT_CMD_RESTART}, // Ctrl-Alt-Del, too
	syscall.SIGUSR1: {"halt", unix.LINUX_REBOOT_CMD_HALT},
	syscall.SIGUSR2: {"power off", unix.LINUX_REBOOT_CMD_POWER_OFF},
}

// run runs the agent, again and again, until a signal ends the guest. It returns if the kernel
// refuses that.
func (x *initSystem) run() error {
	outliveSignals()
	signals := make(chan os.Signal, 8)
	for sig := range inits {
		signal.Notify(signals, sig)
	}
	if x.guest {
		_ = unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF) // Ctrl-Alt-Del is a SIGINT
	}
	x.prepare()
	for {
		agent, err := startBelow(x.args, x.environment(), &syscall.SysProcAttr{Setsid: true})
		ended := make(chan error, 1)
		if err != nil {
			x.log.Error().Err(err).Msg("init: cannot start the agent")
			ended <- err
		} else {
			go func() { // ends with the agent
				ended <- reapUntil(agent.Pid)
				_ = agent.Release()
			}()
		}
		select {
		case err = <-ended:
			x.log.Error().Err(err).Msg("init: the agent has ended, starting it again")
		case sig := <-signals:
			return x.end(sig, agent, ended, signals)
		}
		for again := time.Now().Add(againTime); time.Now().Before(again); {
			reapAll(reapInterval)
			select {
			case <-time.After(reapInterval):
			case sig := <-signals:
				return x.end(sig, nil, nil, nil)
			}
		}
	}
}

// passedOn are the variables of a guest's process 1 that the agent gets, and so its commands. The
// others are words of the kernel's command line.
var passedOn = []string{"PATH", "TERM", "NO_COLOR", levelSetting, "GOMEMLIMIT"}

// environment is the agent's.
func (x *initSystem) environment() []string {
	if !x.guest {
		return os.Environ()
	}
	var env []string
	for _, name := range passedOn {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// end ends the agent, its commands, all other processes, and then the guest. More signals are the
// agent's: the second one ends commands at once, and a third one the agent.
func (x *initSystem) end(sig os.Signal, agent *os.Process, ended <-chan error, more <-chan os.Signal) error {
	how := inits[sig]
	x.log.Warn().Str("signal", unix.SignalName(sig.(syscall.Signal))).Msg("init: " + how.name)
	if agent != nil {
		_ = agent.Signal(syscall.SIGTERM)
		x.awaitEnd(agent, ended, more)
	}
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		_ = syscall.Kill(-1, sig) // all but this process
		reapAll(othersTime)
	}
	if !x.guest {
		_ = unix.Reboot(how.command) // a container may not
		return nil
	}
	time.AfterFunc(unmountTime, func() { _ = unix.Reboot(how.command) }) // should a file system hang
	unmount(x.log)
	return fmt.Errorf("init: %s: %w", how.name, unix.Reboot(how.command))
}

func (x *initSystem) awaitEnd(agent *os.Process, ended <-chan error, more <-chan os.Signal) {
	late := time.After(x.grace + agentTime)
	for {
		select {
		case err := <-ended:
			x.log.Info().AnErr("status", err).Msg("init: the agent has ended")
			return
		case <-more:
			_ = agent.Signal(syscall.SIGTERM)
		case <-late:
			return
		}
	}
}

// reapAll reaps until there is no child, at most for d.
func reapAll(d time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	for ctx.Err() == nil {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		switch {
		case err != nil && !errors.Is(err, syscall.EINTR):
			return
		case pid == 0:
			pause(ctx, 10*time.Millisecond)
		}
	}
}

// runInit runs the agent as the only service of a guest. Process 1 goes on whatever happens.
func (s *serveCommand) runInit() error {
	if os.Getpid() != 1 {
		return misuse("--init: this is process %d: want 1, such as by init=%s on the kernel's command line", os.Getpid(), os.Args[0])
	}
	log := openLog(s.logStyle(), false)
	defer log.close()
	log.Info().Strs("arguments", os.Args[1:]).Strs("ignored", ignoredWords).Msg("init: process 1")
	x := &initSystem{
		log: log.Logger, grace: s.ShutdownGrace, guest: isFirstNamespace(),
		args: argumentsBelow(os.Args),
	}
	return x.run()
}

// argumentsBelow are those of the agent below an init with args.
func argumentsBelow(args []string) []string {
	own := slices.DeleteFunc(slices.Clone(args), func(arg string) bool {
		name, _, _ := strings.Cut(arg, "=")
		return name == initFlag || name == answerFlag
	})
	if !slices.ContainsFunc(own, func(arg string) bool { return arg == controlFlag || strings.HasPrefix(arg, controlFlag+"=") }) {
		own = append(own, controlFlag, usualControl)
	}
	return append(own, answerFlag)
}

// usualSettings is the file of all packages for Linux.
const usualSettings = "/etc/default/cocoon-agent"

// ignoredWords are those of the kernel's command line that the kernel passed to its
// init, and that this one does not know.
var ignoredWords []string

// argumentsOfProcess1 are what process 1 runs: "serve" with its options if that is named, or, in a
// container, another command. All else are words of the kernel's command line, with which it is an init.
func argumentsOfProcess1(args []string) []string { return argumentsOfInit(args, isFirstNamespace()) }

func argumentsOfInit(args []string, guest bool) []string {
	if len(args) > 0 && isCommand(args[0]) && !guest {
		return args
	}
	if i := slices.Index(args, serveName); i >= 0 {
		ignoredWords = args[:i]
		return args[i:]
	}
	ignoredWords = args
	return []string{serveName, initFlag, answerFlag, settingsFlag, usualSettings}
}

// isCommand reports whether a word is a command of the program, or asks for its help or version.
func isCommand(word string) bool {
	parser, err := newParser(io.Discard, io.Discard)
	return err == nil && (commandNamed(parser.Model.Node, word) != nil || slices.Contains([]string{helpName, "--help", "-h", "--version", "-V"}, word))
}
