// Command execserver is an HTTP server in front of VMs. It runs commands in them, and passes
// requests on to HTTP services in them, which need no network for that. All requests for a VM
// share one connection.
//
//	execserver -listen localhost:8080 web-17=hvsock:///run/vms/web-17/v.sock db-1=vsock://4
//
//	POST /exec/web-17?arg=tar&arg=x   the body is the command's input, the answer its output;
//	                                  the trailer Exit-Status has its status
//	GET  /guest/web-17/8080/path      from port 8080 in the VM
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"os/signal"
	"strconv"
	"strings"

	"github.com/cocoonstack/cocoon-agent/client"
)

func main() {
	listen := flag.String("listen", "localhost:8080", "`address` to serve")
	flag.Parse()
	if err := run(*listen, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "execserver:", err)
		os.Exit(1)
	}
}

// run serves the VMs that args name.
func run(listen string, args []string) error {
	vms := map[string]string{}
	for _, arg := range args {
		name, target, ok := strings.Cut(arg, "=")
		if _, err := client.ParseTarget(target); !ok || err != nil {
			return fmt.Errorf("%q: want NAME=TARGET: %w", arg, err)
		}
		vms[name] = target
	}
	pool := client.NewPool(client.PoolConfig{})
	defer pool.Close()
	server := &http.Server{Addr: listen, Handler: handler(pool, vms)}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// statusTrailer has the exit status of a command, or nothing if it is not known.
const statusTrailer = "Exit-Status"

func handler(pool *client.Pool, vms map[string]string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /exec/{vm}", func(w http.ResponseWriter, r *http.Request) {
		target, ok := vms[r.PathValue("vm")]
		argv := r.URL.Query()["arg"]
		if !ok || len(argv) == 0 {
			http.Error(w, "no such VM, or no arg", http.StatusNotFound)
			return
		}
		execute(w, r, pool, target, argv)
	})
	mux.Handle("/guest/{vm}/{port}/", guests(pool, vms))
	return mux
}

// execute runs a command. If its client goes away, the request's context ends the command.
func execute(w http.ResponseWriter, r *http.Request, pool *client.Pool, target string, argv []string) {
	c, err := pool.Get(r.Context(), target)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	cmd := c.CommandContext(r.Context(), argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = r.Body, w, w
	w.Header().Set("Trailer", statusTrailer)
	err = cmd.Run()
	remote, refused := errors.AsType[*client.RemoteError](err)
	_, maybe := errors.AsType[*client.MaybeStartedError](err)
	_, exited := errors.AsType[*client.ExitError](err)
	switch {
	case refused: // nothing has run, and nothing was written
		http.Error(w, remote.Message, http.StatusUnprocessableEntity)
	case maybe: // nothing was written
		http.Error(w, err.Error(), http.StatusBadGateway)
	case err == nil, exited:
		w.Header().Set(statusTrailer, strconv.Itoa(cmd.ProcessState.ExitStatus()))
	default:
		fmt.Fprintf(os.Stderr, "execserver: %s: %v\n", target, err)
		panic(http.ErrAbortHandler) // the client must not take the answer for a whole one
	}
}

// guests passes requests on to services in VMs.
func guests(pool *client.Pool, vms map[string]string) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			vm, port := p.In.PathValue("vm"), p.In.PathValue("port")
			p.Out.URL.Path = strings.TrimPrefix(p.In.URL.Path, "/guest/"+vm+"/"+port)
			p.Out.URL.RawPath = ""
			// The host names the VM, so that its connections are kept apart from others'.
			p.Out.URL.Scheme, p.Out.URL.Host = "http", net.JoinHostPort(vm, port)
		},
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				vm, port, err := net.SplitHostPort(address)
				if err != nil {
					return nil, err
				}
				target, ok := vms[vm]
				if !ok {
					return nil, fmt.Errorf("no VM %q", vm)
				}
				c, err := pool.Get(ctx, target)
				if err != nil {
					return nil, err
				}
				return c.DialGuest(ctx, network, net.JoinHostPort("localhost", port))
			},
		},
	}
}
