package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/handover"
	"github.com/cocoonstack/cocoon-agent/internal/proc"
	"github.com/cocoonstack/cocoon-agent/internal/session"
	"github.com/cocoonstack/cocoon-agent/internal/transport"
)

// Variables of an agent that is executed in the place of another one. Its commands do not have
// them.
const (
	// stateVariable has two descriptors: of the state, and of the program that was executed before,
	// or -1. For a trial it is trialState: the state is standard input.
	stateVariable = "COCOON_AGENT_STATE"
	trialState    = "stdin"

	// failedVariable says why the next agent has not taken over. This one goes on.
	failedVariable = "COCOON_AGENT_UPGRADE_FAILED"
)

// A handedOver is what one agent leaves to the next one.
type handedOver struct {
	Line      []string // the agent's command line with the options of its settings file, should it come back
	Version   string   // of the agent that leaves it
	Endpoints []savedEndpoint
	Control   int           // descriptor of the control socket; -1: none
	Reply     int           // descriptor of the connection of whoever has asked for the upgrade; -1: none
	Notify    []string      // variables for the service manager's notifications
	Held      time.Duration // since when nobody is served: see [proc.Monotonic]
	Session   *session.Saved
}

type savedEndpoint struct {
	FD        int
	Address   transport.Address
	Inherited bool
}

// check returns an error if no agent has left this.
func (h *handedOver) check() error {
	if h.Session == nil {
		return errors.New("incomplete")
	}
	return h.Session.Check()
}

// descriptors returns those that a handedOver names.
func (h *handedOver) descriptors() []int {
	all := append(h.Session.Descriptors(), h.Control, h.Reply)
	for _, e := range h.Endpoints {
		all = append(all, e.FD)
	}
	return slices.DeleteFunc(all, func(fd int) bool { return fd < 0 })
}

// A takeover is how this agent takes the place of another one, in whose process it was executed.
type takeover struct {
	state   *os.File
	old     int    // descriptor of the program before; -1: none
	failed  string // why the one that was to come after this one has not taken over; empty: none was
	left    handedOver
	rest    *handover.Reader
	reason  error // why it has failed
	settled bool  // there is no way back
}

// taking is nil if this agent was started as others are.
var taking *takeover

// trial says that this program was started to tell whether it can take over.
var trial bool

func trying() bool { return trial }

// noteState takes the variables of a takeover away. It is called before anything else.
func noteState() {
	value, failed := os.Getenv(stateVariable), os.Getenv(failedVariable)
	_, _ = os.Unsetenv(stateVariable), os.Unsetenv(failedVariable)
	if value == trialState {
		trial = true
		return
	}
	var state, old int
	if n, err := fmt.Sscanf(value, "%d,%d", &state, &old); n != 2 || err != nil {
		return
	}
	file, err := handover.Open(state)
	if err != nil {
		return // somebody else's variable
	}
	unix.CloseOnExec(state)
	if old >= 0 {
		unix.CloseOnExec(old)
	}
	taking = &takeover{state: file, old: old, failed: failed}
	// The program's name is that of the file, which may have been a descriptor's.
	_ = os.WriteFile("/proc/self/comm", []byte("cocoon-agent"), 0)
}

// read reads the state.
func (t *takeover) read() (err error) {
	if t.rest, err = handover.Read(t.state, &t.left); err != nil {
		return err
	}
	if err := t.left.check(); err != nil {
		return fmt.Errorf("%w: %w", handover.ErrState, err)
	}
	for _, variable := range t.left.Notify {
		name, value, _ := strings.Cut(variable, "=")
		_ = os.Setenv(name, value)
	}
	return nil
}

// tryState is the answer to a trial: whether the state on standard input can be taken over.
func tryState(in io.Reader, out io.Writer) error {
	var left handedOver
	if err := handover.ReadAll(in, &left); err != nil {
		return err
	}
	if err := left.check(); err != nil {
		return err
	}
	v, _ := programVersion()
	return json.NewEncoder(out).Encode(trialAnswer{Version: v, State: handover.Version})
}

// A trialAnswer is what a program says that can take over.
type trialAnswer struct {
	Version string `json:"version"`
	State   int    `json:"state"`
}

// orBack runs the program. If that fails before it has taken over, the one before goes on.
func orBack(run func() int) (status int) {
	if taking == nil {
		return run()
	}
	defer func() {
		if p := recover(); p != nil {
			taking.back(fmt.Errorf("panic: %v", p))
			panic(p)
		}
	}()
	status = run()
	if status != 0 && !taking.settled {
		reason := taking.reason
		if reason == nil {
			reason = fmt.Errorf("exit status %d", status)
		}
		taking.back(reason)
	}
	return status
}

