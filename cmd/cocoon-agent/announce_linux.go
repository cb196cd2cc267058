package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"github.com/cocoonstack/cocoon-agent/internal/session"
	"github.com/cocoonstack/cocoon-agent/internal/transport"
)

const (
	// The host is tried again after announceSoon, and after twice as long each time it fails again,
	// up to announceLate.
	announceSoon = 100 * time.Millisecond
	announceLate = 30 * time.Second

	// announceTime is how long one attempt may take.
	announceTime = 5 * time.Second
)

// parseAnnounce returns the target of --announce.
func parseAnnounce(url string) (transport.Target, error) {
	t, err := transport.ParseTarget(url)
	switch {
	case err != nil:
		return t, err
	case t.Scheme == "hvsock", t.Scheme == "vsock" && t.CID != transport.CIDHost:
		return t, fmt.Errorf("%s: want vsock://2:PORT, the host, or unix:///PATH", url)
	}
	return t, nil
}

// An announcement is what the host hears, as a line of JSON. It is a hint: the host asks the agent
// itself.
type announcement struct {
	Type    string `json:"type"`
	AgentID string `json:"agent_id"`
	BootID  string `json:"boot_id"`
	Resumes uint64 `json:"resumes"`
}

// An announcer tells the host that the agent is ready, and keeps that connection. The host loses
// it when the VM is restored, or the host's program ends: then the agent is announced again.
type announcer struct {
	log    zerolog.Logger
	to     transport.Target
	server *session.Server
	again  chan struct{} // has a token when the agent is another one for hosts
}

func newAnnouncer(log zerolog.Logger, to transport.Target, s *session.Server) *announcer {
	return &announcer{log: log.With().Stringer("announce", to).Logger(), to: to, server: s, again: make(chan struct{}, 1)}
}

// resumed has the agent announced again. It does not wait.
func (a *announcer) resumed() {
	select {
	case a.again <- struct{}{}:
	default:
	}
}

// run announces the agent until ctx ends.
func (a *announcer) run(ctx context.Context) {
	wait := announceSoon
	for failed := false; ctx.Err() == nil; {
		begun := time.Now()
		err := a.announce(ctx)
		switch {
		case err == nil && time.Since(begun) > announceLate:
			wait = announceSoon
		case err != nil && !failed:
			a.log.Info().Err(err).Dur("at_most_every_ms", announceLate).Msg("not announced, retrying")
		}
		failed = err != nil
		if !pause(ctx, wait) {
			return
		}
		wait = min(2*wait, announceLate)
	}
}

// announce tells the host, and returns nil when the agent is to be announced again: the connection
// has ended, or the agent is another one.
func (a *announcer) announce(ctx context.Context) error {
	within, cancel := context.WithTimeout(ctx, announceTime)
	defer cancel()
	conn, err := transport.Dial(within, a.to)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetWriteDeadline(time.Now().Add(announceTime))
	if err := json.NewEncoder(conn).Encode(a.announcement()); err != nil {
		return err
	}
	a.log.Debug().Msg("announced")
	ended := make(chan struct{})
	go func() { // ends with the connection
		_, _ = io.Copy(io.Discard, conn)
		close(ended)
	}()
	select {
	case <-ended:
	case <-a.again:
	case <-ctx.Done():
	}
	return nil
}

func (a *announcer) announcement() announcement {
	i := a.server.Identity()
	return announcement{Type: "cocoon-agent/ready", AgentID: hex.EncodeToString(i.AgentID), BootID: i.BootID, Resumes: i.Resumes}
}

// writeCounter writes how many times the VM has been resumed to a file, which programs of the guest
// may look at or watch. A reader finds the old number or the new one.
func writeCounter(path string, resumes uint64) error {
	text := fmt.Appendln(nil, resumes)
	if now, err := os.ReadFile(path); err == nil && bytes.Equal(now, text) {
		return nil // after an upgrade: nothing has been resumed
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	next := path + ".new"
	if err := os.WriteFile(next, text, 0o644); err != nil {
		return err
	}
	return errors.Join(os.Chmod(next, 0o644), os.Rename(next, path))
}
