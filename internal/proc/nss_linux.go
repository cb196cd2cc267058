package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// Users that /etc/passwd does not have may come from elsewhere: LDAP, systemd-homed,
// DynamicUser=. The C library asks the services that nsswitch.conf(5) names; getent(1)
// is its program for that. It runs as a process of its own, so that a service that
// does not answer holds up nobody else.
var getents = []string{"/usr/bin/getent", "/bin/getent"}

const (
	// maxLookups is how many run at once.
	maxLookups = 16

	// maxAnswer is how much of an answer is kept: more than maxGroups numbers.
	maxAnswer = 1 << 20

	// notFirst is what no name of a user or group begins with: getent takes it for an
	// option, or skips it as the beginning of a number.
	notFirst = "-+ \t\n\v\f\r"

	// maxNameLen is how long the name of a user or group may be, LOGIN_NAME_MAX.
	maxNameLen = 256
)

// askForUser asks for a user by name, or by uid if byID.
func (s *Spawner) askForUser(name string, uid uint32, byID bool) (account, bool, error) {
	answer, ok, err := s.ask("passwd", name)
	if !ok || err != nil {
		return account{}, false, err
	}
	a, ok, _ := newEntries(answer).user()
	if !ok || byID && a.uid != uid {
		return account{}, false, nil // it has no user with ids that can be
	}
	a.groups, err = s.askForGroups(a.name)
	return a, err == nil, err
}

// askForGroup asks for a group by name.
func (s *Spawner) askForGroup(name string) (gid uint32, ok bool, err error) {
	answer, ok, err := s.ask("group", name)
	if !ok || err != nil {
		return 0, false, err
	}
	gid, ok, _ = newEntries(answer).group()
	return gid, ok, nil
}

// askForGroups asks for all groups that a user is a member of. A getent that does not
// know how, as musl's, knows /etc/group alone.
func (s *Spawner) askForGroups(name string) (groups []uint32, err error) {
	answer, ok, err := s.ask("initgroups", name)
	if err != nil {
		return nil, err
	}
	if !ok {
		return groupsOf(name)
	}
	text, _ := io.ReadAll(answer)
	fields := strings.Fields(string(text))
	for _, field := range fields[min(1, len(fields)):] { // the first is the name
		gid, err := parseID(field)
		if err != nil {
			return nil, unanswered("initgroups", name, fmt.Errorf("answer %.64q", field))
		}
		groups = append(groups, gid)
	}
	return groups, enough(name, groups)
}

// ask has getent look for an entry of a database. It is not ok if there is no such
// entry, no such database or no getent.
func (s *Spawner) ask(database, key string) (answer io.Reader, ok bool, err error) {
	if key == "" || len(key) > maxNameLen || strings.ContainsRune(notFirst, rune(key[0])) {
		return nil, false, nil
	}
	for _, path := range getents {
		l := &lookup{argv: []string{path, database, key}, done: make(chan struct{})}
		err := s.run(l)
		if errors.Is(err, ErrNotFound) || errors.Is(err, ErrNotExecutable) {
			continue
		}
		if err != nil {
			return nil, false, unanswered(database, key, err)
		}
		return &l.answer, l.found, nil
	}
	return nil, false, nil
}

// unanswered is a shortage: the service that has the answer may be there the next time.
func unanswered(database, key string, err error) error {
	return fmt.Errorf("%w: getent %s %.64q: %w", ErrResources, database, key, err)
}

// A lookup is one run of getent.
type lookup struct {
	argv []string

	// The result, once done is closed.
	answer bytes.Buffer
	found  bool
	err    error
	done   chan struct{}
}

// nssTime is how long getent may take. Tests change it.
var nssTime = 2 * time.Second

func errNoAnswer() error { return fmt.Errorf("no answer within %v", nssTime) }

// run waits for the lookup for nssTime, in all. One that does not even end then goes on
// having its place among [maxLookups].
func (s *Spawner) run(l *lookup) error {
	late := time.NewTimer(nssTime)
	defer late.Stop()
	select {
	case s.lookups <- struct{}{}:
	case <-late.C:
		return errNoAnswer()
	}
	go func() { // ends with getent, which is ended after nssTime; nobody waits for it then
		defer func() { <-s.lookups }()
		defer close(l.done)
		l.err = l.follow(s)
	}()
	select {
	case <-l.done:
		return l.err
	case <-late.C:
		return errNoAnswer()
	}
}

// follow is a lookup's whole life.
func (l *lookup) follow(s *Spawner) error {
	p, err := s.Start(Spec{Argv: l.argv, ClearEnv: true, Env: []string{"PATH=" + defaultPath()}, Dir: "/", Stdout: true})
	if err != nil {
		return err
	}
	limit := time.AfterFunc(nssTime, func() { p.Terminate(0) })
	defer limit.Stop()
	var reading sync.WaitGroup
	reading.Go(func() { _, _, _ = p.Stdout().CopyTo(&head{to: &l.answer}) }) // ends once p has been drained
	waitErr := p.Wait()
	p.Drain(nssTime)
	reading.Wait()
	exit, err := p.Reap()
	if p.Terminated() {
		return errNoAnswer()
	}
	if err := errors.Join(waitErr, err); err != nil {
		return err
	}
	l.found, err = exists(exit)
	return err
}

// exists says what an exit of getent(1) means.
func exists(e Exit) (bool, error) {
	switch {
	case e.Signal != 0:
		return false, fmt.Errorf("killed by signal %s", e.SignalName)
	case e.Code == 0:
		return true, nil
	case e.Code == 1, e.Code == 2: // unknown database, unknown key
		return false, nil
	default:
		return false, fmt.Errorf("exit status %d", e.Code)
	}
}

// head keeps the first maxAnswer bytes of what is written to it.
type head struct{ to *bytes.Buffer }

func (h *head) Write(b []byte) (int, error) {
	h.to.Write(b[:min(len(b), maxAnswer-h.to.Len())])
	return len(b), nil
}
