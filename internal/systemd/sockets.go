// Package systemd speaks with the service manager that has started this
// process: it takes the sockets that are passed (sd_listen_fds(3)) and tells how
// the process is (sd_notify(3)). Both are protocols that others speak too; a
// process that nobody manages gets no sockets and tells nobody.
//
// The variables in the environment address this process. The package removes each as it
// reads it, so that children do not take it for theirs.
package systemd

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// firstFD is SD_LISTEN_FDS_START: after standard input, output and error.
const firstFD = 3

// A Socket is a file that the service manager has passed. It may be anything.
type Socket struct {
	FD   int    // open, and the caller's to close; a child inherits it until then
	Name string // as FileDescriptorName= has it. Empty: not said
}

// Sockets returns what the service manager has passed to this process, in its
// order, or none if there is no such manager. A second call returns none.
func Sockets() ([]Socket, error) {
	pid, count, names := takeVariable("LISTEN_PID"), takeVariable("LISTEN_FDS"), takeVariable("LISTEN_FDNAMES")
	_ = takeVariable("LISTEN_PIDFDID")
	if pid != strconv.Itoa(os.Getpid()) {
		return nil, nil // inherited from a process that it was meant for
	}
	n, err := strconv.ParseUint(count, 10, 31)
	if err != nil {
		return nil, fmt.Errorf("LISTEN_FDS=%q: want the number of sockets", count)
	}
	return numbered(int(n), strings.Split(names, ":"))
}

// numbered returns the first n sockets that are passed. It stops with an error at a
// number that is not open: a wrong n must not become a long list.
func numbered(n int, names []string) ([]Socket, error) {
	var sockets []Socket
	for i := range n {
		s := Socket{FD: firstFD + i}
		if i < len(names) {
			s.Name = names[i]
		}
		if !isOpen(s.FD) {
			return nil, fmt.Errorf("LISTEN_FDS=%d: %s is not open", n, s)
		}
		sockets = append(sockets, s)
	}
	return sockets, nil
}

// String names the socket for logs and errors.
func (s Socket) String() string {
	if s.Name == "" {
		return fmt.Sprintf("file descriptor %d", s.FD)
	}
	return fmt.Sprintf("file descriptor %d (%s)", s.FD, s.Name)
}

// takeVariable removes a variable from the environment.
func takeVariable(variable string) string {
	value := os.Getenv(variable)
	_ = os.Unsetenv(variable)
	return value
}
