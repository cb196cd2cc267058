//go:build linux

package kubelet_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"k8s.io/utils/exec"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/kubelet"
)

// version1 reaches an agent, of Windows as it may be, whose commands exit with code.
func version1(t *testing.T, code string) *kubelet.Pods {
	t.Helper()
	pool := client.NewPool(client.PoolConfig{
		Protocol: client.Protocol1,
		Dial: func(context.Context, string) (net.Conn, error) {
			near, far := net.Pipe()
			go func() { // ends with the connection
				defer far.Close()
				switch line, err := bufio.NewReader(far).ReadString('\n'); {
				case err != nil:
				case strings.Contains(line, "cocoon-agent/2"): // is the agent there?
					fmt.Fprintln(far, `{"type":"error","message":"what is that?"}`)
				default:
					fmt.Fprintf(far, `{"type":"started","pid":5}`+"\n"+`{"type":"exit","exit_code":%s}`+"\n", code)
				}
			}()
			return near, nil
		},
	})
	t.Cleanup(func() { _ = pool.Close() })
	return kubelet.New(pool, func(context.Context, string, string, string) (*kubelet.Target, error) {
		return &kubelet.Target{Agent: "vm"}, nil
	})
}

// kubectl exits with the low byte of a status.
func TestExecOfWindowsIsZeroForSuccessAlone(t *testing.T) {
	for code, want := range map[string]struct {
		status int
		line   string
	}{
		"0":           {0, ""},
		"255":         {255, ""},
		"256":         {1, "cocoon-agent: exit status 0x00000100\n"},
		"512":         {1, "cocoon-agent: exit status 0x00000200\n"},
		"3221225477":  {5, "cocoon-agent: exit status 0xc0000005\n"},
		"-1073741819": {5, "cocoon-agent: exit status 0xc0000005\n"},
	} {
		errs := &sink{}
		err := run(version1(t, code), &attachIO{stdout: &sink{}, stderr: errs}, "anything")
		status := 0
		if exit, ok := err.(exec.ExitError); ok { //nolint:errorlint // as virtual-kubelet does
			status = exit.ExitStatus()
		}
		if text, _, _, _ := errs.state(); status != want.status || (err == nil) != (code == "0") || text != want.line {
			t.Errorf("code %s: %v (%T), status %d, stderr %q; want %+v", code, err, err, status, text, want)
		}
	}
}
