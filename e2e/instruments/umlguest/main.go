//go:build linux

// Command umlguest boots User-Mode Linux on the host's root file system, read-only,
// runs one command in the guest, and powers it off. The same program is the
// guest's init. With --disk it boots the system on an image instead, runs no command,
// and ends when that system powers off.
//
// Its exit status is the command's: 128+n if signal n ended the command, and 125
// if the guest ended without a status. SIGTERM ends the guest.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
)

const (
	statusUsage     = 2
	statusNoCommand = 125
)

// options are the command line.
type options struct {
	kernel, modules string
	disk            string
	vsock           string
	mem             string
	console         string
	pidFile         string
	timeout         time.Duration
	dir, hostname   string
	loopback        bool
	env, karg       list
	keep, share     list
	tmpfs           list
	command         []string
}

// A list is a flag that may be given more than once.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

func main() {
	if os.Getpid() == 1 {
		runInit()
		return
	}
	var o options
	o.define()
	flag.Parse()
	if o.command = flag.Args(); (len(o.command) == 0) != (o.disk != "") {
		flag.Usage()
		os.Exit(statusUsage)
	}
	status, err := o.run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "umlguest:", err)
		os.Exit(statusNoCommand)
	}
	os.Exit(status)
}

func (o *options) define() {
	flag.StringVar(&o.kernel, "kernel", "/usr/bin/linux.uml", "UML `binary`")
	flag.StringVar(&o.modules, "modules", "/usr/lib/uml/modules", "`directory` with a directory of modules for each kernel release")
	flag.StringVar(&o.disk, "disk", "", "ext4 `image` with a system to boot instead of running a command; it is not changed")
	flag.StringVar(&o.vsock, "vsock", "", "vhost-user `socket` of hybridvsock; none: no virtio-vsock device")
	flag.BoolVar(&o.loopback, "loopback", false, "load vsock_loopback too: CID 1 reaches the guest itself")
	flag.StringVar(&o.mem, "mem", "1G", "memory of the guest")
	flag.StringVar(&o.console, "console", "", "`file` for the console, the command's output included; none: standard output")
	flag.StringVar(&o.dir, "dir", "/", "working `directory` of the command")
	flag.StringVar(&o.hostname, "hostname", "umlguest", "host name in the guest")
	flag.DurationVar(&o.timeout, "timeout", 0, "end the guest after this time; 0: never")
	flag.Var(&o.env, "env", "`NAME=VALUE` for the command, repeatable")
	flag.Var(&o.keep, "keep", "host `path` under /tmp or /run that stays visible, read-only, repeatable; the command's own directory always does")
	flag.Var(&o.share, "share", "host `directory` that the guest can write to, at the same path, repeatable")
	flag.Var(&o.tmpfs, "tmpfs", "`directory` to mount an empty tmpfs on, repeatable")
	flag.Var(&o.karg, "karg", "further kernel `argument`, repeatable")
	flag.StringVar(&o.pidFile, "pidfile", "", "`file` to write the UML process id to")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: umlguest [flags] -- command [argument ...]\n       umlguest [flags] --disk image\nExit status: that of the command; 125 if there is none.")
		flag.PrintDefaults()
	}
}
