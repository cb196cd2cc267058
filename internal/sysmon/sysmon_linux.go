package sysmon

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

func relax() error {
	tid, err := find()
	if err != nil {
		return err
	}
	return os.WriteFile(slackFile(tid), strconv.AppendInt(nil, Slack.Nanoseconds(), 10), 0)
}

func slackFile(tid int) string { return fmt.Sprintf("/proc/%d/timerslack_ns", tid) }

// patience is for how long the thread is looked at. While this program runs, it sleeps nearly
// always, but on a busy machine it may wait for a CPU.
const patience = 200 * time.Millisecond

var errNotFound = errors.New("no thread of the runtime's sleeps as its monitor does")

// find returns the monitor: the first thread that the runtime makes, and one that sleeps by
// nanosleep(2).
func find() (tid int, err error) {
	threads, err := threads()
	if err != nil {
		return 0, err
	}
	if len(threads) < 2 {
		return 0, errNotFound
	}
	tid = threads[1] // the first is main
	for end := time.Now().Add(patience); time.Now().Before(end); {
		sleeps, err := sleeps(tid)
		if sleeps || err != nil {
			return tid, err
		}
		_, _, _ = unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0) // never fails
	}
	return 0, errNotFound
}

// threads returns the threads of this program by their ids.
func threads() (tids []int, err error) {
	entries, err := os.ReadDir("/proc/self/task")
	for _, e := range entries {
		if tid, err := strconv.Atoi(e.Name()); err == nil {
			tids = append(tids, tid)
		}
	}
	slices.Sort(tids)
	return tids, err
}

// sleeps says whether a thread is in nanosleep.
func sleeps(tid int) (bool, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/syscall", tid))
	number, _, _ := bytes.Cut(text, []byte(" "))
	return string(number) == strconv.Itoa(unix.SYS_NANOSLEEP), err
}
