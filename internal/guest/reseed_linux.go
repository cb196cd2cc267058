package guest

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Errors of [Reseed], by which the caller can class what went wrong.
var (
	// ErrEntropy says that the request makes no sense.
	ErrEntropy = errors.New("entropy of the wrong length")

	// ErrNotPermitted says that the agent lacks a privilege.
	ErrNotPermitted = errors.New("not permitted")

	// ErrResources says that the disk is full, or the agent out of descriptors.
	ErrResources = errors.New("out of resources")
)

// How many bytes of entropy Reseed takes.
const (
	MinEntropy = 16
	MaxEntropy = 512
)

// Reseed credits entropy to the kernel's random number generator and reseeds
// it, and then, where machineID says so, writes a new machine-id. A machine-id
// is not written after entropy has failed: it would be its sibling's.
func Reseed(entropy []byte, machineID bool) error {
	if n := len(entropy); n < MinEntropy || n > MaxEntropy {
		return fmt.Errorf("%w: %d bytes: want %d to %d", ErrEntropy, n, MinEntropy, MaxEntropy)
	}
	if err := addEntropy(entropy); err != nil {
		return fmt.Errorf("add entropy: %w", classed(err))
	}
	if machineID {
		if err := newMachineID("/"); err != nil {
			return fmt.Errorf("new machine-id: %w", classed(err))
		}
	}
	return nil
}

func classed(err error) error {
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%w: %w", ErrNotPermitted, err)
	}
	for _, errno := range []error{unix.ENOSPC, unix.EDQUOT, unix.EMFILE, unix.ENFILE, unix.ENOMEM} {
		if errors.Is(err, errno) {
			return fmt.Errorf("%w: %w", ErrResources, err)
		}
	}
	return err
}

// ioctls of random(4), from linux/random.h.
const (
	rndAddEntropy = 0x40085203
	rndReseedCRNG = 0x5207
)

// addEntropy does what a write to /dev/urandom does not: the bytes are credited,
// and used at once.
func addEntropy(entropy []byte) error {
	f, err := os.OpenFile("/dev/urandom", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	// struct rand_pool_info: entropy_count in bits, buf_size in bytes, buf.
	info := make([]byte, 8, 8+MaxEntropy)
	binary.NativeEndian.PutUint32(info, uint32(8*len(entropy)))
	binary.NativeEndian.PutUint32(info[4:], uint32(len(entropy)))
	info = append(info, entropy...)
	defer clear(info)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), rndAddEntropy, uintptr(unsafe.Pointer(&info[0]))); errno != 0 {
		return os.NewSyscallError("ioctl(RNDADDENTROPY)", errno)
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), rndReseedCRNG, 0)
	if errno == unix.EINVAL || errno == unix.ENOTTY {
		return nil // Linux before 4.14 mixes credited entropy in by itself
	}
	if errno != 0 {
		return os.NewSyscallError("ioctl(RNDRESEEDCRNG)", errno)
	}
	return nil
}

// newMachineID writes a random machine-id(5) below root.
func newMachineID(root string) error {
	var id [16]byte
	_, _ = rand.Read(id[:])   // never fails
	id[6] = id[6]&0x0f | 0x40 // a version-4 UUID, as
	id[8] = id[8]&0x3f | 0x80 // machine-id(5) recommends
	path := filepath.Join(root, "etc", "machine-id")
	temporary, err := os.CreateTemp(filepath.Dir(path), ".machine-id-*")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name()) // nothing to remove after the rename
	_, writeErr := temporary.WriteString(hex.EncodeToString(id[:]) + "\n")
	if err := errors.Join(writeErr, temporary.Chmod(0o444), temporary.Sync(), temporary.Close()); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}
