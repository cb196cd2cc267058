// Command example is a virtual-kubelet node whose pods are VMs with a
// cocoon-agent: kubectl exec, cp, attach, port-forward and logs reach into them.
// It is for trying package kubelet, and for reading: it starts and stops no VMs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// Options are the command line's.
type options struct {
	targets    string
	kubeconfig string
	node       string
	listen     string
	address    string
	cert, key  string
	clientCA   string
	clientName string
}

const usage = `Registers a node whose pods are the VMs of a YAML file, one pod for each, and
serves kubectl exec, cp, attach, port-forward and logs for them, until it is
interrupted. Then it removes the pods and the node.

  example -targets FILE -cert FILE -key FILE -client-ca FILE [flags]

Whoever may connect to the port that it listens on is root in all of the VMs: it
serves only who shows a certificate that -client-ca has signed, in the name of
-client-name.

`

func parse(args []string, stderr io.Writer) (*options, error) {
	var o options
	f := flag.NewFlagSet("example", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() {
		fmt.Fprint(stderr, usage)
		f.PrintDefaults()
	}
	f.StringVar(&o.targets, "targets", "", "`FILE` that lists the VMs: see targets.yaml")
	f.StringVar(&o.kubeconfig, "kubeconfig", os.Getenv("KUBECONFIG"), "`FILE` that leads to the cluster; default: $KUBECONFIG, or the pod's own account")
	f.StringVar(&o.node, "node", "cocoon-example", "`NAME` of the node")
	f.StringVar(&o.listen, "listen", "127.0.0.1:10250", "`ADDRESS` and port to serve the API server on")
	f.StringVar(&o.address, "address", "", "`IP` address by which the API server reaches it; default: that of -listen")
	f.StringVar(&o.cert, "cert", "", "PEM `FILE` of the certificate to serve with")
	f.StringVar(&o.key, "key", "", "PEM `FILE` of its key")
	f.StringVar(&o.clientCA, "client-ca", "", "PEM `FILE` of the authority that the API server's client certificate must be from")
	f.StringVar(&o.clientName, "client-name", "kube-apiserver-kubelet-client", "common `NAME` of the API server's client certificate; this is kubeadm's")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("there are no arguments besides flags: %q", f.Arg(0))
	}
	return &o, o.check()
}

func (o *options) check() error {
	for _, x := range []struct{ flag, value string }{
		{"targets", o.targets}, {"cert", o.cert}, {"key", o.key}, {"client-ca", o.clientCA}, {"client-name", o.clientName}, {"node", o.node},
	} {
		if x.value == "" {
			return fmt.Errorf("-%s is missing", x.flag)
		}
	}
	host, port, err := net.SplitHostPort(o.listen)
	if err != nil {
		return fmt.Errorf("-listen %s: want an address and a port", o.listen)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("-listen %s: want a port of 1 to 65535", o.listen)
	}
	if o.address == "" {
		o.address = host
	}
	if ip := net.ParseIP(o.address); ip == nil || ip.IsUnspecified() {
		return fmt.Errorf("-address %q: want the IP address where the API server reaches this program", o.address)
	}
	return nil
}

func main() {
	if err := command(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "example:", err)
		os.Exit(1)
	}
}

func command(args []string) error {
	o, err := parse(args, os.Stderr)
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return fmt.Errorf("no way to the cluster: %w", err)
	}
	cluster, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return serve(ctx, cluster, o)
}
