package agenttest

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// stopTime is how long a program has to end after SIGTERM.
const stopTime = 20 * time.Second

// startProgram runs "PROGRAM serve" until the end of the test. It returns the path of its
// socket, and its log.
func startProgram(tb testing.TB, dir, program string, args []string) (path string, log func() string) {
	tb.Helper()
	path = filepath.Join(dir, "agent.sock")
	out := new(output)
	cmd := exec.Command(program, append([]string{"serve", "--listen", "unix://" + path}, args...)...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = time.Second // commands that are kept have its log open
	if err := cmd.Start(); err != nil {
		tb.Fatalf("agenttest: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	ended := make(chan struct{})
	go func() { // ends with the program, which the end of the test ends
		_ = cmd.Wait()
		cancel()
		close(ended)
	}()
	tb.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(stopTime):
			_ = cmd.Process.Kill()
			<-ended
		}
	})
	if err := awaitListening(ctx, path); err != nil {
		tb.Fatalf("agenttest: %s does not listen: %v\n%s", program, err, out)
	}
	return path, out.String
}

// An output collects what a program writes.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
