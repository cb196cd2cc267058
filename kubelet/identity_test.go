//go:build linux

package kubelet_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/virtual-kubelet/virtual-kubelet/node/api"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/kubelet"
)

// A lease is the address that one VM after another has.
type lease struct {
	*kubelet.Pods
	pool     *client.Pool
	identity atomic.Value // string
	dials    atomic.Int32
}

func newLease(t *testing.T) *lease {
	t.Helper()
	l := new(lease)
	l.identity.Store("one")
	pool := client.NewPool(client.PoolConfig{Dial: func(ctx context.Context, _ string) (net.Conn, error) {
		l.dials.Add(1)
		target, err := client.ParseTarget(shared)
		if err != nil {
			return nil, err
		}
		return target.Dial(ctx)
	}})
	t.Cleanup(func() { _ = pool.Close() })
	l.pool = pool
	l.Pods = kubelet.New(pool, func(context.Context, string, string, string) (*kubelet.Target, error) {
		return &kubelet.Target{Agent: "vm", Identity: l.identity.Load().(string), Logs: kubelet.LogCommand([]string{"echo"}, nil)}, nil
	})
	return l
}

func (l *lease) exec(argv ...string) error {
	return l.RunInContainer(context.Background(), "default", "vm", "main", argv, &attachIO{stdout: &sink{}, stderr: &sink{}})
}

func TestIdentityThatChangesGetsANewConnection(t *testing.T) {
	for what, use := range map[string]func(*lease) error{
		"exec": func(l *lease) error { return l.exec("true") },
		"logs": func(l *lease) error {
			r, err := l.GetContainerLogs(t.Context(), "default", "vm", "main", api.ContainerLogOpts{})
			if err != nil {
				return err
			}
			defer r.Close()
			_, err = io.Copy(io.Discard, r)
			return err
		},
		"port-forward": func(l *lease) error {
			near, far := net.Pipe()
			defer far.Close()
			err := l.PortForward(t.Context(), "default", "vm", 1, near) // nobody listens there
			if _, ok := errors.AsType[*client.RemoteError](err); ok {
				return nil
			}
			return err
		},
	} {
		t.Run(what, func(t *testing.T) {
			l := newLease(t)
			for _, step := range []struct {
				identity string
				dials    int32 // so far
			}{{"one", 1}, {"one", 1}, {"two", 2}, {"two", 2}, {"", 2}, {"two", 2}, {"one", 3}} {
				l.identity.Store(step.identity)
				if err := use(l); err != nil || l.dials.Load() != step.dials {
					t.Errorf("identity %q: %v after %d dials, want %d", step.identity, err, l.dials.Load(), step.dials)
				}
			}
		})
	}
}

func TestIdentityThatChangesEndsWhatRuns(t *testing.T) {
	l := newLease(t)
	out := &sink{}
	result := make(chan error, 1)
	go func() { // ends by Forget
		result <- l.RunInContainer(context.Background(), "default", "vm", "main", sh("echo ready; sleep 1000"), &attachIO{stdout: out, stderr: &sink{}})
	}()
	eventually(t, patience, "the command runs", func() bool { text, _, _, _ := out.state(); return text == "ready\n" })
	l.identity.Store("two")
	if err := l.exec("true"); err != nil {
		t.Error(err)
	}
	if err := <-result; !errors.Is(err, client.ErrForgotten) {
		t.Errorf("RunInContainer = %v, want an error that wraps ErrForgotten", err)
	}
}

func TestIdentityIsOfAnAddressInAnySpelling(t *testing.T) {
	var forgotten []string
	claim, _ := kubelet.Claims(func(target string) { forgotten = append(forgotten, target) })
	claim(&kubelet.Target{Agent: "vsock://3", Identity: "one"})
	claim(&kubelet.Target{Agent: "vsock://3:1024", Identity: "one"})
	claim(&kubelet.Target{Agent: "vsock://4", Identity: "two"})
	if forgotten != nil {
		t.Errorf("%v are forgotten, want none", forgotten)
	}
	claim(&kubelet.Target{Agent: "vsock://3", Identity: "two"})
	if want := []string{"vsock://3:1024", "vsock://3"}; !slices.Equal(forgotten, want) {
		t.Errorf("%v are forgotten, want %v", forgotten, want)
	}
}

func TestIdentitiesAreBounded(t *testing.T) {
	var forgotten []string
	claim, known := kubelet.Claims(func(target string) { forgotten = append(forgotten, target) })
	vm := func(n int) *kubelet.Target { return &kubelet.Target{Agent: fmt.Sprint("vm ", n), Identity: "x"} }
	for n := range kubelet.MaxIdentities {
		claim(vm(n))
	}
	claim(vm(0)) // it is the latest now
	claim(vm(kubelet.MaxIdentities))
	claim(vm(kubelet.MaxIdentities + 1))
	if want := []string{"vm 1", "vm 2"}; !slices.Equal(forgotten, want) || known() != kubelet.MaxIdentities {
		t.Errorf("%v are forgotten, and %d known; want %v and %d", forgotten, known(), want, kubelet.MaxIdentities)
	}
}

func TestIdentitiesOfManyCallers(t *testing.T) {
	l := newLease(t)
	var all sync.WaitGroup
	var ran atomic.Int32
	for caller := range 8 {
		all.Go(func() {
			for n := range 20 {
				if caller == 0 {
					l.identity.Store(fmt.Sprint("VM ", n))
				}
				if l.exec("true") == nil {
					ran.Add(1)
				}
			}
		})
	}
	all.Wait()
	if ran.Load() == 0 {
		t.Error("no command has run")
	}
	if err := l.exec("true"); err != nil {
		t.Errorf("RunInContainer = %v once nothing changes any more", err)
	}
}

// A Resolver may answer late, and then of a VM that is gone.
func TestIdentityOfAnOldAnswerTakesNothingOver(t *testing.T) {
	l := newLease(t)
	asked, answer := make(chan int, 8), make(chan string)
	questions := 0
	late := kubelet.New(l.pool, func(context.Context, string, string, string) (*kubelet.Target, error) {
		questions++
		asked <- questions
		return &kubelet.Target{Agent: "vm", Identity: <-answer}, nil
	})
	kubelet.ShareIdentities(late, l.Pods)
	result := make(chan error, 1)
	exec := func() { // ends with its command
		result <- late.RunInContainer(context.Background(), "default", "vm", "main", []string{"true"}, &attachIO{stdout: &sink{}, stderr: &sink{}})
	}
	l.identity.Store("new")
	go exec()
	<-asked
	if err := l.exec("true"); err != nil {
		t.Fatal(err)
	}
	answer <- "old"
	<-asked // again
	answer <- "new"
	if err := <-result; err != nil || l.dials.Load() != 1 {
		t.Errorf("RunInContainer = %v after %d dials, want nil after 1: the connection is the new VM's", err, l.dials.Load())
	}
	go exec()
	for n := range 3 {
		<-asked
		l.identity.Store(fmt.Sprint("newer ", n))
		if err := l.exec("true"); err != nil {
			t.Fatal(err)
		}
		answer <- "old"
	}
	dials := l.dials.Load()
	if err := <-result; err == nil || !strings.Contains(err.Error(), "another VM") {
		t.Errorf("RunInContainer = %v, want an error: another VM has the address", err)
	}
	if err := l.exec("true"); err != nil || l.dials.Load() != dials {
		t.Errorf("RunInContainer = %v after %d dials, want nil after %d: nothing was taken over", err, l.dials.Load(), dials)
	}
}
