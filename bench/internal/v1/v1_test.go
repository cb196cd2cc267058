package v1_test

import (
	"bytes"
	"net"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/cocoonstack/cocoon-agent/bench/internal/v1"
)

func TestVersion1CarriesStreamsAndExitCode(t *testing.T) {
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() { _ = v1.Serve(ln) }() // stopped by Close
	nc, err := net.Dial("unix", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	input := strings.Repeat("0123456789abcdef", 20<<10)
	var stdout, stderr bytes.Buffer
	cmd := v1.Cmd{
		Argv:  []string{"sh", "-c", "cat; echo done >&2; exit 7"},
		Stdin: strings.NewReader(input), Stdout: &stdout, Stderr: &stderr,
	}
	e, err := cmd.Start(nc)
	if err != nil {
		t.Fatal(err)
	}
	code, err := e.Wait()
	if err != nil || code != 7 || stdout.String() != input || stderr.String() != "done\n" {
		t.Errorf("code %d, %v, %d bytes of output, %q", code, err, stdout.Len(), &stderr)
	}
}
