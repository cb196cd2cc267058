package files

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"io"
	"sync"
	"time"
)

// A Conn is the host's end of a process whose [Serve] carries out a request.
type Conn struct {
	In  io.Writer
	Out io.Reader
}

// Events are called while a copy goes on, one call at a time. nil: it is not called.
type Events struct {
	Failed   func(*EntryError)
	Summed   func(path string, sum [sha256.Size]byte) // with [Options.SHA256], for each file
	Progress func(Counts)
}

// A monitor makes calls of Events follow one another.
type monitor struct {
	events Events
	mu     sync.Mutex
}

func (m *monitor) failed(e *EntryError) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.events.Failed != nil {
		m.events.Failed(e)
	}
}

func (m *monitor) progress(c Counts) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.events.Progress != nil {
		m.events.Progress(c)
	}
}

func (m *monitor) summed(path, sum string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.events.Summed != nil && len(sum) == sha256.Size {
		m.events.Summed(path, [sha256.Size]byte([]byte(sum)))
	}
}

// mute ends the calls.
func (m *monitor) mute() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events = Events{}
}

// A Source writes the frames of what is sent.
type Source func(s *Sender) error

// FromPath is the file or directory of this machine at path.
func FromPath(path string) Source {
	return func(s *Sender) error {
		if err := s.Options.supported(); err != nil {
			return err
		}
		return s.sendPath(&place{}, path)
	}
}

// FromReader is a file with the name, mode and time, and as many bytes as r has. There must be size of them.
func FromReader(name string, r io.Reader, size int64, mode uint64, modified time.Time) Source {
	return func(s *Sender) error {
		f := &Frame{
			Kind: KindFile, Name: name, Size: uint64(size), Mode: mode,
			Sec: modified.Unix(), Nsec: uint64(modified.Nanosecond()),
		}
		return s.reader(f, name, r)
	}
}

// PushTo sends from a source to a process that carries out a [Push]. It returns soon after that process
// has ended, even if a read of the source blocks. If the process has kept the part of a file for
// the next attempt, kept is its path.
func PushTo(c Conn, from Source, o Options, e Events) (counts Counts, kept string, err error) {
	m := &monitor{events: e}
	w := newWriter(c.In)
	if err := w.send(&Frame{Kind: KindOptions, Options: o}); err != nil {
		return Counts{}, "", err
	}
	a := &answers{r: newReader(c.Out), w: w, monitor: m, have: make(chan *Frame, 1), over: make(chan struct{})}
	go a.run() // ends with the process
	s := newSender(w, o)
	s.Report, s.Progress, s.Summed, s.answer = m.failed, m.progress, m.summed, a.next
	sent := make(chan error, 1)
	go func() { sent <- from(s) }() // ends with the source, or with a write once the process has ended
	sending, err := a.waitFor(sent)
	if sending {
		m.mute()
		return a.counts, a.kept, cmp.Or(a.err, errNotRead)
	}
	if err == nil {
		err = w.tell(&Frame{Kind: KindDone})
	}
	counts, err = a.result(s.counts, err)
	if err != nil {
		kept = a.keptPart()
	}
	return counts, kept, err
}

var errNotRead = errors.New("the receiver ended before the source")

// answers reads what the receiver of a push has to say.
type answers struct {
	r       *reader
	w       *writer
	monitor *monitor
	have    chan *Frame
	over    chan struct{} // closed when counts, kept and err are final
	counts  Counts
	kept    string
	err     error
}

func (a *answers) run() {
	defer close(a.over)
	for {
		f, err := a.r.next()
		switch {
		case err != nil:
			a.err = unexpected(err)
		case f == nil:
			a.err = broken("data from a receiver")
		case f.Kind == KindError:
			a.monitor.failed(f.entryError())
			continue
		case f.Kind == KindHave:
			select {
			case a.have <- f:
				continue
			default:
				a.err = broken("an answer without a question")
			}
		case f.Kind == KindDone && f.Text != "":
			a.err, a.kept = &EntryError{Text: f.Text, Code: f.Code, Remote: true}, f.Path
		case f.Kind == KindDone:
			a.counts = Counts{Files: f.Files, Bytes: f.Bytes}
		default:
			a.err = broken("unexpected frame %q", f.Kind)
		}
		if a.err != nil {
			a.w.stop(a.err)
		}
		return
	}
}

// sourceEnd is how long a source has to end once the receiver has.
const sourceEnd = time.Second

// waitFor waits for the end of the source. sending: it has not ended, but the receiver has.
func (a *answers) waitFor(source <-chan error) (sending bool, err error) {
	select {
	case err = <-source:
		return false, err
	case <-a.over:
	}
	t := time.NewTimer(sourceEnd)
	defer t.Stop()
	select {
	case err = <-source:
		return false, err
	case <-t.C:
		return true, nil
	}
}

// keptPart returns the part of a file that the receiver has told of.
func (a *answers) keptPart() string {
	select {
	case <-a.over:
		return a.kept
	default:
		return ""
	}
}

// next waits for the answer to a question.
func (a *answers) next() (*Frame, error) {
	if err := a.w.flush(); err != nil {
		return nil, err
	}
	select {
	case f := <-a.have:
		return f, nil
	case <-a.over:
		return nil, errors.Join(a.err, errNoAnswer)
	}
}

var errNoAnswer = errors.New("the receiver ended before it had answered")

// lastWord is how long the receiver has to say why it takes no more.
const lastWord = 5 * time.Second

// result returns what has become of a push. err is why nothing more was sent, or nil.
func (a *answers) result(sent Counts, err error) (Counts, error) {
	var wait <-chan time.Time
	if err != nil {
		patience := time.Duration(0)
		if a.w.failed() {
			patience = lastWord
		}
		t := time.NewTimer(patience)
		defer t.Stop()
		wait = t.C
	}
	select {
	case <-a.over:
	case <-wait:
		return sent, err
	}
	if a.err != nil || err == nil {
		return a.counts, a.err
	}
	return a.counts, err
}

// PullTo receives what a process that carries out a [Pull] of from sends. It puts that at a path of this
// machine. kept is the path of a partial file that the next attempt goes on with, if there is one.
func PullTo(c Conn, from, path string, o Options, e Events) (counts Counts, kept string, err error) {
	m := &monitor{events: e}
	w := newWriter(c.In)
	if err := o.supported(); err != nil {
		return Counts{}, "", err
	}
	if err := w.tell(&Frame{Kind: KindOptions, Options: o}); err != nil {
		return Counts{}, "", err
	}
	rc := newReceiver(newReader(c.Out), w, o)
	rc.Report, rc.Progress, rc.Summed, rc.source = m.failed, m.progress, m.summed, sourceAt(from)
	err = rc.receiveInto(&place{}, path)
	return rc.counts, rc.Kept, err
}

// Entries asks a process for what it does not copy: [Stat], [List] and what changes directories. each is
// called for each entry that it describes.
func Entries(c Conn, o Options, mode uint64, each func(*Frame) error) error {
	if err := newWriter(c.In).tell(&Frame{Kind: KindOptions, Options: o, Mode: mode}); err != nil {
		return err
	}
	r := newReader(c.Out)
	for {
		f, err := r.next()
		switch {
		case err != nil:
			return unexpected(err)
		case f == nil:
			return broken("data instead of an entry")
		case f.Kind == KindEntry:
			err = each(f)
		case f.Kind == KindDone && f.Text != "":
			return f.entryError()
		case f.Kind == KindDone:
			return nil
		default:
			err = broken("unexpected frame %q", f.Kind)
		}
		if err != nil {
			return err
		}
	}
}
