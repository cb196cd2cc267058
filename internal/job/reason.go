package job

import "github.com/cocoonstack/cocoon-agent/internal/proc"

// A Reason says why a job ended.
type Reason string

// The reasons.
const (
	Exited   Reason = "exit"     // it exited by itself
	Signaled Reason = "signal"   // a signal from elsewhere ended it
	Timeout  Reason = "timeout"  // its time was up
	Killed   Reason = "killed"   // somebody asked for its end, or it lost its owner
	Limit    Reason = "limit"    // the agent had no memory for its input
	Shutdown Reason = "shutdown" // the agent shuts down
	Lost     Reason = "lost"     // nobody knows: see Exit.Err
)

// An Exit is the record of how a job ended.
type Exit struct {
	proc.Exit
	Reason Reason
	Err    error // why the exit status is lost; nil: it is not

	Stdout, Stderr uint64 // bytes that the sinks have taken
	Cut            bool   // output was left unread: see [proc.Output.CopyTo]
}

// A StartError says that a job was ended before its process was the command.
type StartError struct {
	Reason Reason
	Hung   *proc.HungError // nil: there was no process
}

func (e *StartError) Error() string {
	if e.Hung != nil {
		return e.Hung.Error()
	}
	return "ended before it started: " + string(e.Reason)
}
