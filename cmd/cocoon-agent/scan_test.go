package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
)

func TestScanAddsUpADirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "sub/b"} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, 1000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := startScan(t.Context(), dir)
	s.done.Wait()
	if got := s.expected(); got != 2000 {
		t.Errorf("a scan expects %d bytes, want 2000", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s = startScan(ctx, dir)
	s.end()
	if got := s.expected(); got != 0 {
		t.Errorf("a scan that was cancelled expects %d bytes, want none", got)
	}
	if s = nil; s.expected() != 0 {
		t.Error("no scan expects something")
	}
}

func TestReportUsesTheScanForTheTimeLeft(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(1000, 0)
	r := newCopyReport(&out, &out, false)
	r.meter = &meter{out: &out, width: func() int { return 80 }, now: func() time.Time { return now }, begun: now}
	r.scan = new(scan)
	r.scan.size.Store(30 << 20)
	now = now.Add(time.Second)
	r.progress(client.CopyCounts{Files: 1, Bytes: 10 << 20})
	if !strings.Contains(out.String(), ", 3s left") {
		t.Errorf("the meter drew %q, want 3s left", out.String())
	}
}
