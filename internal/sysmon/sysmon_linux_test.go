package sysmon_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/sysmon"
)

func TestRelaxChangesOneThread(t *testing.T) {
	before := slackOf(t, "self")
	err := sysmon.Relax()
	if errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist) {
		t.Skipf("needs CAP_SYS_NICE and /proc/PID/timerslack_ns: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	tasks, err := filepath.Glob("/proc/self/task/*")
	if err != nil {
		t.Fatal(err)
	}
	relaxed := 0
	for _, task := range tasks {
		switch slack := slackOf(t, filepath.Base(task)); slack {
		case before:
		case fmt.Sprint(sysmon.Slack.Nanoseconds()):
			relaxed++
		default:
			t.Errorf("a thread has a timer slack of %s ns", slack)
		}
	}
	if relaxed != 1 {
		t.Errorf("%d of %d threads have the monitor's timer slack, want 1", relaxed, len(tasks))
	}
	child, err := exec.Command("cat", "/proc/self/timerslack_ns").Output()
	if got := strings.TrimSpace(string(child)); err != nil || got != before {
		t.Errorf("a child has a timer slack of %q ns, %v, want %s", got, err, before)
	}
}

func slackOf(t *testing.T, thread string) string {
	t.Helper()
	text, err := os.ReadFile("/proc/" + thread + "/timerslack_ns")
	if errors.Is(err, os.ErrNotExist) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}
