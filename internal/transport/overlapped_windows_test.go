package transport

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/windows"
)

// patience is how long a test waits for what must happen, on a machine that may be busy.
const patience = 60 * time.Second

// duplex returns both ends of a pipe that carries bytes in both directions, as a socket does.
func duplex(t *testing.T) (near, far *overlapped) {
	t.Helper()
	name := windows.StringToUTF16Ptr(`\\.\pipe\` + t.Name() + time.Now().Format("150405.000000000"))
	server, err := windows.CreateNamedPipe(name, windows.PIPE_ACCESS_DUPLEX|windows.FILE_FLAG_OVERLAPPED, windows.PIPE_TYPE_BYTE, 1, 4096, 4096, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	client, err := windows.CreateFile(name, windows.GENERIC_READ|windows.GENERIC_WRITE, 0, nil, windows.OPEN_EXISTING, windows.FILE_FLAG_OVERLAPPED, 0)
	if err != nil {
		t.Fatal(err)
	}
	ends := make([]*overlapped, 2)
	for i, h := range []windows.Handle{server, client} {
		if ends[i], err = newOverlapped(h); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ends[i].Close() })
	}
	return ends[0], ends[1]
}

// reading starts a Read, and returns the channel of its error.
func reading(f *overlapped) chan error {
	ended := make(chan error, 1)
	go func() {
		_, err := f.Read(make([]byte, 10))
		ended <- err
	}()
	return ended
}

func within(t *testing.T, ended chan error) error {
	t.Helper()
	select {
	case err := <-ended:
		return err
	case <-time.After(patience):
		t.Fatalf("not within %v", patience)
		return nil
	}
}

func TestReadThatWaitsHoldsUpNoWrite(t *testing.T) {
	near, far := duplex(t)
	waiting := reading(near)
	for _, word := range []string{"one", "two"} {
		if _, err := near.Write([]byte(word)); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 3)
		if _, err := io.ReadFull(far, got); string(got) != word || err != nil {
			t.Errorf("ReadFull = %q, %v, want %q", got, err, word)
		}
	}
	_, _ = far.Write([]byte("back"))
	if err := within(t, waiting); err != nil {
		t.Error(err)
	}
}

func TestMegabytesGoBothWaysAtOnce(t *testing.T) {
	near, far := duplex(t)
	noise := make([]byte, 4<<20)
	_, _ = rand.NewChaCha8([32]byte{3}).Read(noise)
	sent := make(chan error, 2)
	for _, f := range []*overlapped{near, far} {
		go func() { // ends when all is sent
			for rest := noise; len(rest) > 0; {
				n, err := f.Write(rest[:min(len(rest), 10_000)])
				if err != nil {
					sent <- err
					return
				}
				rest = rest[n:]
			}
			sent <- nil
		}()
	}
	got := make(chan error, 2)
	for _, f := range []*overlapped{near, far} {
		go func() { // ends when all has come
			all := make([]byte, len(noise))
			_, err := io.ReadFull(f, all)
			if err == nil && !bytes.Equal(all, noise) {
				err = errors.New("other bytes than were sent")
			}
			got <- err
		}()
	}
	for _, c := range []chan error{sent, sent, got, got} {
		if err := within(t, c); err != nil {
			t.Error(err)
		}
	}
}

func TestReadDeadlineEndsAReadAndCanBeMoved(t *testing.T) {
	near, far := duplex(t)
	waiting := reading(near)
	_ = near.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if err := within(t, waiting); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	if err := within(t, reading(near)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the next one:", err)
	}
	_ = near.SetReadDeadline(time.Time{})
	waiting = reading(near)
	_ = near.SetReadDeadline(time.Now().Add(time.Hour))
	_, _ = far.Write([]byte("x"))
	if err := within(t, waiting); err != nil {
		t.Error(err)
	}
	waiting = reading(near)
	_ = near.SetReadDeadline(time.Unix(1, 0))
	if err := within(t, waiting); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("one that has passed:", err)
	}
}

func TestCloseEndsAReadAndAWrite(t *testing.T) {
	near, far := duplex(t)
	waiting := reading(near)
	writing := make(chan error, 1)
	go func() {
		for {
			if _, err := near.Write(make([]byte, 64<<10)); err != nil { // more than the pipe holds, and nobody reads
				writing <- err
				return
			}
		}
	}()
	time.Sleep(20 * time.Millisecond) //nolint:forbidigo // both are under way as a rule; it holds in any case
	if err := near.Close(); err != nil {
		t.Error(err)
	}
	for _, ended := range []chan error{waiting, writing} {
		if err := within(t, ended); !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	}
	for _, err := range []error{near.Close(), near.SetReadDeadline(time.Time{})} {
		if !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	}
	if err := within(t, reading(far)); err != nil && !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

func TestReadEndsWithTheOtherEnd(t *testing.T) {
	near, far := duplex(t)
	_, _ = far.Write([]byte("last"))
	_ = far.Close()
	all, err := io.ReadAll(near)
	if string(all) != "last" || err != nil {
		t.Errorf("ReadAll = %q, %v, want %q", all, err, "last")
	}
}

func TestWindowsHasTwoNamesForNoCredit(t *testing.T) {
	for _, err := range []error{windows.ERROR_INSUFFICIENT_BUFFER, windows.STATUS_BUFFER_TOO_SMALL} {
		if !isNoCredit(err) {
			t.Error(err)
		}
	}
	if isNoCredit(windows.ERROR_BROKEN_PIPE) || isNoCredit(nil) {
		t.Error("another error, or none, is taken for it")
	}
}

func TestListenReportsAMissingDevice(t *testing.T) {
	_, err := Listen(Address{Scheme: schemeVsock, Port: 1024}, Policy{})
	if !errors.Is(err, ErrNoDevice) {
		t.Skip("this machine may have one: ", err)
	}
	if text := err.Error(); !bytes.Contains([]byte(text), []byte("viosock")) {
		t.Error(text)
	}
}
