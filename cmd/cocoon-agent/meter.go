package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

const (
	meterDelay  = 500 * time.Millisecond // a copy that takes no longer shows nothing
	meterPeriod = 100 * time.Millisecond
	meterWindow = 10 * time.Second // of the rate
	meterWidth  = 80               // if the terminal does not say
)

// A meter is one line on a terminal that says what has been copied.
type meter struct {
	out   io.Writer
	width func() int
	now   func() time.Time

	begun, drawn time.Time
	shown        bool
	samples      []sample // of the last meterWindow
}

type sample struct {
	at    time.Time
	bytes uint64
}

// newMeter returns a meter on out, or nil if that is not a terminal.
func newMeter(out io.Writer) *meter {
	if !isTerminal(out) || os.Getenv("TERM") == "dumb" {
		return nil
	}
	file := out.(*os.File)
	width := func() int {
		w, _, err := term.GetSize(int(file.Fd()))
		if err != nil || w <= 0 {
			return meterWidth
		}
		return w
	}
	return &meter{out: out, width: width, now: time.Now, begun: time.Now()}
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// draw shows the counts, if the last time was long enough ago. left is how many bytes are still to be copied; 0: it
// is not known.
func (m *meter) draw(files, bytes, left uint64) {
	now := m.now()
	if now.Sub(m.begun) < meterDelay || now.Sub(m.drawn) < meterPeriod {
		return
	}
	m.drawn, m.shown = now, true
	rate := m.rate(now, bytes)
	line := fmt.Sprintf("%s, %s, %s/s", plural(files, "file", "files"), amount(bytes), amount(rate))
	if left > 0 && rate > 0 {
		line += fmt.Sprintf(", %s left", time.Duration(1+left/rate)*time.Second)
	}
	line = line[:min(len(line), max(m.width()-1, 0))]
	fmt.Fprintf(m.out, "\r%s\x1b[K", line)
}

// rate returns bytes in a second, of late.
func (m *meter) rate(now time.Time, bytes uint64) uint64 {
	if len(m.samples) == 0 {
		m.samples = append(m.samples, sample{m.begun, 0})
	}
	m.samples = append(m.samples, sample{now, bytes})
	for len(m.samples) > 2 && now.Sub(m.samples[0].at) > meterWindow {
		m.samples = m.samples[1:]
	}
	first := m.samples[0]
	return uint64(float64(bytes-min(first.bytes, bytes)) / now.Sub(first.at).Seconds())
}

// clear removes the line.
func (m *meter) clear() {
	if m.shown {
		fmt.Fprint(m.out, "\r\x1b[K")
	}
}

// amount returns a number of bytes for people.
func amount(n uint64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/1024, 0
	for value >= 1024 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	return fmt.Sprintf("%.1f %ciB", value, units[unit])
}
