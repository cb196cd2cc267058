package mux_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/loadtest"
	"github.com/cocoonstack/cocoon-agent/internal/mux"
)

const (
	hostWindow = 1 << 20
	ceiling    = 4 // times the first window
)

// pass writes n bytes to one end and reads them from the other, in parts, with a pause
// after each.
func pass(t *testing.T, from, to *mux.Stream, n, part int, pause time.Duration) {
	t.Helper()
	wrote := make(chan error, 1)
	go func() { _, err := from.Write(make([]byte, n)); wrote <- err }() // ends when all has been read
	buf := make([]byte, part)
	for ; n > 0; n -= part {
		if _, err := io.ReadFull(to, buf); err != nil {
			t.Fatal(err)
		}
		if pause > 0 {
			<-time.After(pause)
		}
	}
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
}

// fast passes five windows, which takes no time in a bubble: the window grows to its
// ceiling.
func fast(t *testing.T, from, to *mux.Stream) {
	t.Helper()
	pass(t, from, to, 5*to.ReceiveWindow(), 64<<10, 0)
}

func bubblePair(t *testing.T, q *mux.Quota) *pair {
	t.Helper()
	near, far := net.Pipe()
	return connectBy(t, near, far, q.Server)
}

func (p *pair) open(t *testing.T, n int) (hosts, agents []*mux.Stream) {
	t.Helper()
	for range n {
		host, agent := p.stream(t)
		hosts, agents = append(hosts, host), append(agents, agent)
	}
	return hosts, agents
}

func wantWindow(t *testing.T, s *mux.Stream, want int) {
	t.Helper()
	if got := s.ReceiveWindow(); got != want {
		t.Errorf("a window of %d bytes, want %d", got, want)
	}
}

func TestWindowGrowsIfReadFast(t *testing.T) { synctest.Test(t, windowGrowsIfReadFast) }

func windowGrowsIfReadFast(t *testing.T) {
	p := connectPipe(t)
	host, agent := p.stream(t)
	fast(t, host, agent)
	wantWindow(t, agent, ceiling*window)
	wantWindow(t, host, hostWindow)
	fast(t, agent, host)
	wantWindow(t, host, ceiling*hostWindow)
	synctest.Wait()
	if got := host.SendWindow(); got < ceiling*window/2 || got > ceiling*window {
		t.Errorf("the host may send %d bytes, want more than half of %d", got, ceiling*window)
	}
}

func TestWindowDoublesOnceForEachFullOne(t *testing.T) {
	synctest.Test(t, windowDoublesOnceForEachFullOne)
}

func windowDoublesOnceForEachFullOne(t *testing.T) {
	host, agent := connectPipe(t).stream(t)
	for _, step := range []struct{ passed, want int }{{window, window}, {window, 2 * window}, {window, 2 * window}, {window, 4 * window}} {
		pass(t, host, agent, step.passed, 64<<10, 0)
		wantWindow(t, agent, step.want)
	}
}

func TestWindowStaysIfReadSlowly(t *testing.T) { synctest.Test(t, windowStaysIfReadSlowly) }

func windowStaysIfReadSlowly(t *testing.T) {
	p := connectPipe(t)
	host, agent := p.stream(t)
	pass(t, host, agent, 16*window, window/4, 3*time.Millisecond) // a window in 12 ms, or three quarters in 9 ms
	wantWindow(t, agent, window)
	pass(t, agent, host, 6*hostWindow, hostWindow/4, 4*time.Millisecond)
	wantWindow(t, host, hostWindow)
	fast(t, host, agent)
	wantWindow(t, agent, ceiling*window)
}

// Requests and events are not read for speed.
func TestControlWindowStays(t *testing.T) { synctest.Test(t, controlWindowStays) }

