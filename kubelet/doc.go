// Package kubelet lets a virtual-kubelet provider whose pods are microVMs with a
// cocoon-agent serve kubectl exec, cp, attach, port-forward, logs and top. A [Pods] has
// the six methods for them; it is made of the pool that the provider has, and of
// a function that says which VM a pod is:
//
//	type provider struct {
//		*kubelet.Pods // RunInContainer, AttachToContainer, PortForward, GetContainerLogs, GetStatsSummary, GetMetricsResource
//		…
//	}
//
//	p.Pods = kubelet.New(pool, func(ctx context.Context, namespace, pod, container string) (*kubelet.Target, error) {
//		vm, err := p.find(namespace, pod)
//		if err != nil {
//			return nil, err // such as errdefs.NotFoundf("no pod %s/%s", namespace, pod)
//		}
//		t := &kubelet.Target{Agent: vm.Agent, Identity: vm.UUID, Logs: kubelet.LogJournal()}
//		return t, t.Annotate(vm.Pod.Annotations)
//	})
//
// [The example] is a whole node.
//
// # What must be set
//
//	what                        by                      or else
//	TLSConfig.ClientAuth        [Configure]             an open port is a root shell in every VM
//	TLSConfig.ClientCAs         nodeutil.WithCAFromPath the same; Configure refuses it
//	TLSConfig.VerifyConnection  the provider            other clients of the same authority get in
//	StreamIdleTimeout           [Configure]             a port-forward over which nothing goes is ended after 30 s
//	StreamCreationTimeout       [Configure]             the same: virtual-kubelet swaps the two for port-forward
//	Handler                     [Pods.Handler]          a caller that never stops sending may lose its exit status
//	[Pods.Shutdown]             the provider's SIGTERM  kubectl exits with 0 under commands that were cut off
//
// nodeutil.WithTLSConfig alone asks for a certificate and does not verify it. A provider
// that fills in an api.PodHandlerConfig sets these there. Silent execs, attaches and
// forwarded connections are not ended as idle: the heartbeat counts as traffic.
//
// # What is promised
//
// The exit status arrives: RunInContainer returns nil or a
// k8s.io/utils/exec.ExitError, itself and not wrapped, when every byte of output
// has been handed to virtual-kubelet. All else is an error, whose text kubectl
// prints, and kubectl's status is then 1: a lost connection, output that is not
// complete, an agent that is killed or refuses. The statuses are
//
//	the command's own   0 to 255
//	128+n               signal n ended it
//	124                 its time was over ([Target.Timeout])
//	126, 127            it cannot be executed; there is no such command
//	1 to 255            the low byte of a code of Windows above 255, or 1 if that is 0
//
// A line on standard error, or the terminal, gives the reason for the last four. It
// does so, too, for a command that was killed for its memory, and for one that ended
// because the agent shut down. It begins with "cocoon-agent: ".
//
// A command and all that it has started end with its caller. The context (which
// virtual-kubelet ends since 1.13), a Write that fails, or a heartbeat shows that
// kubectl has gone. A heartbeat is an empty Write every half second ([Pods.Heartbeat]).
// The command then gets SIGTERM (with a terminal SIGHUP), and SIGKILL 2 seconds later.
// The end of a caller is not passed on as the end of its input, so that half an upload
// is not taken for a whole one. For that an end of input is 20 ms late.
//
// The status also arrives if a command ends while its caller still sends.
// virtual-kubelet closes the connection when the call returns. Over SPDY TCP then
// resets it, and kubectl exits with 0 (one in ten was measured). So the call returns when the
// input has ended, or nothing has come for 50 ms. For a caller that was sending and
// not typing, it waits for a second without input. In any case it returns after 3
// seconds.
//
// No caller reaches another VM than its own, if the Resolver names the VM
// ([Target.Identity]) that has the address while it is asked. When an address goes to
// another VM, the connections to the one before are closed before anything is sent over
// them. If another VM has got the address since the Resolver was asked, the answer is
// out of date: the Resolver is asked again, twice at most, and then the call fails and
// nothing is started. An answer that was out of date when it was asked for takes the
// address over: the Resolver must not answer from a cache that lags behind.
//
// Statistics are the VM's own, from its agent's info: the CPU time and the memory of its
// kernel ([Pods.GetStatsSummary]). Set [Pods.Usage] for them. A VM is asked at most every 5
// seconds, for 2 seconds; 32 at a time, and 32 more that did not answer before. One that is paused keeps its last figures, and
// their time, and is not waited for again until it answers. The figures are the guest's
// word: what one says adds at most its CPUs' time to its node's.
//
// [Pods.Probe] carries out a pod's probe, and [Pods.Ready] is a ping.
//
// A pod may have a log and an attach of the provider's own ([Target.OpenLog],
// [Target.Attach]), or be served by other means altogether ([Target.Fallback]): a guest
// of another system, for example.
//
// A terminal has its caller's size from the start, if that comes within half a
// second.
//
// # What cannot be
//
//   - Over websockets (kubectl's default) the API server is stuck while its buffers
//     are full of input that the command does not read. If kubectl goes then, nobody
//     sees it until the command reads, or ends.
//   - A caller that goes on sending without a pause for 3 seconds after the command
//     has ended may lose the status over SPDY, without [Pods.Handler].
//   - A provider that is killed tells nobody: kubectl exits with 0 (1.37, over both
//     transports), as if the command had ended well and its output were complete.
//     [Pods.Shutdown] is for an end in order.
//   - kubectl cp of a file that grows exits with 0 beside tar's "file changed as we read
//     it": the status is kubectl's own doing.
//   - If neither stdout nor stderr is asked for, there is no heartbeat, and only
//     the context tells that the caller has gone.
//   - kubectl cannot say a user, a directory or an environment. A pod's annotations
//     can: see [AnnotationExecUser] and those beside it, and [Target.Annotate].
//     They do not protect anything: an environment loads code into the commands of others.
//   - A log in a file ([LogFile]) that a user of the guest replaces by a symbolic
//     link while --follow runs is followed by tail(1), as root.
//   - An attach is to the pod's main command, a detached one ([Target.Main]), or to the
//     VM's console ([Target.Console]), which has no size and no exit status, unless the
//     provider has its own. There is no attaching to a command of kubectl exec.
//   - A service in the guest that breaks off a forwarded connection is reported to
//     kubectl as an error, as container runtimes do, and kubectl then gives up the whole
//     port-forward.
//   - virtual-kubelet does not tell kubectl logs --tail=0 from no --tail. When
//     reading a log fails in the middle, the error is a text behind what was sent.
//
// It is tested with virtual-kubelet 1.13's HTTP handlers, client-go's executors and
// the API server's own proxy between them, over SPDY and both kinds of websockets.
//
// [The example]: https://github.com/cocoonstack/cocoon-agent/tree/main/kubelet/example
package kubelet
