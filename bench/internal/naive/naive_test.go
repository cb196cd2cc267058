package naive

import (
	"net"
	"net/rpc"
	"testing"
)

func TestResults(t *testing.T) {
	ln, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- Serve(ln) }()
	c, err := rpc.Dial("unix", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	var r Result
	if err := c.Call(Method, Request{[]string{"sh", "-c", "echo out; echo err >&2; exit 3"}}, &r); err != nil {
		t.Fatal(err)
	}
	if string(r.Stdout) != "out\n" || string(r.Stderr) != "err\n" || r.Code != 3 {
		t.Errorf("result %+v", r)
	}
	if err := c.Call(Method, Request{[]string{"/no/such"}}, &r); err == nil {
		t.Error("a program that is not there: no error")
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := ln.Close(); err != nil {
		t.Error(err)
	}
	<-served
}