func controlWindowStays(t *testing.T) {
	p := connectPipe(t)
	control, err := p.agent.Control(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fast(t, p.control, control)
	fast(t, control, p.control)
	wantWindow(t, control, window)
	wantWindow(t, p.control, hostWindow)
}

func TestAgentsWindowsLeaveHalfOfTheInput(t *testing.T) {
	synctest.Test(t, agentsWindowsLeaveHalfOfTheInput)
}

func agentsWindowsLeaveHalfOfTheInput(t *testing.T) {
	const input = 8 << 20
	p := bubblePair(t, mux.NewQuota(mux.QuotaConfig{Input: input}))
	control, err := p.agent.Control(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sum := control.ReceiveWindow()
	hosts, agents := p.open(t, 8)
	for i, agent := range agents {
		fast(t, hosts[i], agent)
		sum += agent.ReceiveWindow()
	}
	if sum > input/2 || sum <= input/2-2*window {
		t.Errorf("windows of %d bytes, want a little less than %d", sum, input/2)
	}
}

func TestUnreadInputLeavesNoRoomToGrow(t *testing.T) { synctest.Test(t, unreadInputLeavesNoRoomToGrow) }

func unreadInputLeavesNoRoomToGrow(t *testing.T) {
	p := bubblePair(t, mux.NewQuota(mux.QuotaConfig{Input: 4 << 20}))
	_, first := p.fill(t)
	_, second := p.fill(t)
	_, _ = p.fill(t)
	host, agent := p.stream(t)
	fast(t, host, agent)
	wantWindow(t, agent, window) // though five windows, and one more, are less than half of the limit
	first.Discard()
	second.Discard()
	fast(t, host, agent)
	wantWindow(t, agent, 2*window)
}

func TestWindowsOfAllSessionsAreBounded(t *testing.T) {
	synctest.Test(t, windowsOfAllSessionsAreBounded)
}

func windowsOfAllSessionsAreBounded(t *testing.T) {
	q := mux.NewQuota(mux.QuotaConfig{Input: 16 << 20, AllInput: 8 << 20})
	grown := 0
	for range 8 {
		p := bubblePair(t, q)
		host, agent := p.stream(t)
		fast(t, host, agent)
		grown += p.agent.Grown()
	}
	if grown > 4<<20 || grown < 3<<20 {
		t.Errorf("windows have grown by %d bytes, want a little less than %d", grown, 4<<20)
	}
}

func TestHostsWindowsAreBounded(t *testing.T) { synctest.Test(t, hostsWindowsAreBounded) }

func hostsWindowsAreBounded(t *testing.T) {
	for _, limit := range []int{10 << 20, -1} {
		p := connectPipe(t)
		p.host.LimitWindows(limit)
		sum := p.control.ReceiveWindow()
		hosts, agents := p.open(t, 4)
		for i, host := range hosts {
			fast(t, agents[i], host)
			sum += host.ReceiveWindow()
		}
		switch {
		case limit > 0 && (sum > limit || sum <= limit-2*hostWindow):
			t.Errorf("windows of %d bytes, want a little less than %d", sum, limit)
		case limit < 0 && sum != 5*hostWindow:
			t.Errorf("windows of %d bytes, want that none grows", sum)
		}
	}
}

// The session has back what a window has grown by when the stream can hold nothing more.
func TestGrowthIsGivenBack(t *testing.T) {
	for name, end := range map[string]func(from, to *mux.Stream){
		"end":         func(from, to *mux.Stream) { _, _ = from.Close(), to.Close() },
		"one side":    func(from, _ *mux.Stream) { _ = from.Close() },
		"Discard":     func(_, to *mux.Stream) { to.Discard() },
		"Reset":       func(_, to *mux.Stream) { to.Reset() },
		"peer resets": func(from, _ *mux.Stream) { from.Reset() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { growthIsGivenBackBy(t, end) })
		})
	}
}

func growthIsGivenBackBy(t *testing.T, end func(from, to *mux.Stream)) {
	t.Helper()
	p := connectPipe(t)
	host, agent := p.stream(t)
	fast(t, host, agent)
	end(host, agent)
	<-time.After(time.Second) // an end may wait for company
	wantGrown(t, p.agent, 0)
	host, agent = p.stream(t)
	fast(t, agent, host)
	end(agent, host)
	<-time.After(time.Second)
	wantGrown(t, p.host, 0)
}

func wantGrown(t *testing.T, s *mux.Session, want int) {
	t.Helper()
	if got := s.Grown(); got != want {
		t.Errorf("windows have grown by %d bytes, want %d", got, want)
	}
}

// A stream that has ended holds what nobody has read: its window still counts.
func TestGrowthCountsUntilItIsRead(t *testing.T) { synctest.Test(t, growthCountsUntilItIsRead) }

func growthCountsUntilItIsRead(t *testing.T) {
	p := connectPipe(t)
	host, agent := p.stream(t)
	fast(t, host, agent)
	if _, err := host.Write(make([]byte, 2*window)); err != nil {
		t.Fatal(err)
	}
	_, _ = host.Close(), agent.Close()
	synctest.Wait()
	wantGrown(t, p.agent, (ceiling-1)*window)
	if n, err := io.Copy(io.Discard, agent); n != 2*window || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	wantGrown(t, p.agent, 0)
}

func TestGrowthOfALostSessionIsGivenBack(t *testing.T) {
	synctest.Test(t, growthOfALostSessionIsGivenBack)
}

func growthOfALostSessionIsGivenBack(t *testing.T) {
	q := mux.NewQuota(mux.QuotaConfig{AllInput: 4 << 20})
	for range 8 {
		p := bubblePair(t, q)
		host, agent := p.stream(t)
		fast(t, host, agent)
		wantWindow(t, agent, ceiling*window)
		_, _ = p.host.Close(), p.agent.Close()
		synctest.Wait() // its streams end after Close
		wantGrown(t, p.agent, 0)
	}
}

