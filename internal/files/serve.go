package files

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"syscall"
)

// A Request is what the guest's side is asked for.
type Request struct {
	Op   Op
	Root string // the directory that no path leads out of; empty: none
	Path string
	To   string // of Rename
}

// Args returns the arguments of a process whose [Serve] carries r out.
func (r *Request) Args() []string { return []string{string(r.Op), r.Root, r.Path, r.To} }

// Serve is the guest's side, a process of its own with the arguments of [Request.Args]. It reads
// frames from in and writes frames to out. When it ends it writes one line to
// summary: how many files and bytes it has copied, and how many entries failed. It returns the
// exit status, which is 0 if nothing failed.
//
// Serve ignores the signals that ask a process to end: the end of in does so, and has it
// keep or remove what is not complete.
func Serve(args []string, in io.Reader, out, summary io.Writer) (status int) {
	signal.Ignore(syscall.SIGPIPE, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	exactModes()
	if len(args) != 4 {
		return 2
	}
	return serve(args, in, out, summary)
}

func serve(args []string, in io.Reader, out, summary io.Writer) (status int) {
	s := &server{
		request: Request{Op: Op(args[0]), Root: args[1], Path: args[2], To: args[3]},
		r:       newReader(in), w: newWriter(out),
	}
	err := s.run()
	last := &Frame{Kind: KindDone, Files: s.counts.Files, Bytes: s.counts.Bytes, Path: s.kept}
	if err != nil {
		s.failed++
		last.Text, last.Code = err.Error(), codeOf(err)
	}
	if w := s.w.tell(last); err == nil {
		err = w
	}
	fmt.Fprintf(summary, "%d %d %d\n", s.counts.Files, s.counts.Bytes, s.failed)
	if err != nil || s.failed > 0 {
		return 1
	}
	return 0
}

// A server carries out one request.
type server struct {
	request Request
	options Options
	mode    uint64
	place   *place
	r       *reader
	w       *writer
	counts  Counts
	kept    string // of a push: the partial file
	failed  int
}

func (s *server) run() error {
	f, err := s.r.next()
	switch {
	case err != nil:
		return err
	case f == nil || f.Kind != KindOptions:
		return broken("the first frame has no options")
	}
	s.options, s.mode = f.Options, f.Mode
	if s.place, err = openPlace(s.request.Root); err != nil {
		return fmt.Errorf("--files-root %s: %w", s.request.Root, err)
	}
	switch s.request.Op {
	case Push:
		return s.push()
	case Pull:
		return s.pull()
	case Stat:
		return s.stat()
	case List:
		return s.list()
	case Mkdir:
		return s.mkdir()
	case Remove:
		return s.remove()
	case Rename:
		return s.rename()
	default:
		return fmt.Errorf("%w: operation %q", errors.ErrUnsupported, s.request.Op)
	}
}

func (s *server) push() error {
	rc := newReceiver(s.r, s.w, s.options)
	rc.Report, rc.devices = s.report, true
	err := rc.receiveInto(s.place, s.request.Path)
	s.counts, s.kept = rc.counts, rc.Kept
	return err
}

func (s *server) pull() error {
	sender := newSender(s.w, s.options)
	sender.Report = s.report
	sender.answer = func() (*Frame, error) { return nextHave(s.r) }
	err := sender.sendPath(s.place, s.request.Path)
	s.counts = sender.counts
	return err
}

// nextHave reads the receiver's answer to a question.
func nextHave(r *reader) (*Frame, error) {
	f, err := r.next()
	switch {
	case err != nil:
		return nil, unexpected(err)
	case f == nil || f.Kind != KindHave:
		return nil, broken("no answer to a question")
	}
	return f, nil
}

// report tells the host of an entry that has failed. A host that has gone is noticed elsewhere.
func (s *server) report(e *EntryError) {
	s.failed++
	_ = s.w.tell(e.frame())
}

func (s *server) stat() error {
	i, err := s.look()
	if err != nil {
		return err
	}
	_, base, _ := split(s.request.Path)
	return s.w.send(i.entry(base))
}

// look looks at the path, and with Follow at what it leads to.
func (s *server) look() (*info, error) {
	_, base, slash := split(s.request.Path)
	if s.options.Follow || base == "" || slash {
		return s.place.stat(s.request.Path)
	}
	d, base, err := s.place.parent(s.request.Path)
	if err != nil {
		return nil, err
	}
	defer d.close()
	return d.lstat(base, false)
}

// entry is the frame that describes i.
func (i *info) entry(name string) *Frame {
	if name == "" {
		name = "root"
	}
	f := i.frame(KindEntry, name)
	f.Type, f.UID, f.GID = cmp.Or(i.typ, i.special), i.uid, i.gid
	if i.typ != KindDir {
		f.Size = uint64(i.size)
	}
	return f
}

func (s *server) list() error {
	d, err := s.place.openDir(s.request.Path)
	if err != nil {
		return err
	}
	defer d.close()
	for {
		names, err := d.names()
		for _, name := range names {
			if i, err := d.lstat(name, false); err == nil { // else it has gone
				if err := s.w.send(i.entry(name)); err != nil {
					return err
				}
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (s *server) mkdir() error {
	if s.options.Parents {
		return s.place.mkdirAll(s.request.Path, s.mode&0o1777)
	}
	d, base, err := s.place.parent(s.request.Path)
	if err != nil {
		return err
	}
	defer d.close()
	return makeDir(d, base, s.mode&0o1777)
}

func (s *server) remove() error {
	d, base, err := s.place.parent(s.request.Path)
	if err != nil {
		return err
	}
	defer d.close()
	return removeEntry(d, base, s.options.Recursive, 0)
}

// removeEntry removes an entry of a directory, and what is in it if all.
func removeEntry(d *dir, name string, all bool, depth int) error {
	i, err := d.lstat(name, false)
	if err != nil {
		return err
	}
	if i.typ != KindDir {
		return d.unlink(name)
	}
	if all {
		if depth == MaxDepth {
			return fmt.Errorf("more than %d directories within one another", MaxDepth)
		}
		if err := removeContent(d, name, depth); err != nil {
			return err
		}
	}
	return d.rmdir(name)
}

func removeContent(d *dir, name string, depth int) error {
	sub, err := d.openDir(name, false)
	if err != nil {
		return err
	}
	defer sub.close()
	for {
		names, err := sub.names()
		for _, n := range names {
			if err := removeEntry(sub, n, true, depth+1); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (s *server) rename() error {
	d, base, err := s.place.parent(s.request.Path)
	if err != nil {
		return err
	}
	defer d.close()
	to, newBase, err := s.place.parent(s.request.To)
	if err != nil {
		return err
	}
	defer to.close()
	return d.rename(base, to, newBase)
}
