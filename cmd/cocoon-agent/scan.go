package main

import (
	"context"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"
)

// A scan finds out how many bytes a directory of the host has, while it is copied.
type scan struct {
	size   atomic.Uint64 // 0: it is not known yet
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// startScan starts a scan of a directory. The caller ends it.
func startScan(ctx context.Context, path string) *scan {
	s := new(scan)
	ctx, s.cancel = context.WithCancel(ctx)
	s.done.Go(func() { s.run(ctx, path) }) // ends with the directory, or with the context
	return s
}

// run adds up the sizes of regular files. An entry that cannot be read does not count: the copy tells of it.
func (s *scan) run(ctx context.Context, path string) {
	var size uint64
	_ = filepath.WalkDir(path, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return ctx.Err()
		}
		if i, err := e.Info(); err == nil {
			size += uint64(i.Size())
		}
		return ctx.Err()
	})
	if ctx.Err() == nil {
		s.size.Store(size)
	}
}

// end ends the scan and waits for it. It does nothing to nil.
func (s *scan) end() {
	if s != nil {
		s.cancel()
		s.done.Wait()
	}
}

// expected returns how many bytes there are, or 0 if that is not known. nil knows nothing.
func (s *scan) expected() uint64 {
	if s == nil {
		return 0
	}
	return s.size.Load()
}