// All bytes arrive while windows grow, however they are read.
func TestGrowingStreamsLoseNothing(t *testing.T) {
	p := newPair(t)
	results := make(chan bool, 4)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	for i := range cap(results) {
		host, agent := p.stream(t)
		from, to := host, agent
		if i%2 == 0 {
			from, to = agent, host
		}
		go func() { // ends when all has been read
			_, _ = from.Write(sent)
			_ = from.Close()
		}()
		go func() { // ends with the stream
			got, err := io.ReadAll(to)
			results <- err == nil && bytes.Equal(got, sent)
		}()
	}
	for range cap(results) {
		if !<-results {
			t.Error("other bytes have come")
		}
	}
}

// However short the frames are, what grown windows hold fits.
func TestStalledFastStreamsOfShortFramesLive(t *testing.T) {
	for _, piece := range []int{17 << 10, 20 << 10, 9 << 10} {
		for _, n := range []int{11, 20} {
			t.Run(fmt.Sprintf("%d streams of %d", n, piece), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { stalledStreamsOfShortFrames(t, n, piece) })
			})
		}
	}
}

func stalledStreamsOfShortFrames(t *testing.T, n, piece int) {
	t.Helper()
	p := bubblePair(t, mux.NewQuota(mux.QuotaConfig{}))
	hosts, agents := p.open(t, n)
	for i := range n {
		agents[i].OnOverrun(func() { t.Errorf("stream %d has lost its input", i) })
		pass(t, hosts[i], agents[i], 5*window, 64<<10, 0)
		synctest.Wait()
	}
	for _, host := range hosts {
		for host.SendWindow() > int64(piece) {
			if _, err := host.Write(make([]byte, piece)); err != nil {
				t.Fatal(err)
			}
		}
	}
	<-time.After(time.Minute)
	p.alive(t)
	_ = p.host.Close()
}

// Streams that were read fast and have stalled live if the first windows of all are half
// of the limit: the other half is for what windows grow by.
func TestStalledFastStreamsAreNotEnded(t *testing.T) {
	loadtest.Heavy(t)
	for name, atOnce := range map[string]bool{"opened at once": true, "opened one by one": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { stalledFastStreamsAreNotEnded(t, 200, 2*201*window, atOnce) })
		})
	}
}

func stalledFastStreamsAreNotEnded(t *testing.T, n, input int, atOnce bool) {
	t.Helper()
	p := bubblePair(t, mux.NewQuota(mux.QuotaConfig{Input: input, AllInput: input}))
	var hosts, agents []*mux.Stream
	if atOnce {
		hosts, agents = p.open(t, n)
	}
	for i := range n {
		if !atOnce {
			host, agent := p.stream(t)
			hosts, agents = append(hosts, host), append(agents, agent)
		}
		agents[i].OnOverrun(func() { t.Errorf("stream %d has lost its input", i) })
		pass(t, hosts[i], agents[i], 5*window, 64<<10, 0)
		synctest.Wait()
		if _, err := hosts[i].Write(make([]byte, hosts[i].SendWindow())); err != nil {
			t.Fatal(err)
		}
	}
	<-time.After(time.Minute)
	p.alive(t)
	for i, agent := range agents {
		_ = hosts[i].Close()
		if got, err := io.Copy(io.Discard, agent); got < window/2 || err != nil {
			t.Errorf("stream %d: %d bytes, %v", i, got, err)
		}
	}
}

// A guest that sends all it may, on streams that were read fast and are read no more,
// takes no more of its host than LimitWindows.
func TestGuestThatFillsGrownWindowsIsBounded(t *testing.T) {
	for _, piece := range []int{8 << 20, 64 << 10, 40 << 10, 20 << 10, 16<<10 + 1, 9 << 10, 4<<10 + 1, 1000} {
		t.Run(fmt.Sprint(piece), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { guestThatFillsGrownWindowsIsBounded(t, piece) })
		})
	}
}

// The guest writes pieces of a size: that of its frames.
func guestThatFillsGrownWindowsIsBounded(t *testing.T, piece int) {
	t.Helper()
	const limit = 12 << 20
	p := connectPipe(t)
	p.host.LimitWindows(limit)
	hosts, agents := p.open(t, 6)
	for i, host := range hosts {
		fast(t, agents[i], host)
	}
	for _, agent := range agents {
		go func() { // ends with the session
			for {
				if _, err := agent.Write(make([]byte, piece)); err != nil {
					return
				}
			}
		}()
	}
	synctest.Wait()
	held := 0
	for _, host := range hosts {
		held += host.Held()
	}
	// Chunks have a sixteenth of room left at most, but for the last ones.
	if most := limit + limit/16 + 6<<16; held > most || held < limit/2 {
		t.Errorf("the host holds %d bytes, want at most %d", held, most)
	}
	p.alive(t)
	_ = p.host.Close()
}
