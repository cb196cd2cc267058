//go:build linux

package v1_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/v1"
)

func TestMembersOfHostsTakeNoMemoryFromAnAgent(t *testing.T) {
	var env strings.Builder
	for n := range 100_000 {
		fmt.Fprintf(&env, `"k%d":"v",`, n)
	}
	line := []byte(`{"type":"stdout","data":"eA==","argv":["` + strings.Repeat(`x","`, 100_000) + `"],"env":{` + env.String() + `"z":""}}` + "\n")
	f, err := v1.DecodeAgent(line)
	if err != nil || f.Type != v1.TypeStdout || string(f.Data) != "x" || f.Argv != nil || f.Env != nil {
		t.Errorf("DecodeAgent = %+v, %v", f, err)
	}
	if n := testing.AllocsPerRun(10, func() { _, _ = v1.DecodeAgent(line) }); n > 50 {
		t.Errorf("DecodeAgent makes %v allocations, want 50 at most", n)
	}
}

func TestLongLinesOfAgentsShareMemory(t *testing.T) {
	said := make(chan struct{})
	c := dialOld(t, startOld(t, func(nc net.Conn, _ *v1.Frame, lines *v1.Reader) {
		_, _ = io.WriteString(nc, begun)
		_, _ = io.WriteString(nc, `{"type":"stdout","data":"`+strings.Repeat("A", 6<<20))
		said <- struct{}{}
		for {
			if _, err := lines.Next(); err != nil {
				return // the client has closed it
			}
		}
	}))
	first := c.CommandContext(patiently(t), "x")
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	<-said
	result := make(chan error, 1)
	go func() { result <- c.CommandContext(patiently(t), "x").Run() }() // ends for lack of memory
	<-said
	if err := <-result; err == nil || !strings.Contains(err.Error(), v1.ErrMemory.Error()) {
		t.Errorf("Run = %v, want %v", err, v1.ErrMemory)
	}
	_ = first.Kill()
	_ = first.Wait()
}
