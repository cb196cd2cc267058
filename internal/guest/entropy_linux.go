package guest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioctls of random(4), from linux/random.h.
const (
	rndAddEntropy = 0x40085203
	rndReseedCRNG = 0x5207
)

// addEntropy does what a write to /dev/urandom does not: the bytes are credited, and
// used at once. getrandom(2) is fresh from then on, also for this process. The kernel
// counts its reseedings, and both its per-CPU generators and those of the vDSO compare
// the count at each call. Without bytes the generator is reseeded from what the kernel
// has collected.
func addEntropy(entropy []byte) error {
	f, err := os.OpenFile("/dev/urandom", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if len(entropy) > 0 {
		if err := credit(f, entropy); err != nil {
			return err
		}
	}
	switch _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), rndReseedCRNG, 0); errno {
	case 0,
		unix.EINVAL, unix.ENOTTY, // Linux before 4.14 mixes credited entropy in by itself
		unix.ENODATA: // the generator has given nothing yet: it will begin with what was credited
		return nil
	default:
		return privileged(os.NewSyscallError("ioctl(RNDRESEEDCRNG)", errno), errno)
	}
}

// credit adds bytes to the kernel's entropy, and counts each of their bits.
func credit(urandom *os.File, entropy []byte) error {
	// struct rand_pool_info: entropy_count in bits, buf_size in bytes, buf.
	info := make([]byte, 8, 8+MaxEntropy)
	binary.NativeEndian.PutUint32(info, uint32(8*len(entropy)))
	binary.NativeEndian.PutUint32(info[4:], uint32(len(entropy)))
	info = append(info, entropy...)
	defer clear(info)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, urandom.Fd(), rndAddEntropy, uintptr(unsafe.Pointer(&info[0]))); errno != 0 {
		return privileged(os.NewSyscallError("ioctl(RNDADDENTROPY)", errno), errno)
	}
	return nil
}

// privileged adds the missing privilege to an error of the kernel that does not name it.
func privileged(err error, errno syscall.Errno) error {
	if errno == unix.EPERM {
		return fmt.Errorf("%w (needs CAP_SYS_ADMIN)", err)
	}
	return err
}

// dropRandomSeed removes what systemd has kept of the random state at shutdown,
// to give it to the kernel at the next boot: it is every clone's.
func dropRandomSeed(root string) (changed bool, note string, err error) {
	changed, note, err = remove(root + "/var/lib/systemd/random-seed")
	if errors.Is(err, unix.EROFS) {
		return false, "it stays: read-only file system", nil
	}
	return changed, note, err
}
