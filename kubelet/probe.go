package kubelet

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/cocoonstack/cocoon-agent/client"
)

// maxProbeOutput is how much of a probe's output is kept, in bytes, as by the kubelet.
const maxProbeOutput = 10 << 10

// Ready returns nil if the pod's agent answers a ping before ctx ends. The error is the
// Resolver's, the pool's, that of [client.Client.Ping], or [ErrShutdown].
func (p *Pods) Ready(ctx context.Context, namespace, pod string) error {
	ctx, done, err := p.calls.begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	_, agent, err := p.reach(ctx, namespace, pod, "", nil)
	if err != nil {
		return err
	}
	return agent.Ping(ctx)
}

// Probe carries out a probe of a container: an exec, as [Target] says, or a ping if
// probe is nil. It is well if the command exits with 0 within the probe's
// TimeoutSeconds, or within a second if that is 0. Otherwise why has its exit status
// and the first 10 KiB of its output, or says that its time was over. The command ends
// with its time. The error says that the probe was not carried out. Probes by HTTP,
// gRPC and TCP are errors: a VM need not have a network.
func (p *Pods) Probe(ctx context.Context, namespace, pod, container string, probe *corev1.Probe) (well bool, why string, err error) {
	if probe != nil && probe.Exec == nil {
		return false, "", errors.New("a probe of a VM is an exec, or none")
	}
	limit := time.Second
	if probe != nil && probe.TimeoutSeconds > 0 {
		limit = time.Duration(probe.TimeoutSeconds) * time.Second
	}
	late, cancel := context.WithTimeoutCause(ctx, limit, errProbeLate)
	defer cancel()
	carriedOut := make(chan error, 1)
	output := &complaint{most: maxProbeOutput}
	go func() { // ends soon after late has, and the command's grace
		if probe == nil {
			carriedOut <- p.Ready(late, namespace, pod)
		} else {
			carriedOut <- p.runProbe(late, namespace, pod, container, probe.Exec.Command, output)
		}
	}()
	select {
	case err = <-carriedOut:
	case <-late.Done():
		err = context.Cause(late)
	}
	exit, ended := errors.AsType[*client.ExitError](err)
	switch {
	case err == nil:
		return true, "", nil
	case errors.Is(context.Cause(late), errProbeLate):
		return false, fmt.Sprintf("no end within %v", limit), nil
	case ended:
		return false, exit.Error() + output.text(), nil
	default:
		return false, "", err
	}
}

var errProbeLate = errors.New("the probe's time is over")

func (p *Pods) runProbe(ctx context.Context, namespace, pod, container string, argv []string, output *complaint) error {
	ctx, done, err := p.calls.begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	t, agent, err := p.reach(ctx, namespace, pod, container, nil)
	if err != nil {
		return err
	}
	cmd := newCommand(ctx, agent, argv)
	t.prepare(cmd.Cmd)
	cmd.Stdout, cmd.Stderr = output, output // one stream, as in os/exec
	if err := cmd.Start(); err != nil {
		return err
	}
	err = cmd.Wait()
	if ended := context.Cause(ctx); ended != nil {
		return ended // and so was the command
	}
	return err
}
