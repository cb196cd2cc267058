package agenttest

import (
	"os"

	"github.com/cocoonstack/cocoon-agent/internal/files"
	"github.com/cocoonstack/cocoon-agent/internal/session"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

const filesWorker = "-files-worker"

// WithFiles has an agent serve files. Its TestMain calls [ServeFiles].
func WithFiles(c *session.Config) {
	c.FilesWorker = func(m *wire.Files) []string {
		r := files.Request{Op: files.Op(m.Op), Path: m.Path, To: m.To}
		return append([]string{"/proc/self/exe", filesWorker}, r.Args()...)
	}
}

// ServeFiles ends the program, if the agent has started it for files of a test.
func ServeFiles() {
	if len(os.Args) > 1 && os.Args[1] == filesWorker {
		os.Exit(files.Serve(os.Args[2:], os.Stdin, os.Stdout, os.Stderr)) //nolint:revive // this is all that the program is for
	}
}
