package files

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"io"

	"github.com/cespare/xxhash/v2"
)

// A digest sums up the content of a file, on both sides.
type digest struct {
	xx     *xxhash.Digest
	sha    hash.Hash // of all bytes, with the zeros of holes; nil: nobody has asked for it
	buffer []byte    // zeros
}

func newDigest(o *Options) *digest {
	d := &digest{xx: xxhash.New()}
	if o.SHA256 {
		d.sha = sha256.New()
	}
	return d
}

func (d *digest) write(p []byte) {
	_, _ = d.xx.Write(p)
	if d.sha != nil {
		_, _ = d.sha.Write(p)
	}
}

// hole adds zeros that take no room.
func (d *digest) hole(size uint64) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], size)
	_, _ = d.xx.Write(n[:])
	if d.sha == nil {
		return
	}
	if d.buffer == nil {
		d.buffer = make([]byte, smallFile)
	}
	for size > 0 {
		zeros := d.buffer[:min(size, smallFile)]
		_, _ = d.sha.Write(zeros)
		size -= uint64(len(zeros))
	}
}

// blocks adds the hashes of blocks that the receiver has. r has what they are of.
func (d *digest) blocks(hashes []byte, r io.Reader) error {
	_, _ = d.xx.Write(hashes)
	if d.sha == nil {
		return nil
	}
	_, err := io.CopyN(d.sha, r, int64(len(hashes)/8)*blockSize)
	return err
}

// end is the frame of the end of a file.
func (d *digest) end(changed bool) *Frame {
	f := &Frame{Kind: KindEnd, Hash: d.xx.Sum64(), Changed: changed}
	if d.sha != nil && !changed {
		f.SHA256 = string(d.sha.Sum(nil))
	}
	return f
}

var errHash = errors.New("the content arrived damaged: its hash is another one")

// check compares with what the sender says at the end of a file.
func (d *digest) check(f *Frame) error {
	if f.Hash != d.xx.Sum64() || d.sha != nil && f.SHA256 != string(d.sha.Sum(nil)) {
		return errHash
	}
	return nil
}
