package client

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// Start starts the command, and returns once the agent has said that it runs. It waits
// for that until the context or the connection ends. After a Start that returned nil
// the caller must call Wait.
//
// If Start returns an error, the command has not run, unless that is a
// [*MaybeStartedError]. The error is an [*ExitError] if the start hung, in execve(2)
// for example, and the agent has ended it: its Reason is "timeout", "killed" or
// "shutdown". A [*RemoteError] is the agent's refusal.
func (c *Cmd) Start() error {
	if err := c.checkStart(); err != nil {
		return err
	}
	c.started = true
	if c.MaxOutput != 0 {
		c.allowance.limit = c.MaxOutput
	}
	c.findPipes()
	if err := c.checkOutlive(); err != nil {
		return err
	}
	if err := c.ask(); err != nil {
		c.client.commands.count(startOutcome(err))
		return err
	}
	if c.Outlive.Resume {
		c.resuming = newResuming()
	}
	c.copyStreams()
	if c.resuming != nil {
		go c.keepAttached() // stopped by Wait
	}
	c.stopWatch = context.AfterFunc(c.ctx, c.end)
	return nil
}

// checkStart returns why the command cannot be started, whatever the agent says.
func (c *Cmd) checkStart() error {
	switch {
	case c.client == nil:
		return errors.New("client: Cmd not made by Command or CommandContext")
	case c.started:
		return errors.New("client: already started")
	case c.attach != nil:
		if err := c.checkAttach(); err != nil {
			return err
		}
	case len(c.Args) == 0:
		return errors.New("client: no command")
	case c.From != Position{} || c.Redraw != "":
		return errors.New("client: From and Redraw are for a Cmd of Attach")
	case c.Timeout < 0:
		return fmt.Errorf("client: timeout %v is negative", c.Timeout)
	case c.TTY != nil && c.Stderr != nil && !sameWriter(c.Stdout, c.Stderr):
		return errors.New("client: Stderr with TTY: the output of a terminal is Stdout")
	}
	if err := c.Limits.check(); err != nil {
		return err
	}
	var err error
	if c.tty, err = c.TTY.wire(); err != nil {
		return fmt.Errorf("client: %w", err)
	}
	return c.ctx.Err()
}

// ask has the agent start the command.
func (c *Cmd) ask() error {
	if c.Linger != 0 {
		if err := c.client.needs(c.ctx, wire.FeatureLinger); err != nil {
			return err
		}
	}
	if c.Verbatim {
		if err := c.client.needs(c.ctx, wire.FeatureVerbatim); err != nil {
			return err
		}
	}
	err := c.needsToOutlive()
	if err == nil {
		err = c.client.withRetry(c.ctx, c.startOn)
	}
	if c.Outlive.Key != "" {
		err = c.askAgain(err)
	}
	return err
}

// needsToOutlive waits until it is known that the agent has the features for Outlive and
// Attach.
func (c *Cmd) needsToOutlive() error {
	if c.Outlive.Resume && c.Outlive.Key == "" && c.attach == nil {
		c.Outlive.Key = rand.Text()
	}
	features := c.Outlive.features()
	if c.attach != nil {
		features = append(features, wire.FeatureDetach)
	}
	for _, f := range features {
		if err := c.client.needs(c.ctx, f); err != nil {
			return err
		}
	}
	return nil
}

// askAgain asks for a command with a key over other links if err, the error of the first
// attempt, says that a connection was lost, until the agent has answered.
func (c *Cmd) askAgain(err error) error {
	pause := firstResumePause
	for err != nil && c.ctx.Err() == nil && answerLost(err) {
		if c.asked == nil {
			c.asked = c.client.current()
		}
		next, e := c.client.insteadOf(c.ctx, c.asked)
		switch {
		case e == nil && next == nil, e != nil && !mayPass(e):
			return err
		case e == nil:
			err = c.startOn(next)
			continue
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, lastResumePause)
		case <-c.ctx.Done():
		}
	}
	return err
}

// answerLost reports whether the request or its answer was lost with a connection, or none
// could be made.
func answerLost(err error) bool {
	_, maybe := errors.AsType[*MaybeStartedError](err)
	_, undialed := errors.AsType[*DialError](err)
	return maybe || undialed || neverStarted(err)
}

