//go:build linux

package client_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/session"
)

// hooksStep returns the step "hooks" of a reseed; the others may fail here.
func hooksStep(t *testing.T, target string) *client.ReseedStep {
	t.Helper()
	report, err := connect(t, target).ReseedWith(patiently(t), client.ReseedOptions{})
	if failed, ok := errors.AsType[*client.ReseedError](err); ok {
		report = &failed.Report
	} else if err != nil {
		t.Fatal(err)
	}
	for _, s := range report.Steps {
		if s.Name == "hooks" {
			return &s
		}
	}
	return nil
}

// hook writes a program of the directory resume.d.
func hook(t *testing.T, directory, name, script string, mode os.FileMode) {
	t.Helper()
	path := filepath.Join(directory, "resume.d", name)
	if err := errors.Join(os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o600), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
}

func hooked(t *testing.T) (directory, target string) {
	t.Helper()
	directory = t.TempDir()
	if err := os.Mkdir(filepath.Join(directory, "resume.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	return directory, agenttest.StartWith(t, func(c *session.Config) { c.Hooks = directory }).Target
}

func TestReseedRunsHooks(t *testing.T) {
	directory, target := hooked(t)
	hook(t, directory, "10-first", "echo $COCOON_PHASE $COCOON_RESUMES $PWD >>"+directory+"/ran", 0o755)
	hook(t, directory, "20-fails", "echo first; echo no such network >&2; exit 3", 0o700)
	hook(t, directory, "25-too", "exit 4", 0o700)
	hook(t, directory, "30-last", "echo last >>"+directory+"/ran", 0o755)
	hook(t, directory, "40-writable", "echo writable >>"+directory+"/ran", 0o777)
	hook(t, directory, "50-text", "echo text >>"+directory+"/ran", 0o644)
	if err := os.Symlink("10-first", filepath.Join(directory, "resume.d", "60-link")); err != nil {
		t.Fatal(err)
	}
	step := hooksStep(t, target)
	if step == nil || !step.Changed || step.Err == nil || step.Err.Message != "20-fails: exit status 3: no such network; 25-too: exit status 4" {
		t.Errorf("the step: %+v, want the failures of 20-fails and 25-too", step)
	}
	ran, err := os.ReadFile(directory + "/ran")
	if want := "resume 0 /\nlast\n"; string(ran) != want || err != nil {
		t.Errorf("the hooks have written %q, %v, want %q", ran, err, want)
	}
	for _, name := range []string{"20-fails", "25-too"} {
		if err := os.Remove(filepath.Join(directory, "resume.d", name)); err != nil {
			t.Fatal(err)
		}
	}
	step = hooksStep(t, target)
	for _, want := range []string{
		"10-first", "30-last", "40-writable skipped: ", "others may write to it", "50-text skipped: not executable", "60-link skipped: not a regular file",
	} {
		if step == nil || !strings.Contains(step.Note, want) {
			t.Errorf("the step: %+v, want the note %q", step, want)
		}
	}
}

func TestHookThatHangsIsEnded(t *testing.T) {
	t.Parallel() // with other tests that wait
	directory, target := hooked(t)
	hook(t, directory, "hangs", "sleep 1000 & sleep 1000", 0o755)
	if step := hooksStep(t, target); step == nil || step.Err == nil || !strings.Contains(step.Err.Message, "hangs: no end after 5s") {
		t.Errorf("the step: %+v, want its end after 5 s", step)
	}
}

func TestHooksOfOthersAreNotRun(t *testing.T) {
	directory, target := hooked(t)
	hook(t, directory, "ok", "echo ran >>"+directory+"/ran", 0o755)
	if err := os.Chmod(filepath.Join(directory, "resume.d"), 0o777); err != nil {
		t.Fatal(err)
	}
	if step := hooksStep(t, target); step == nil || step.Err == nil || !strings.Contains(step.Err.Message, "others may write to it") {
		t.Errorf("the step: %+v, want a refusal of the directory", step)
	}
	if _, err := os.Stat(directory + "/ran"); err == nil {
		t.Error("a hook in a directory that others may write to has run")
	}
	if err := os.RemoveAll(filepath.Join(directory, "resume.d")); err != nil {
		t.Fatal(err)
	}
	if step := hooksStep(t, target); step != nil {
		t.Errorf("a step without hooks: %+v", step)
	}
}
