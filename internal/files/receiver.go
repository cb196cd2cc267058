package files

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// A Receiver makes files and directories of frames.
type Receiver struct {
	Options Options

	// Report is called for what could not be made, on the goroutine of the receiver.
	Report func(*EntryError)

	// Progress is called now and then with what has been received. nil: it is not.
	Progress func(Counts)

	// Summed is called with the SHA-256 of each file that was made, if it was asked for. nil: it is not.
	Summed func(path, sum string)

	// Kept is the path, below the destination, of a partial file that is left for the next attempt.
	Kept string

	r       *reader
	w       *writer
	target  *target
	levels  []*level // the directories that are open, from the destination down
	devices bool     // devices may be made
	failed  int      // how many directories deep in one that could not be made
	inodes  map[uint64]*inode
	known   int     // names in inodes
	source  *source // nil: the first entries may have any name
	owners  owners
	piece   piece
	buf     []byte
	counts  Counts
}

// A level is a directory that is being filled.
type level struct {
	dir   *dir
	frame *Frame // nil: it stays as it is
	name  string
	fresh bool // it was made for this
}

// An inode is a file that may get more names.
type inode struct {
	names    []string // of the directories below the destination, and of the file
	dev, ino uint64
}

func newReceiver(r *reader, w *writer, o Options) *Receiver {
	return &Receiver{Options: o, r: r, w: w, inodes: make(map[uint64]*inode), owners: newOwners(), buf: newBuffer(0, MaxData)}
}

// receiveInto makes at a path what comes, up to KindDone.
func (rc *Receiver) receiveInto(p *place, path string) error {
	if path == "" {
		return errEmptyPath
	}
	t, err := p.target(path, rc.Options.Parents)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if t.dir != nil {
		defer t.dir.close()
	}
	rc.target = t
	defer rc.closeLevels()
	for {
		f, err := rc.r.next()
		switch {
		case err != nil:
			return unexpected(err)
		case f == nil:
			return broken("data outside a file")
		case f.Kind == KindDone:
			return rc.finish(f)
		}
		if err := rc.take(f); err != nil {
			return err
		}
	}
}

func (rc *Receiver) closeLevels() {
	for _, l := range rc.levels {
		l.dir.close()
	}
}

// finish takes the last frame. A sender that has given up says why in it.
func (rc *Receiver) finish(f *Frame) error {
	if f.Text != "" {
		return f.entryError()
	}
	if len(rc.levels) > 0 || rc.failed > 0 {
		return broken("the end within a directory")
	}
	if rc.Options.Sync && rc.target.dir != nil {
		return rc.target.dir.sync()
	}
	return nil
}

// take makes what f describes. The error ends the transfer.
func (rc *Receiver) take(f *Frame) error {
	switch f.Kind {
	case KindDir:
		return rc.enter(f)
	case KindUp:
		return rc.leave()
	case KindFile:
		return rc.file(f)
	case KindSymlink, KindLink, KindSpecial:
		if f.Kind == KindSpecial && !rc.Options.Special {
			return broken("a special file, which nobody has asked for")
		}
		if rc.failed > 0 {
			return nil
		}
		return rc.link(f)
	case KindError:
		rc.Report(f.entryError())
		return nil
	default:
		return broken("unexpected frame %q", f.Kind)
	}
}

// A spot is the place where one entry goes.
type spot struct {
	dir   *dir
	name  string
	final string // the name that the entry has in the end
	fresh bool   // nothing else has been there
	way   way

	linked  bool // it is one more name of a file
	special Kind // the type of a special file
}

// spot returns the place of the entry of f.
func (rc *Receiver) spot(f *Frame) (*spot, error) {
	if n := len(rc.levels); n > 0 {
		l := rc.levels[n-1]
		return &spot{dir: l.dir, name: f.Name, final: f.Name, fresh: l.fresh}, nil
	}
	t := rc.target
	if err := rc.source.check(f); err != nil {
		return nil, err
	}
	w, err := wayTo(t.path, t.state, f, &rc.Options)
	if err != nil {
		return nil, err
	}
	s := &spot{dir: t.dir, name: f.Name, way: w}
	if w == named {
		s.name = t.base
	}
	s.final = s.name
	return s, nil
}

// enter opens a directory, which it makes first if need be.
func (rc *Receiver) enter(f *Frame) error {
	switch {
	case rc.failed+len(rc.levels) >= MaxDepth:
		return broken("more than %d directories within one another", MaxDepth)
	case rc.failed > 0:
		rc.failed++
		return nil
	}
	s, err := rc.spot(f)
	if err == nil {
		var l *level
		if l, err = rc.open(s, f); err == nil {
			rc.levels = append(rc.levels, l)
			return nil
		}
	}
	if errors.Is(err, ErrProtocol) {
		return err
	}
	rc.failed = 1
	return rc.fail(s.nameOr(f), err)
}

// nameOr is the name of an entry for an error.
func (s *spot) nameOr(f *Frame) string {
	if s == nil {
		return f.Name
	}
	return s.final
}

