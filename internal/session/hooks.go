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
	programs, skipped, err := guest.Hooks(filepath.Join(s.Hooks, phase+".d"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	step := &guest.Step{Name: "hooks", Err: err}
	notes := skipped
	until := time.Now().Add(hooksTime)
	for _, path := range programs {
		step.Changed = true
		name := filepath.Base(path)
		if err := s.runHook(path, phase, min(hookTime, time.Until(until))); err != nil {
			step.Err = errors.Join(step.Err, fmt.Errorf("%s: %w", name, err))
		} else {
			notes = append(notes, name)
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
