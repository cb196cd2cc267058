package kubelet

import (
	"errors"
	"fmt"
	"io"

	"k8s.io/utils/exec"

	"github.com/cocoonstack/cocoon-agent/client"
)

// Exit statuses that are not the command's own: those of cocoon-agent client.
const (
	StatusTimeout       = 124 // its time was over, as timeout(1)
	StatusNotExecutable = 126 // POSIX, 2.8.2 Exit Status for Commands
	StatusNotFound      = 127 // likewise
)

// virtual-kubelet takes a status from this interface, and only if the error itself has
// it: an error that wraps one has no status.
var _ exec.ExitError = (*client.ExitError)(nil)

// status makes the error of a command virtual-kubelet's. If the status alone does not
// say what has happened, the caller gets a line besides.
func (c *caller) status(err error) error {
	switch e := err.(type) { //nolint:errorlint // what wraps one of these is no refusal, and no known end
	case *client.RemoteError:
		return c.refused(e)
	case *client.ExitError:
		return c.ended(e)
	default:
		return err
	}
}

func (c *caller) refused(err *client.RemoteError) error {
	switch err.Kind {
	case client.NotFound:
		return c.exit(err, StatusNotFound)
	case client.PermissionDenied:
		return c.exit(err, StatusNotExecutable)
	default:
		return err
	}
}

func (c *caller) ended(ended *client.ExitError) error {
	switch {
	case ended.Reason() == "timeout":
		return c.exit(ended, StatusTimeout)
	case ended.ExitCode() == 0:
		return errors.New(ended.Error()) // it was ended, even if it exited with 0: it has not succeeded
	case ended.ExitStatus() < 0:
		return errors.New(ended.Error()) // an agent of protocol version 1 does not say how it ended
	case ended.Reason() != "exit" && ended.Reason() != "signal", ended.OOMKilled(),
		ended.ExitCode() > 255, ended.ExitCode() < -1: // Windows: the text has all of it
		return c.exit(ended, ended.ExitStatus())
	}
	return ended
}

// exit returns an error that has the status, and tells the caller the reason. If there
// is no output for the reason, the error has it, and has no status.
func (c *caller) exit(err error, status int) error {
	end := "\n"
	to := c.stderr
	if c.tty {
		end, to = "\r\n", c.stdout
	}
	if to == nil {
		return errors.New(err.Error())
	}
	if _, failed := io.WriteString(to, "cocoon-agent: "+err.Error()+end); failed != nil {
		return fmt.Errorf("%w; %w", err, failed)
	}
	return exec.CodeExitError{Err: err, Code: status}
}
