package systemd

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// Messages to the service manager, sd_notify(3).
const (
	Ready    = "READY=1"
	Stopping = "STOPPING=1"
	Watchdog = "WATCHDOG=1"
)

// notifyTime is how long the service manager may take to accept a message: it
// must not hold up the work.
const notifyTime = 5 * time.Second

// A Notifier tells the service manager how this process is. Its zero value has
// nobody to tell. It is safe for concurrent use.
type Notifier struct {
	socket  string
	timeout time.Duration

	environment []string
}

// NewNotifier returns the Notifier to whoever has started this process. The
// error says that the environment makes no sense.
func NewNotifier() (Notifier, error) {
	socket, usec, pid := takeVariable("NOTIFY_SOCKET"), takeVariable("WATCHDOG_USEC"), takeVariable("WATCHDOG_PID")
	var n Notifier
	if socket != "" && socket[0] != '/' && socket[0] != '@' {
		return n, fmt.Errorf("NOTIFY_SOCKET=%q: want a path, or @ and the name of an abstract socket", socket)
	}
	n.socket = socket
	for _, v := range [][2]string{{"NOTIFY_SOCKET", socket}, {"WATCHDOG_USEC", usec}, {"WATCHDOG_PID", pid}} {
		if v[1] != "" {
			n.environment = append(n.environment, v[0]+"="+v[1])
		}
	}
	if usec == "" || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return n, nil
	}
	u, err := strconv.ParseUint(usec, 10, 64)
	if err != nil || u == 0 || u > maxMicroseconds {
		return n, fmt.Errorf("WATCHDOG_USEC=%q: want microseconds", usec)
	}
	n.timeout = time.Duration(u) * time.Microsecond
	return n, nil
}

// maxMicroseconds is the longest time.Duration.
const maxMicroseconds = uint64(1<<63-1) / uint64(time.Microsecond)

// Environ returns the variables that the Notifier was made of, for a program that is executed in
// the place of this one.
func (n Notifier) Environ() []string { return n.environment }

// Timeout is how long the service manager waits for the next [Watchdog] before
// it ends this process. 0: it does not wait for any.
func (n Notifier) Timeout() time.Duration { return n.timeout }

// Status is the assignment that has text as the one line of "systemctl status".
func Status(text string) string { return "STATUS=" + strings.ReplaceAll(text, "\n", " ") }

// Notify tells the assignments, all at once. It blocks for at most 5 seconds.
func (n Notifier) Notify(assignments ...string) error {
	if n.socket == "" {
		return nil
	}
	// A connection for each message, as sd_notify: the manager may be executed
	// anew in between.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notify the service manager: %w", err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(notifyTime))
	if _, err := conn.Write([]byte(strings.Join(assignments, "\n"))); err != nil {
		return fmt.Errorf("notify the service manager: %w", err)
	}
	return nil
}
