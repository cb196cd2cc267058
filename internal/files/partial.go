package files

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/cespare/xxhash/v2"
)

// tempPrefix begins the names of files that are not complete. 16 hexadecimal digits follow.
const tempPrefix = ".~cocoon-"

// tempName is the name of a file that becomes name. The next attempt to make the same file finds it.
func tempName(name string, f *Frame) string {
	var b []byte
	b = append(append(b, name...), 0, byte(f.Kind))
	b = binary.BigEndian.AppendUint64(b, f.Size)
	b = binary.BigEndian.AppendUint64(b, uint64(f.Sec))
	b = binary.BigEndian.AppendUint64(b, f.Nsec)
	return fmt.Sprintf("%s%016x", tempPrefix, xxhash.Sum64(b))
}

func randomTemp() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return fmt.Sprintf("%s%x", tempPrefix, b)
}

// A partial is a file that is not complete.
type partial struct {
	file     *file
	name     string
	findable bool  // the next attempt finds the name
	blocks   int64 // that are there already
}

// partial opens what an earlier attempt has left of a file, or makes a new one.
func (rc *Receiver) partial(s *spot, f *Frame) (*partial, error) {
	p := &partial{name: tempName(s.name, f), findable: true}
	var err error
	if p.file, err = s.dir.create(p.name, 0o600); err == nil {
		_ = p.file.lock() // that nobody else has it shows create
		return p, p.file.setMode(0o600)
	}
	if !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if f.Ask {
		if file, i, err := s.dir.reopen(p.name); err == nil {
			if i.own() && uint64(i.size) <= f.Size && file.lock() {
				p.file, p.blocks = file, i.size/blockSize
				return p, nil
			}
			file.close()
		}
	}
	p.name, p.findable = randomTemp(), false
	if p.file, err = s.dir.create(p.name, 0o600); err != nil {
		return nil, err
	}
	return p, nil
}

// agree tells the sender what of a file is there, and returns the offset at which the data
// begins. p is nil if nothing is.
func (rc *Receiver) agree(p *partial, c *content) (int64, error) {
	var hashes []byte
	if p != nil && p.blocks > 0 {
		hashes = p.hash()
	}
	if err := rc.w.tell(&Frame{Kind: KindHave, Hashes: string(hashes)}); err != nil {
		return 0, err
	}
	f, err := rc.r.next()
	switch {
	case err != nil:
		return 0, unexpected(err)
	case f == nil || f.Kind != KindFrom:
		return 0, broken("no offset after a question")
	case f.Offset%blockSize != 0 || f.Offset/blockSize > uint64(len(hashes)/8):
		return 0, broken("offset %d, of %d blocks", f.Offset, len(hashes)/8)
	}
	c.got = f.Offset
	if p == nil {
		return 0, nil
	}
	if err := p.file.truncate(int64(f.Offset)); err != nil {
		c.bad = err
	}
	if err := p.file.seek(0); err != nil {
		return 0, err
	}
	if err := c.hash.blocks(hashes[:f.Offset/blockSize*8], p.file); err != nil {
		return 0, err
	}
	return int64(f.Offset), p.file.seek(int64(f.Offset))
}

// hash returns the hashes of the blocks that are there, up to the first that cannot be read.
func (p *partial) hash() (hashes []byte) {
	block := make([]byte, blockSize)
	for range min(p.blocks, maxBody/16) {
		if _, err := io.ReadFull(p.file, block); err != nil {
			break
		}
		hashes = binary.BigEndian.AppendUint64(hashes, xxhash.Sum64(block))
	}
	return hashes
}
