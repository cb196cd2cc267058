package session

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/guest"
	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

const (
	// hookTime is how long one hook may run, and hooksTime all of them.
	hookTime  = 5 * time.Second
	hooksTime = 30 * time.Second

	maxHookText = 256 // bytes of what a hook has said last
)

// runHooks runs the programs in a directory of hooks, in the order of their names, and returns what
// has become of them as a step. It returns nil if there is no such directory.
func (s *Server) runHooks(phase string) *guest.Step {
	if s.Hooks == "" {
		return nil
	}
	directory := filepath.Join(s.Hooks, phase+".d")
	entries, err := os.ReadDir(directory)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	step := &guest.Step{Name: "hooks"}
	if err == nil {
		err = ownersOwn(directory)
	}
	if err != nil {
		step.Err = err
		return step
	}
	var notes []string
	until := time.Now().Add(hooksTime)
	for _, entry := range entries {
		path := filepath.Join(directory, entry.Name())
		if err := mayRun(path); err != nil {
			notes = append(notes, fmt.Sprintf("%s skipped: %v", entry.Name(), err))
			continue
		}
		step.Changed = true
		if err := s.runHook(path, phase, min(hookTime, time.Until(until))); err != nil {
			step.Err = errors.Join(step.Err, fmt.Errorf("%s: %w", entry.Name(), err))
		} else {
			notes = append(notes, entry.Name())
		}
	}
	step.Note = strings.Join(notes, ", ")
	return step
}

// errNoTime is the answer for hooks whose turn has not come.
var errNoTime = fmt.Errorf("not run: all hooks together have %v", hooksTime)

func (s *Server) runHook(path, phase string, within time.Duration) error {
	if within <= 0 {
		return errNoTime
	}
	ran, err := s.Spawner.Run(proc.Spec{
		Argv: []string{path}, Dir: "/",
		Env: []string{"COCOON_PHASE=" + phase, fmt.Sprintf("COCOON_RESUMES=%d", s.resumes.Load())},
	}, within, nil)
	if err == nil && ran.Status != "" {
		lines := strings.Split(strings.TrimSpace(string(slices.Concat(ran.Stdout, ran.Stderr))), "\n")
		err = errors.New(ran.Status)
		if last := lines[len(lines)-1]; last != "" {
			err = fmt.Errorf("%s: %s", ran.Status, clipTo(last, maxHookText))
		}
	}
	return err
}

// mayRun returns why a file is not run as a hook.
func mayRun(path string) error {
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return errors.New("not a regular file")
	case info.Mode()&0o111 == 0:
		return errors.New("not executable")
	}
	return ownersOwn(path)
}

// ownersOwn returns an error unless root or the agent's user alone can change a file.
func ownersOwn(path string) error {
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return err
	case !ownedByAgent(info):
		return fmt.Errorf("%s: it belongs to another user", path)
	case info.Mode()&0o022 != 0:
		return fmt.Errorf("%s: others may write to it", path)
	}
	return nil
}
