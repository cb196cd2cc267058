//go:build linux

package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/client/agenttest"
)

func serve(t *testing.T) (base string, vm *agenttest.VM) {
	t.Helper()
	vm = agenttest.New(t)
	pool := client.NewPool(client.PoolConfig{})
	t.Cleanup(func() { _ = pool.Close() })
	server := httptest.NewServer(handler(pool, map[string]string{"vm": vm.Target, "gone": "unix:///no/such"}))
	t.Cleanup(server.Close)
	return server.URL, vm
}

func get(t *testing.T, answer *http.Response, err error) (status int, body, exit string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, string(text), ""
	}
	return answer.StatusCode, string(text), answer.Trailer.Get(statusTrailer)
}

func TestExecServer(t *testing.T) {
	base, vm := serve(t)
	post := func(vm, input string, argv ...string) (status int, body, exit string) {
		t.Helper()
		answer, err := http.Post(base+"/exec/"+vm+"?"+url.Values{"arg": argv}.Encode(), "", strings.NewReader(input))
		return get(t, answer, err)
	}
	for _, test := range []struct {
		vm, input  string
		argv       []string
		status     int
		body, exit string
	}{
		{"vm", "data", []string{"tr", "a-z", "A-Z"}, 200, "DATA", "0"},
		{"vm", "", []string{"sh", "-c", "echo no; exit 7"}, 200, "no\n", "7"},
		{"vm", "", []string{"no-such-command"}, 422, "no-such-command", ""},
		{"gone", "", []string{"true"}, 502, "no such file", ""},
		{"other", "", []string{"true"}, 404, "no such VM", ""},
	} {
		status, body, exit := post(test.vm, test.input, test.argv...)
		if status != test.status || !strings.Contains(body, test.body) || exit != test.exit {
			t.Errorf("%s: %q: %d, %q, %q, want %d, %q, %q", test.vm, test.argv, status, body, exit, test.status, test.body, test.exit)
		}
	}
	if n := vm.Connections(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	// A connection that breaks looks like nothing else: the answer has another status, breaks off, or
	// never comes.
	vm.CutAfter(2000)
	vm.Cut()
	answer, err := http.Post(base+"/exec/vm?arg=head&arg=-c&arg=1000000&arg=/dev/zero", "", nil)
	if err != nil {
		return
	}
	if status, _, exit := get(t, answer, nil); status == 200 || exit != "" {
		t.Errorf("a broken connection: %d, %q", status, exit)
	}
}

func TestExecServerReachesServicesInVMs(t *testing.T) {
	base, _ := serve(t)
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "hello from "+r.URL.Path)
	}))
	defer service.Close()
	port := service.URL[strings.LastIndex(service.URL, ":")+1:]
	answer, err := http.Get(base + "/guest/vm/" + port + "/some/path")
	if status, body, _ := get(t, answer, err); status != 200 || body != "hello from /some/path" {
		t.Errorf("GET of the guest's page = %d, %q, want 200 and the page", status, body)
	}
	answer, err = http.Get(base + "/guest/other/" + port + "/")
	if status, _, _ := get(t, answer, err); status != 502 {
		t.Errorf("another VM: %d, want 502", status)
	}
}
