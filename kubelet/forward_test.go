//go:build linux

package kubelet_test

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"

	"github.com/cocoonstack/cocoon-agent/kubelet"
)

// service listens on the guest's loopback interface, which is this machine's,
// and hands each connection to serve.
func service(t *testing.T, serve func(*net.TCPConn)) (port int) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go serve(conn.(*net.TCPConn))
		}
	}()
	return ln.Addr().(*net.TCPAddr).Port
}

func dialerOf(t *testing.T, c *cluster, over, pod string) httpstream.Dialer {
	t.Helper()
	at, err := url.Parse(c.URL + "/portForward/default/" + pod)
	if err != nil {
		t.Fatal(err)
	}
	var dialer httpstream.Dialer
	config := &rest.Config{Host: c.URL}
	if over == overWebSocket {
		dialer, err = portforward.NewSPDYOverWebsocketDialer(at, config)
	} else {
		transport, upgrader, e := spdy.RoundTripperFor(config)
		dialer, err = spdy.NewDialer(upgrader, &http.Client{Transport: transport}, "POST", at), e
	}
	if err != nil {
		t.Fatal(err)
	}
	return dialer
}

// forwarding is kubectl port-forward: it returns the local port, and what stops it.
func forwarding(t *testing.T, c *cluster, over, pod string, port int) (local string, stop func() error) {
	t.Helper()
	dialer := dialerOf(t, c, over, pod)
	stopped, ready := make(chan struct{}), make(chan struct{})
	f, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", port)}, stopped, ready, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() { failed <- f.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-failed:
		t.Fatal(err)
	}
	var once sync.Once
	var ended error
	stop = func() error {
		once.Do(func() {
			close(stopped)
			ended = <-failed
		})
		return ended
	}
	t.Cleanup(func() { _ = stop() })
	ports, err := f.GetPorts()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", ports[0].Local), stop
}

func TestOnePortForwardCarriesTwentyDownloads(t *testing.T) {
	const size = 4 << 20
	port := service(t, func(conn *net.TCPConn) {
		defer conn.Close()
		r, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\nX-Path: %s\r\n\r\n", r.URL.Path)
		_, _ = io.Copy(conn, newStream(size))
	})
	whole := newStream(size)
	_, _ = io.Copy(io.Discard, whole)
	want := fmt.Sprintf("%x", whole.sum.Sum(nil))
	c := newCluster(t)
	overAll(t, func(t *testing.T, over string) {
		local, _ := forwarding(t, c, over, "vm", port)
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				path := fmt.Sprintf("/%d", i)
				r, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + local + path)
				if err != nil {
					t.Error(err)
					return
				}
				defer r.Body.Close()
				sum := sha256.New()
				n, err := io.Copy(sum, r.Body)
				if got := fmt.Sprintf("%x", sum.Sum(nil)); err != nil || n != size || got != want || r.Header.Get("X-Path") != path {
					t.Errorf("%s: %d bytes, %v, of %q", path, n, err, r.Header.Get("X-Path"))
				}
			})
		}
		all.Wait()
	})
}

// Each way ends by itself: the service answers when it has read to the end.
func TestForwardingKeepsHalfCloses(t *testing.T) {
	const size = 4 << 20
	port := service(t, func(conn *net.TCPConn) {
		defer conn.Close()
		sum := sha256.New()
		_, _ = io.Copy(sum, conn)
		fmt.Fprintf(conn, "%x", sum.Sum(nil))
	})
	c := newCluster(t)
	overAll(t, func(t *testing.T, over string) {
		local, _ := forwarding(t, c, over, "vm", port)
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				conn, err := net.Dial("tcp", local)
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				sent := newStream(size)
				if _, err := io.Copy(conn, sent); err != nil {
					t.Error(err)
				}
				_ = conn.(*net.TCPConn).CloseWrite()
				got, err := io.ReadAll(conn)
				if want := fmt.Sprintf("%x", sent.sum.Sum(nil)); string(got) != want || err != nil {
					t.Errorf("ReadAll = %q, %v, want %q", got, err, want)
				}
			})
		}
		all.Wait()
	})
}

