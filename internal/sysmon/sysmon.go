// Package sysmon lets the monitor of the Go runtime sleep longer.
//
// That thread looks every 20 µs at what the other threads do, for a millisecond or more
// whenever one of them makes a system call. In a virtual machine each look is a timer that
// must be set, and a wake-up, and an agent that runs short commands spent 40 % of its
// CPU time on them.
package sysmon

import "time"

// Slack is how much longer the monitor may sleep at once. So a goroutine is preempted
// later by that, and waits longer if all CPUs are taken by system calls that block.
const Slack = time.Millisecond

// Relax has the monitor sleep longer, by its timer slack (PR_SET_TIMERSLACK(2const)). The
// error says why it does not: nothing has changed then. It needs Linux 4.6, /proc and
// CAP_SYS_NICE. Threads that the monitor makes, when many system calls block at once, have
// its slack, too, and so have their child processes unless whoever starts these sets it.
func Relax() error { return relax() }
