package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/cocoonstack/cocoon-agent/internal/handover"
	"github.com/cocoonstack/cocoon-agent/internal/job"
	"github.com/cocoonstack/cocoon-agent/internal/proc"
	"github.com/cocoonstack/cocoon-agent/internal/session"
	"github.com/cocoonstack/cocoon-agent/internal/systemd"
	"github.com/cocoonstack/cocoon-agent/internal/transport"
)

const (
	// askTime is how long whoever connects may take to ask.
	askTime = 5 * time.Second

	// replyTime is how long they may take to read the answer.
	replyTime = time.Second

	// trialTime is how long a program may take to tell whether it can take over.
	trialTime = 5 * time.Second

	// maxAsked bounds a question.
	maxAsked = 16 << 10
)

// An upgradeRequest is what "upgrade" asks the agent for: a line of JSON, as the answer.
type upgradeRequest struct {
	Program string `json:"program"`
	Force   bool   `json:"force,omitempty"`
}

type upgradeAnswer struct {
	Error     string `json:"error,omitempty"`
	From      string `json:"from,omitempty"` // version
	To        string `json:"to,omitempty"`
	Commands  int    `json:"commands"`   // that go on
	SilenceUS int64  `json:"silence_us"` // for how long nobody was served
}

// A control serves "cocoon-agent upgrade" on a Unix socket in the guest.
type control struct {
	log      zerolog.Logger
	flush    func()
	server   *session.Server
	spawner  *proc.Spawner
	notifier systemd.Notifier
	policy   transport.Policy
	live     *liveEndpoints
	stopping context.Context

	listener net.Listener
	busy     sync.Mutex // an upgrade is under way
}