func TestForwardToAnUnservedPortIsAnError(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	_ = ln.Close()
	c := newCluster(t)
	ours, theirs := net.Pipe()
	defer theirs.Close()
	for pod, text := range map[string]string{"vm": "connection refused", "nosuch": "no pod default/nosuch"} {
		err = c.Pods.PortForward(t.Context(), "default", pod, int32(port), ours)
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: error %v, want %q", pod, err, text)
		}
	}
}

// The service holds its connection for ever.
func TestConnectionInTheGuestEndsWithItsCaller(t *testing.T) {
	c := newCluster(t)
	overAll(t, func(t *testing.T, over string) {
		begun, ended := make(chan struct{}), make(chan struct{})
		port := service(t, func(conn *net.TCPConn) {
			defer close(ended)
			defer conn.Close()
			var b [1]byte
			_, _ = conn.Read(b[:])
			close(begun)
			// A half-close is not the end of the connection: writing tells. Nobody reads
			// this, so that it fills what is between, and waits there.
			for err := error(nil); err == nil; {
				_, err = conn.Write(make([]byte, 64<<10))
			}
		})
		local, stop := forwarding(t, c, over, "vm", port)
		conn, err := net.Dial("tcp", local)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = conn.Write([]byte("x"))
		<-begun
		_ = stop()
		select {
		case <-ended:
		case <-time.After(goneWithin):
			t.Error("the service still has its connection")
		}
	})
}

// A service breaks off the connection of a client that goes on sending, and does
// not look at the error, as kubectl does: its other connections must not be held up.
func TestUnreadForwardHoldsUpNoOther(t *testing.T) {
	c := newCluster(t)
	port := service(t, func(conn *net.TCPConn) {
		defer conn.Close()
		line, _ := bufio.NewReader(conn).ReadString('\n')
		if line == "echo\n" {
			_, _ = io.WriteString(conn, line)
		}
	})
	dialer := dialerOf(t, c, overSPDY, "vm")
	conn, _, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for i := range 5 {
		up := pairOf(t, conn, 2*i, port)
		_, _ = io.WriteString(up, "upload\n")
		_, _ = io.Copy(up, newStream(8<<20)) // it fails, or not
		down := pairOf(t, conn, 2*i+1, port)
		_, _ = io.WriteString(down, "echo\n")
		got := make(chan string, 1)
		go func() {
			b, _ := io.ReadAll(down)
			got <- string(b)
		}()
		select {
		case got := <-got:
			if got != "echo\n" {
				t.Fatalf("got %q", got)
			}
		case <-time.After(goneWithin):
			t.Fatal("no answer")
		}
	}
}

// pairOf opens the streams of one connection, and returns that of its data.
func pairOf(t *testing.T, conn httpstream.Connection, id, port int) httpstream.Stream {
	t.Helper()
	h := http.Header{}
	h.Set(corev1.PortHeader, strconv.Itoa(port))
	h.Set(corev1.PortForwardRequestIDHeader, strconv.Itoa(id))
	h.Set(corev1.StreamType, corev1.StreamTypeError)
	failure, err := conn.CreateStream(h)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, failure) }()
	h.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := conn.CreateStream(h)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestForwardingOfAnAgentThatIsKilledIsAnError(t *testing.T) {
	c := newCluster(t)
	agent, target := ownAgent(t)
	c.add("doomed", &kubelet.Target{Agent: target})
	begun := make(chan struct{})
	port := service(t, func(conn *net.TCPConn) {
		close(begun)
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	})
	ours, theirs := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, theirs) }()
	failed := make(chan error, 1)
	go func() { failed <- c.Pods.PortForward(t.Context(), "default", "doomed", int32(port), ours) }()
	<-begun
	_ = agent.Process.Kill()
	if err := <-failed; err == nil {
		t.Error("no error")
	}
	_ = theirs.Close()
}
