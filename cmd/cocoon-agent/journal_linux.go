package main

import (
	"fmt"
	"os"
	"syscall"
)

// isJournal reports whether f is what systemd has connected to its journal.
func isJournal(f *os.File) bool {
	stream := streamOf(f)
	return stream != "" && stream == os.Getenv("JOURNAL_STREAM")
}

// streamOf names a file as systemd does in JOURNAL_STREAM; empty: it cannot be told.
func streamOf(f *os.File) string {
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
}
