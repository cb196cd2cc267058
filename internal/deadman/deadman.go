// Package deadman ends a program whose Go code does not run any more, with the stacks
// of its goroutines.
//
// A goroutine beats. A thread that the Go runtime does not know counts the rounds in
// which no beat has come, and ends the program by SIGABRT after too many of them. Its
// code is a loop in assembler: it needs no scheduler, no memory and no lock. So it works
// while the world is stopped and a goroutine does not take notice, or while all threads
// are stuck in the kernel.
//
// The thread never compares clocks. A round is one of its own sleeps, and counts only if
// it took about as long as it should. A VM that was paused, a clock that has jumped or a
// machine that is too busy to wake the thread makes long rounds: they are not counted.
//
// If the program cannot even print its stacks, because nobody reads its standard error,
// SIGKILL follows.
package deadman

import "time"

// A Deadman watches this program. The zero Deadman watches nothing. Its methods are safe for concurrent use.
type Deadman struct{ deadman }

// Start begins to watch this program. A SIGTERM for which [Deadman.Taken] is not called
// within grace and 10 seconds ends the program, too, if signal.Notify has been called for
// it before. There can be one Deadman at a time. After an error the Deadman is a
// zero one. On systems other than Linux, and on
// architectures other than amd64, arm64 and riscv64, a Deadman watches nothing.
//
// speed divides all times: 1, but in tests of programs that are watched.
//
// Start raises GOTRACEBACK to "crash", without which the stacks of goroutines that run
// are not printed.
func Start(grace time.Duration, speed int) (*Deadman, error) {
	d := new(Deadman)
	err := d.start(timesFor(grace).dividedBy(speed))
	return d, err
}

// Taken says that the SIGTERMs until now have been taken notice of.
func (d *Deadman) Taken() { d.taken() }

// Abort ends the program with the stacks of all goroutines, or without if they cannot be
// printed. It returns before that has happened.
func (d *Deadman) Abort() { d.abort() }

// Stop ends the watch. It waits until the thread is gone, and is called once.
func (d *Deadman) Stop() { d.stop() }
