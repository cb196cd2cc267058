package main

import (
	"github.com/cocoonstack/cocoon-agent/internal/files"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// filesWorker returns the command for a request about files: this program, which is found
// whatever has become of its file.
func (f *systemFlags) filesWorker() func(*wire.Files) []string {
	root := ""
	if f.FilesRoot != nil {
		root = *f.FilesRoot
	}
	return func(m *wire.Files) []string {
		r := files.Request{Op: files.Op(m.Op), Root: root, Path: m.Path, To: m.To}
		return append([]string{"/proc/self/exe", filesWorker}, r.Args()...)
	}
}