// goBack executes the program that was there before, if this one has failed before it has taken
// over. It returns otherwise.
func goBack(err error) {
	if err != nil && taking != nil {
		taking.back(err)
	}
}

// isTaking reports whether the agent takes the place of another one.
func isTaking() bool { return taking != nil }

// back executes the program that was there before, which gets the state and takes it up again. It
// returns if that cannot be done.
func (t *takeover) back(reason error) {
	if t.old < 0 || t.settled || t.failed != "" {
		return
	}
	keep := []int{int(t.state.Fd())}
	if t.left.Session != nil {
		keep = append(keep, t.left.descriptors()...)
	}
	fmt.Fprintln(os.Stderr, "cocoon-agent: the upgrade has failed, going back:", printable(reason.Error()))
	err := handover.Exec(handover.Program{
		Path: fmt.Sprintf("/proc/self/fd/%d", t.old), Argv: os.Args, Keep: keep,
		Env: append(os.Environ(), fmt.Sprintf("%s=%d,-1", stateVariable, keep[0]), failedVariable+"="+reason.Error()),
	})
	fmt.Fprintln(os.Stderr, "cocoon-agent: cannot go back:", printable(err.Error()))
}

// usedLine is the command line with the options of the settings file.
var usedLine []string

func noteLine(words []string) { usedLine = words }

// lineBack returns the command line of an agent that goes on because the next one has failed: it has
// the options that it had, whatever its settings file says by now.
func lineBack(args []string) []string {
	if !cameBack() {
		return args
	}
	return taking.left.Line
}

// cameBack reports whether this agent goes on because the next one has failed.
func cameBack() bool {
	return taking != nil && taking.failed != "" && (taking.rest != nil || taking.read() == nil) && len(taking.left.Line) > 0
}

// endpoints returns copies of the listeners of the agent before: those that somebody else has
// bound, and those with one of the addresses.
func (t *takeover) endpoints(b binder, addresses []transport.Address) ([]endpoint, error) {
	var all []endpoint
	for _, e := range t.left.Endpoints {
		if t.failed == "" && !e.Inherited && !slices.Contains(addresses, e.Address) {
			continue
		}
		ln, err := inheritCopy(e.FD, b.policy)
		if err != nil {
			closeAll(all)
			return nil, fmt.Errorf("%s of the agent before: %w", e.Address, err)
		}
		own(ln, false) // until there is no way back
		all = append(all, endpoint{ln, e.Address, e.Inherited})
	}
	return all, nil
}

// inheritCopy returns the listener of a descriptor, which stays as it is.
func inheritCopy(fd int, p transport.Policy) (net.Listener, error) {
	other, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	ln, _, err := transport.Inherit(other, p)
	return ln, err
}

// own has a Unix listener remove its file when it is closed, or not.
func own(ln net.Listener, owned bool) {
	if u, ok := ln.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(owned)
	}
}

// spawner restores what the agent before had of processes.
func (t *takeover) spawner(log zerolog.Logger, s *proc.Spawner, full func(left int)) error {
	strays, err := s.Restore(t.left.Session.Spawner, t.left.Session.Jobs.Processes(), full)
	for _, what := range strays {
		log.Warn().Str("ended", what).Msg("not known to the agent before: ended")
	}
	return err
}

// settle takes over. There is no way back any more.
func (t *takeover) settle(log zerolog.Logger, s *session.Server, endpoints []endpoint) {
	t.settled = true
	left := &t.left
	for _, e := range endpoints {
		own(e.Listener, !e.inherited)
	}
	for _, e := range left.Endpoints {
		_ = unix.Close(e.FD)
	}
	if t.old >= 0 {
		_ = unix.Close(t.old)
	}
	_ = unix.SetNonblock(left.Reply, true)
	s.Restore(left.Session, t.rest)
	_ = t.state.Close()
	r := upgradeAnswer{From: left.Version, To: s.Version, Commands: len(left.Session.Jobs.Jobs), SilenceUS: (proc.Monotonic() - left.Held).Microseconds(), Error: t.failed}
	if t.failed != "" {
		log.Error().Str("error", t.failed).Int("commands", r.Commands).Msg("not upgraded: the other program has failed, and this agent goes on")
		r.Error = "the new program has failed, and the agent goes on with the old one: " + t.failed
	} else {
		log.Info().Str("from", r.From).Str("version", r.To).Int("commands", r.Commands).Int64("silence_us", r.SilenceUS).Msg("upgraded")
	}
	if left.Reply >= 0 {
		f := os.NewFile(uintptr(left.Reply), "upgrade")
		_ = f.SetWriteDeadline(time.Now().Add(replyTime))
		_ = json.NewEncoder(f).Encode(r)
		_ = f.Close()
	}
}
