package files

// info describes an entry of a directory. The zero typ is a socket, a fifo or a device.
type info struct {
	typ          Kind // KindDir, KindFile, KindSymlink or 0
	mode         uint64
	size         int64
	sec          int64 // of the last change of the content
	nsec         uint64
	csec         int64 // of the last change of anything
	cnsec        uint64
	uid, gid     uint64
	dev, ino     uint64
	nlink        uint64
	otherType    string // of 0: what it is
	special      Kind   // of 0: the type of a fifo or a device
	major, minor uint64 // of a device
}

// sameContent says whether a file has not changed between two looks at it.
func (i *info) sameContent(j *info) bool {
	return i.size == j.size && i.sec == j.sec && i.nsec == j.nsec && i.csec == j.csec && i.cnsec == j.cnsec
}

// frame is what a frame says of an entry.
func (i *info) frame(kind Kind, name string) *Frame {
	f := &Frame{Kind: kind, Name: name, Mode: i.mode, Sec: i.sec, Nsec: i.nsec}
	if i.typ == KindFile {
		f.Size = uint64(i.size)
	}
	return f
}