// listenControl listens at a path, whose directory it makes if it is missing.
func listenControl(path string, policy transport.Policy) (net.Listener, error) {
	if taking != nil && taking.left.Control >= 0 {
		ln, err := inheritCopy(taking.left.Control, policy)
		if err == nil && ln.Addr().String() == path {
			own(ln, true)
			return ln, nil
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	return transport.Listen(transport.Address{Scheme: "unix", Path: path}, policy)
}

// serve answers until the listener is closed.
func (c *control) serve() {
	for {
		conn, err := c.listener.Accept()
		switch {
		case err == nil:
			go c.answer(conn) // ends with the upgrade: asking and answering have their times
		case errors.Is(err, net.ErrClosed):
			return
		default:
			c.log.Error().Err(err).Msg("control socket: accept failed")
			if !pause(c.stopping, time.Second) {
				return
			}
		}
	}
}

func (c *control) answer(conn net.Conn) {
	defer conn.Close()
	if _, err := c.policy.Admit(conn); err != nil {
		c.log.Warn().Err(err).Msg("control socket: peer refused")
		return
	}
	_ = conn.SetDeadline(time.Now().Add(askTime))
	var asked upgradeRequest
	if err := json.NewDecoder(io.LimitReader(conn, maxAsked)).Decode(&asked); err != nil {
		return
	}
	_ = conn.SetDeadline(time.Time{})
	err := c.upgrade(asked, conn) // returns if that fails
	c.log.Error().Str("program", asked.Program).Err(err).Msg("not upgraded")
	_ = conn.SetDeadline(time.Now().Add(replyTime))
	_ = json.NewEncoder(conn).Encode(upgradeAnswer{Error: err.Error()})
}

// upgrade has a program take over from this one, and answers on conn. It returns only if that
// fails; then everything goes on as before.
func (c *control) upgrade(asked upgradeRequest, conn net.Conn) error {
	if !c.busy.TryLock() {
		return errors.New("another upgrade is under way")
	}
	defer c.busy.Unlock()
	if !filepath.IsAbs(asked.Program) {
		return fmt.Errorf("program %q: want an absolute path", asked.Program)
	}
	before, err := os.Stat(asked.Program)
	if err != nil {
		return err
	}
	if !before.Mode().IsRegular() { // the open of a pipe waits
		return fmt.Errorf("%s is not a regular file", asked.Program)
	}
	if err := isProgram(asked.Program); err != nil {
		return err
	}
	version, err := c.try(asked.Program)
	if err != nil {
		return fmt.Errorf("%s cannot take over: %w", asked.Program, err)
	}
	c.log.Info().Str("program", asked.Program).Str("version", version).Bool("force", asked.Force).Msg("upgrading")
	defer c.server.Release()
	held := proc.Monotonic()
	w := new(handover.Writer)
	saved, err := c.server.Hold(asked.Force, putter{w})
	if err != nil {
		return err
	}
	if now, err := os.Stat(asked.Program); err != nil || !os.SameFile(before, now) || !now.ModTime().Equal(before.ModTime()) {
		return fmt.Errorf("%s has changed meanwhile", asked.Program)
	}
	left := c.leave(saved, conn)
	left.Held = held
	return c.execute(asked.Program, w, left)
}

// isProgram returns an error unless the kernel executes the file itself. A script could pass the trial and
// then not become an agent, which is the one that goes back.
func isProgram(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var magic [4]byte
	if _, err := io.ReadFull(f, magic[:]); err != nil || string(magic[:]) != "\x7fELF" {
		return fmt.Errorf("%s is not a program that the kernel executes (ELF)", path)
	}
	return nil
}

// leave returns what the next agent gets.
func (c *control) leave(saved *session.Saved, reply net.Conn) *handedOver {
	left := &handedOver{
		Line:    usedLine,
		Version: c.server.Version, Control: descriptorOf(c.listener), Reply: descriptorOf(reply),
		Notify: c.notifier.Environ(), Session: saved,
	}
	for _, e := range c.live.all() {
		if fd := descriptorOf(e.Listener); fd >= 0 {
			left.Endpoints = append(left.Endpoints, savedEndpoint{fd, e.address, e.inherited})
		}
	}
	return left
}

// execute executes the program in the place of this one.
func (c *control) execute(program string, w *handover.Writer, left *handedOver) error {
	state, err := w.Seal(left)
	if err != nil {
		return err
	}
	defer state.Close()
	keep := append(left.descriptors(), int(state.Fd()))
	old := -1
	if f, err := os.Open("/proc/self/exe"); err == nil { // without it there is no way back
		defer f.Close()
		old = int(f.Fd())
		keep = append(keep, old)
	}
	_ = c.notifier.Notify(systemd.Watchdog)
	c.flush()
	if c.stopping.Err() != nil {
		return errors.New("the agent is shutting down")
	}
	return handover.Exec(handover.Program{
		Path: program, Argv: os.Args, Keep: keep,
		Env: append(os.Environ(), fmt.Sprintf("%s=%d,%d", stateVariable, state.Fd(), old)),
	})
}

// A putter is a Writer for jobs.
type putter struct{ *handover.Writer }

func (p putter) Put(parts ...[]byte) job.Bytes { return job.Bytes(p.Writer.Put(parts...)) }

// descriptorOf returns that of a listener or a connection, or -1.
func descriptorOf(of any) int {
	n := -1
	if s, ok := of.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { n = int(fd) })
		}
	}
	return n
}

// try starts the program with this agent's options to see whether it can take over, and returns
// its version.
func (c *control) try(program string) (version string, err error) {
	saved, err := c.server.Preview()
	if err != nil {
		return "", err
	}
	var state bytes.Buffer
	if err := new(handover.Writer).WriteTo(&state, c.leave(saved, nil)); err != nil {
		return "", err
	}
	ran, err := c.spawner.Run(proc.Spec{
		Argv: slices.Concat([]string{program}, os.Args[1:], []string{"--check"}), Env: []string{stateVariable + "=" + trialState},
	}, trialTime, &state)
	if err != nil {
		return "", err
	}
	var answer trialAnswer
	switch {
	case ran.Status != "":
		return "", fmt.Errorf("its trial: %s", strings.TrimSuffix(ran.Status+": "+lastLine(ran.Stderr), ": "))
	case json.Unmarshal(ran.Stdout, &answer) != nil || answer.Version == "":
		return "", errors.New("it does not know how to: another program, or too old; restart the agent instead")
	}
	return answer.Version, nil
}

// lastLine returns what a failed program has said last.
func lastLine(text []byte) string {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	line := lines[len(lines)-1]
	if i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "panic: ") || strings.HasPrefix(l, "fatal error: ") }); i >= 0 {
		line = lines[i]
	}
	return printable(line)
}
