package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
)

func TestMeterDrawsLateAndNotOften(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(1000, 0)
	m := &meter{out: &out, width: func() int { return 20 }, now: func() time.Time { return now }, begun: now}
	for range 49 {
		now = now.Add(10 * time.Millisecond)
		m.draw(1, 1<<20, 0)
	}
	m.clear()
	if out.Len() > 0 {
		t.Errorf("a short copy drew %q", out.String())
	}
	for range 100 {
		now = now.Add(10 * time.Millisecond)
		m.draw(12345, 5<<30, 0)
	}
	m.clear()
	lines := strings.Split(out.String(), "\r")
	if n := len(lines) - 2; n < 9 || n > 11 {
		t.Errorf("draw drew %d lines in a second, want 10", n)
	}
	for _, line := range lines {
		if text := strings.TrimSuffix(line, "\x1b[K"); len(text) > 19 {
			t.Errorf("a line of %d columns on 20: %q", len(text), text)
		}
	}
}

func TestMeterTellsTheTimeLeft(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(1000, 0)
	m := &meter{out: &out, width: func() int { return 80 }, now: func() time.Time { return now }, begun: now}
	now = now.Add(time.Second)
	m.draw(1, 10<<20, 650<<20)
	if want := "\r1 file, 10.0 MiB, 10.0 MiB/s, 1m6s left\x1b[K"; out.String() != want {
		t.Errorf("draw drew %q, want %q", out.String(), want)
	}
}

func TestChecksumLinesAreThoseOfSha256sum(t *testing.T) {
	for path, want := range map[string]string{"a b": "  a b", "a\\b\n": "  a\\\\b\\n"} {
		got := checksumLine(path, [32]byte{})
		if !strings.HasSuffix(got, strings.Repeat("0", 64)+want) || strings.HasPrefix(got, "\\") != strings.Contains(path, "\\") {
			t.Errorf("checksumLine(%q) = %q", path, got)
		}
	}
}

func TestMeterNeedsATerminal(t *testing.T) {
	if m := newMeter(new(bytes.Buffer)); m != nil {
		t.Error("newMeter of a buffer is not nil")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if m := newMeter(w); m != nil {
		t.Error("newMeter of a pipe is not nil")
	}
}

func TestAmountsAreForPeople(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 5 << 30: "5.0 GiB", 1 << 63: "8.0 EiB"} {
		if got := amount(n); got != want {
			t.Errorf("amount(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestCopyReportTellsProgressOnceASecond(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(1000, 0)
	r := newCopyReport(&out, nil, true)
	r.now, r.told = func() time.Time { return now }, now
	for n := range uint64(25) {
		r.progress(client.CopyCounts{Files: n, Bytes: n << 10})
		now = now.Add(100 * time.Millisecond)
	}
	want := `{"event":"progress","files":10,"bytes":10240}` + "\n" + `{"event":"progress","files":20,"bytes":20480}` + "\n"
	if out.String() != want {
		t.Errorf("progress printed %q, want %q", out.String(), want)
	}
}
