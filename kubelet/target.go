package kubelet

import (
	"context"
	"io"
	"time"

	"github.com/virtual-kubelet/virtual-kubelet/node/api"

	"github.com/cocoonstack/cocoon-agent/client"
)

// A Target is the VM that a pod is. Agent is needed for all but attach, or Fallback; the
// rest may be left out.
type Target struct {
	// Agent is where the VM's agent is, as client.ParseTarget has it, or as the
	// pool's own Dial does.
	Agent string

	// Identity names the VM itself, whatever its address is: its UUID, for
	// example. Another VM may get the same Agent when one is gone. When the
	// Resolver returns an Agent with another Identity than before, the pool's
	// connections to the one before are closed (client.Pool.Forget), with what
	// still runs over them, and none of them is used. Empty: it is not checked.
	//
	// That the VM which answers is this one the Resolver has to know:
	// client.PoolConfig.Verify can find out.
	Identity string

	// How kubectl exec runs commands: see the fields of the same names in
	// client.Cmd. [Target.Annotate] sets them from a pod's annotations.
	User     string
	Dir      string
	Env      []string
	ClearEnv bool
	Timeout  time.Duration
	Limits   client.Limits

	// Resume says which commands of kubectl exec survive lost connections to the VM, as
	// [client.Outlive.Resume] has it. It is asked only for commands without input and without
	// a terminal, which cannot be resumed. nil: none does.
	Resume func(argv []string) bool

	// Main is the handle of the pod's main command, which was started in the guest with
	// [client.Outlive.Detach]. If there is neither Console nor Attach, kubectl attach
	// connects to it. The screen of its terminal is restored, and its input is the
	// caller's. Neither the end of that input nor the caller's is the command's. If there
	// is neither Logs nor OpenLog, kubectl logs shows the output that the guest keeps. It
	// knows --follow, --tail without --follow, and --limit-bytes.
	Main []byte

	// Console opens what kubectl attach reads and writes: a VM's main process is
	// its console, whose other end the VMM has, as a Unix socket or a pty. nil:
	// attach is refused. Close must end a Read and a Write that are under way,
	// and is called once; EOF says that the VM has ended.
	Console func(context.Context) (io.ReadWriteCloser, error)

	// Attach serves kubectl attach in Console's place. It returns when ctx ends.
	Attach func(ctx context.Context, attach api.AttachIO) error

	// Logs is what kubectl logs shows. nil: nothing, it is refused.
	Logs LogSource

	// OpenLog opens what kubectl logs shows in Logs' place: a hypervisor's log file, say. An
	// option that it cannot honour is an errdefs.InvalidInput. Close ends a Read that
	// is under way, and is called once.
	OpenLog func(ctx context.Context, opts api.ContainerLogOpts) (io.ReadCloser, error)

	// Fallback serves the pod instead of an agent: one of another system, for example. The
	// other fields do not matter then. Callers are watched, and [Pods.Shutdown] ends the
	// calls, by their contexts. There are no statistics and probes of such a pod.
	Fallback Backend
}

// prepare has cmd run as t says.
func (t *Target) prepare(cmd *client.Cmd) {
	cmd.User, cmd.Dir = t.User, t.Dir
	cmd.Env, cmd.ClearEnv = t.Env, t.ClearEnv
	cmd.Timeout, cmd.Limits = t.Timeout, t.Limits
}
