//go:build linux

package client_test

import (
	"bytes"
	"io"
	"runtime"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/loadtest"
)

// A footprint is what a program takes at a moment: goroutines, and bytes of stacks and heap that
// are in use.
type footprint struct{ goroutines, stack, heap int }

// ownFootprint collects garbage before it looks. That shrinks stacks and empties pools.
func ownFootprint() footprint {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return footprint{runtime.NumGoroutine(), int(m.StackInuse), int(m.HeapAlloc)}
}

// The bounds are for agent and client together. Most stacks have 2 KiB: one goroutine more, or one
// of 4 KiB, is too much. A goroutine needs 4 KiB if it waits with more than some 900 bytes of frames.
func TestSleepingExecTakesLittleMemory(t *testing.T) {
	loadtest.Memory(t)
	const execs = 400
	for name, tc := range map[string]struct {
		outlive client.Outlive
		most    footprint // for each exec
	}{
		"exec":     {most: footprint{goroutines: 6, stack: 13_800, heap: 13_000}},
		"detached": {client.Outlive{Detach: true}, footprint{goroutines: 8, stack: 17_800, heap: 16_000}},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := dial(t)
			if err := c.Command("true").Run(); err != nil { // what the first exec takes is not the sleepers'
				t.Fatal(err)
			}
			before := ownFootprint()
			end := sleep(t, c, execs, tc.outlive)
			most := before.goroutines + execs*tc.most.goroutines + execs/10 // the agent has others, too
			agenttest.Eventually(t, "execs without more goroutines", func() bool { return runtime.NumGoroutine() <= most })
			now := ownFootprint()
			stack, heap := (now.stack-before.stack)/execs, (now.heap-before.heap)/execs
			t.Logf("for each exec: %d goroutines, %d bytes of stacks, %d of the heap", (now.goroutines-before.goroutines)/execs, stack, heap)
			if stack > tc.most.stack || heap > tc.most.heap {
				t.Errorf("an exec takes %d bytes of stacks and %d of the heap, more than %d and %d", stack, heap, tc.most.stack, tc.most.heap)
			}
			end()
		})
	}
}

// sleep starts shells that wait for a line. end has them exit, and waits for that.
func sleep(t *testing.T, c *client.Client, execs int, o client.Outlive) (end func()) {
	t.Helper()
	var cmds []*client.Cmd
	var inputs []io.Closer
	for range execs {
		cmd := c.Command("/bin/sh", "-c", "read line")
		cmd.Stdout, cmd.Stderr, cmd.Outlive = new(bytes.Buffer), new(bytes.Buffer), o
		input, err := cmd.StdinPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		cmds, inputs = append(cmds, cmd), append(inputs, input)
	}
	return func() {
		for i, cmd := range cmds {
			_ = inputs[i].Close()
			wantExit(t, cmd.Wait(), 1)
		}
	}
}
