//go:build linux

// Command hybridvsock gives a guest without KVM a virtio-vsock device, in the form
// of Firecracker and Cloud Hypervisor: on the host it is a Unix socket with the
// CONNECT handshake. It is a vhost-user back end, so the guest can be User-Mode
// Linux or QEMU. One hybridvsock is one VM; when its guest goes, it waits for the
// next.
//
// SIGUSR1 is a restore from a snapshot: every connection is dropped, and the guest
// is told. SIGUSR2 prints counters.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/e2e/instruments/internal/hybrid"
)

const (
	vmmCorrect     = "correct"
	vmmFirecracker = "firecracker"

	firstCID, lastCID = 3, 1<<32 - 2 // of guests

	bufDefault, bufMin, bufMax = 256 << 10, 4 << 10, 1 << 30
	bufFirecracker             = 64 << 10
)

// options are the command line.
type options struct {
	socket, uds, vmm string
	cid, buf         uint64
	connectTimeout   time.Duration
	rekick           time.Duration
	verbose          bool
}

func main() {
	var o options
	o.define()
	flag.Parse()
	if !o.complete() {
		flag.Usage()
		os.Exit(2)
	}
	if err := o.run(); err != nil {
		logf("%v", err)
		os.Exit(1)
	}
}

func (o *options) define() {
	flag.StringVar(&o.socket, "socket", "", "listen on vhost-user `path` for the guest's VMM")
	flag.StringVar(&o.uds, "uds", "", "listen on Unix socket `path` for clients: CONNECT <port> goes to the guest; a guest's connect to port P goes to <path>_P")
	flag.Uint64Var(&o.cid, "cid", firstCID, "context `id` of the guest")
	flag.Uint64Var(&o.buf, "buf", bufDefault, "receive buffer of each connection in `bytes`, told to the guest; firecracker's default is 65536")
	flag.StringVar(&o.vmm, "vmm", vmmCorrect, "\"correct\", or \"firecracker\" to close as Firecracker does: no half-close, unsent bytes dropped on reset and after 2 s")
	flag.DurationVar(&o.connectTimeout, "connect-timeout", 2*time.Second, "how long the guest may take to answer a CONNECT")
	flag.DurationVar(&o.rekick, "rekick", time.Millisecond, "repeat an interrupt that the driver has not answered for so long, as UML loses wakeups; 0: never")
	flag.BoolVar(&o.verbose, "v", false, "log every packet")
}

// complete fills in what depends on --vmm, and reports whether the options are right.
func (o *options) complete() bool {
	if o.vmm == vmmFirecracker && !given("buf") {
		o.buf = bufFirecracker
	}
	return o.socket != "" && o.uds != "" && flag.NArg() == 0 &&
		o.cid >= firstCID && o.cid <= lastCID && o.buf >= bufMin && o.buf <= bufMax &&
		(o.vmm == vmmCorrect || o.vmm == vmmFirecracker)
}

func given(name string) (set bool) {
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}

func (o options) run() error {
	raiseOpenFiles()
	guests, err := hybrid.Listen(o.socket)
	if err != nil {
		return err
	}
	defer guests.Close()
	clients, err := hybrid.Listen(o.uds)
	if err != nil {
		return err
	}
	defer clients.Close()

	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1, syscall.SIGUSR2)
	m := hybrid.NewMuxer(o.config())
	go m.ServeGuests(guests)   // ends with the process
	go m.ServeClients(clients) // likewise
	logf("listening: vhost-user %s, host %s, guest CID %d", o.socket, o.uds, o.cid)
	for sig := range signals {
		switch sig {
		case syscall.SIGUSR1:
			m.Reset()
		case syscall.SIGUSR2:
			logf("%s", m.Summary())
		default:
			return nil
		}
	}
	return nil
}

func (o options) config() hybrid.Config {
	debugf := logf
	if !o.verbose {
		debugf = func(string, ...any) {}
	}
	return hybrid.Config{
		UDS: o.uds, CID: uint32(o.cid), BufAlloc: uint32(o.buf),
		ConnectTimeout: o.connectTimeout, Rekick: o.rekick, Firecracker: o.vmm == vmmFirecracker,
		Logf: logf, Debugf: debugf,
	}
}

func logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s hybridvsock: %s\n", time.Now().Format("15:04:05.000000"), fmt.Sprintf(format, args...))
}

// raiseOpenFiles allows as many connections as the system does. If it fails, there
// are fewer.
func raiseOpenFiles() {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil {
		limit.Cur = limit.Max
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
	}
}