func (rc *Receiver) open(s *spot, f *Frame) (*level, error) {
	if s.way == merge {
		d, err := s.dir.openDir(".", false)
		return &level{dir: d}, err
	}
	l := &level{name: s.name, frame: f}
	err := s.dir.mkdir(s.name)
	l.fresh = err == nil
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if l.dir, err = s.dir.openDir(s.name, false); err != nil {
		return nil, err
	}
	if !l.fresh && f.Keep {
		l.frame = nil
	}
	if l.frame != nil && !l.fresh {
		l.open()
	}
	return l, nil
}

// open gives this user the right to fill a directory of its own that has had its final mode before.
func (l *level) open() {
	if i, err := l.dir.stat(); err == nil && i.mode&0o700 != 0o700 {
		_ = l.dir.setMode(i.mode | 0o700) // making the first entry tells why it cannot be done
	}
}

// leave ends a directory.
func (rc *Receiver) leave() error {
	if rc.failed > 0 {
		rc.failed--
		return nil
	}
	n := len(rc.levels)
	if n == 0 {
		return broken("the end of a directory outside one")
	}
	l := rc.levels[n-1]
	rc.levels = rc.levels[:n-1]
	defer l.dir.close()
	if l.frame == nil {
		return nil
	}
	return rc.fail(l.name, rc.finishEntry(l.dir, l.frame, l.name))
}

// fail reports that an entry of the directory that is open was not made, or not as it should
// be. It returns nil: the transfer goes on.
func (rc *Receiver) fail(name string, err error) error {
	if err != nil {
		rc.Report(entryError(rc.path(name), err))
	}
	return nil
}

// path is that of an entry of the directory that is open, below the destination.
func (rc *Receiver) path(name string) string { return strings.Join(append(rc.names(), name), "/") }

// names are those of the directories that are open.
func (rc *Receiver) names() []string {
	var names []string
	for _, l := range rc.levels {
		if l.name != "" {
			names = append(names, l.name)
		}
	}
	return names
}

// link makes a symbolic link, one more name of a file, or a special file.
func (rc *Receiver) link(f *Frame) error {
	s, err := rc.spot(f)
	if err == nil {
		create := rc.symlink
		if f.Kind == KindLink {
			create = rc.hardLink
		}
		if f.Kind == KindSpecial {
			create, s.special = rc.special, f.Type
		}
		if err = create(s, f); errors.Is(err, fs.ErrExist) {
			err = rc.replace(s, func(temp *spot) error { return create(temp, f) })
		}
	}
	if errors.Is(err, ErrProtocol) {
		return err
	}
	return rc.made(s.nameOr(f), err)
}

func (rc *Receiver) symlink(s *spot, f *Frame) error {
	if err := s.dir.symlink(f.Target, s.name); err != nil {
		return err
	}
	if rc.owned() {
		uid, gid := rc.owners.ids(f, rc.Options.Numeric)
		if err := s.dir.setLinkOwner(s.name, uid, gid); err != nil {
			return fmt.Errorf("set the owner: %w", err)
		}
	}
	return s.dir.setLinkTime(s.name, f.Sec, f.Nsec)
}

// take gives what has a temporary name the name of the spot. It replaces a file, a link, or a special file
// of the same type, and nothing else.
func (s *spot) take(temp string) error {
	if i, err := s.dir.lstat(s.name, false); err == nil && i.typ == 0 && (s.special == 0 || i.special != s.special) {
		return fmt.Errorf("%s is there, which is not replaced", i.otherType)
	}
	return s.dir.rename(temp, s.dir, s.name)
}

// replace has something made under a name of its own, and moves it to s.
func (rc *Receiver) replace(s *spot, create func(*spot) error) error {
	temp := *s
	temp.name = randomTemp()
	err := create(&temp)
	if err == nil {
		err = s.take(temp.name)
	}
	if err != nil || temp.linked {
		_ = s.dir.unlink(temp.name) // of two names of one file rename(2) changes neither
	}
	return err
}

// hardLink makes one more name of a file that this transfer has made.
func (rc *Receiver) hardLink(s *spot, f *Frame) error {
	known := rc.inodes[f.Inode]
	if known == nil {
		return errors.New("the file that it is another name of was not copied")
	}
	n := len(known.names) - 1
	d, err := rc.descend(known.names[:n])
	if err != nil {
		return err
	}
	if d != rc.top() {
		defer d.close()
	}
	if err := d.link(known.names[n], s.dir, s.name, known.dev, known.ino); err != nil {
		return fmt.Errorf("link: %w", err)
	}
	s.linked = true
	return nil
}

// top is the directory in which names of a known inode begin.
func (rc *Receiver) top() *dir { return rc.target.dir }

// descend opens a directory below the top.
func (rc *Receiver) descend(names []string) (*dir, error) {
	d := rc.top()
	for _, name := range names {
		next, err := d.openDir(name, false)
		if d != rc.top() {
			d.close()
		}
		if err != nil {
			return nil, err
		}
		d = next
	}
	return d, nil
}

// remember notes a file that may get more names.
func (rc *Receiver) remember(f *Frame, s *spot, i *info) {
	if rc.known >= maxKnown {
		return
	}
	names := append(rc.names(), s.final)
	rc.known += len(names)
	rc.inodes[f.Inode] = &inode{names: names, dev: i.dev, ino: i.ino}
}

// maxKnown bounds what a sender can have the receiver remember: names of files and of the
// directories that they are in.
const maxKnown = 1 << 22