// startOn starts the command over a link, which is then the command's. The link is
// marked as in use; if startOn fails, it has released the link.
func (c *Cmd) startOn(l *link) (err error) {
	defer func() {
		if err != nil {
			l.release()
		}
	}()
	c.asked = l
	call, answer, err := l.call(c.ctx, c.request)
	switch {
	case err != nil && call == nil:
		return err
	case err != nil:
		return unanswered(err)
	}
	m, err := call.startedExec(answer)
	if err != nil {
		call.letGo()
		return err
	}
	c.call.Store(call)
	c.pid, c.handle, c.notes, c.repeated = m.PID, handleOf(m), notesOf(m), m.Repeated
	c.stdoutBegin, c.stderrBegin, c.redrawn = m.StdoutOffset, m.StderrOffset, m.Redraw
	c.stdoutEnd, c.stderrEnd = m.StdoutBytes, m.StderrBytes
	return nil
}

// neverStarted reports whether another connection may be tried: the command has
// certainly not run, by no fault of its own.
func neverStarted(err error) bool {
	if _, ok := errors.AsType[*MaybeStartedError](err); ok {
		return false
	}
	remote, ok := errors.AsType[*RemoteError](err)
	return ok && remote.Kind == ShuttingDown || speaksVersion1(err) || errors.Is(err, ErrLost) && !errors.Is(err, ErrNotSpoken)
}

// unanswered returns the error of a request that was sent, or partly, and that err has
// kept from being answered.
func unanswered(err error) error {
	if _, ok := errors.AsType[*refusedError](err); ok || errors.Is(err, ErrNotSpoken) {
		return err // the agent has read no request
	}
	if remote, ok := errors.AsType[*RemoteError](err); ok && remote.Kind == ShuttingDown {
		return err // its last word: it has answered each request that it has begun
	}
	return &MaybeStartedError{Err: err}
}

// request opens the streams of the command, and returns the encoded request.
func (c *Cmd) request(call *call) ([]byte, error) {
	call.begins, call.leaves = true, c.attach != nil
	c.streams = streams{}
	err := c.streams.open(call.link.mux, c)
	call.streams = c.streams.all()
	if err != nil {
		return nil, err
	}
	if c.attach != nil || len(c.Outlive.features()) > 0 { // whose needs have waited for hello
		c.agentID, _ = hex.DecodeString(call.link.hello.AgentID)
	}
	if c.attach != nil {
		return wire.Append(nil, c.attachMessage(call.id, c.attach.handle, c.agentID, c.From, c.Redraw))
	}
	if c.files != nil {
		m := *c.files
		m.Head, m.Stdin, m.Stdout = wire.Head{ID: call.id}, c.streams.stdin.id(), c.streams.stdout.id()
		return wire.Append(nil, &m)
	}
	frame, err := wire.Append(nil, c.exec(call.id))
	if err != nil {
		return nil, fmt.Errorf("client: arguments and environment are too long: %w", err)
	}
	return frame, nil
}

func (c *Cmd) exec(id uint64) *wire.Exec {
	m := &wire.Exec{
		Head: wire.Head{ID: id},
		Argv: c.Args,
		Env:  c.Env, ClearEnv: c.ClearEnv,
		Dir: c.Dir, User: c.User,
		Stdin: c.streams.stdin.id(), Stdout: c.streams.stdout.id(), Stderr: c.streams.stderr.id(),
		TTY:       c.tty,
		TimeoutMS: milliseconds(c.Timeout),
		Limits:    c.Limits.request(),
		Verbatim:  c.Verbatim,
		Keeping:   c.Outlive.keeping(c.agentID),
	}
	switch {
	case c.Linger > 0:
		m.LingerMS = new(milliseconds(c.Linger))
	case c.Linger < 0:
		m.LingerMS = new(uint64)
	}
	if c.Keep {
		m.OnDisconnect = wire.DisconnectKeep
	}
	return m
}

// milliseconds rounds up, so that no timeout becomes none.
func milliseconds(d time.Duration) uint64 {
	return uint64((d + time.Millisecond - 1) / time.Millisecond)
}

// startedExec returns what the answer to an exec says of the process. After an answer
// that makes no sense the guest may still run the command, and is asked to end it.
func (c *call) startedExec(answer wire.Message) (_ *wire.Started, err error) {
	switch m := answer.(type) {
	case *wire.Started:
		if err = checkStarted(m); err == nil {
			return m, nil
		}
	case *wire.Error:
		err = c.link.execError(m)
		if errors.Is(err, errMayHaveRun) {
			err = &MaybeStartedError{Err: err}
		}
		return nil, err
	default:
		err = fmt.Errorf("%w: %T before started", ErrProtocol, m)
	}
	c.withdraw()
	return nil, &MaybeStartedError{Err: err}
}
