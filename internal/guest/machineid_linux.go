package guest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// renewMachineID writes a new machine-id and has the journal read it.
func renewMachineID(root string, entropy []byte) (changed bool, note string, err error) {
	changed, note, err = newMachineID(root, entropy)
	if err != nil {
		return changed, note, err
	}
	journal := renewJournal(root)
	if note != "" && journal != "" {
		note += "; "
	}
	return changed, note + journal, nil
}

// newMachineID writes a random machine-id(5) below root. It mixes the kernel's random
// numbers and entropy, so that the id is new even if the kernel has not taken the
// entropy. It does not depend on the hardware, which a clone has in common with its
// siblings.
func newMachineID(root string, entropy []byte) (changed bool, note string, err error) {
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails; drawn from the kernel at each call
	id := stir(key, entropy)[:16]
	id[6] = id[6]&0x0f | 0x40 // a version-4 UUID, as
	id[8] = id[8]&0x3f | 0x80 // machine-id(5) recommends
	text := hex.EncodeToString(id) + "\n"

	path := root + "/etc/machine-id"
	err = replaceFile(path, text, 0o444)
	if errors.Is(err, unix.EROFS) {
		err = mountMachineID(root+"/run/machine-id", path, text)
		note = "until the next boot: /etc is read-only"
	}
	return err == nil, note, err
}

// mountMachineID has a file on a read-only file system read as the text, as systemd does:
// the text is written to the file transient, which is mounted on it.
func mountMachineID(transient, path, text string) error {
	if sameFile(path, transient) {
		return overwrite(transient, text)
	}
	if err := renameOnto(transient, text, 0o444); err != nil {
		return err
	}
	return bindReadOnly(transient, path)
}

// bindReadOnly has a path read as a file.
func bindReadOnly(file, path string) error {
	if err := unix.Mount(file, path, "", unix.MS_BIND, ""); err != nil {
		return &os.PathError{Op: "mount", Path: path, Err: err}
	}
	if err := unix.Mount("", path, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		return &os.PathError{Op: "remount", Path: path, Err: err}
	}
	return nil
}

// stir returns a hash of key and entropy: clones that differ in either get
// different numbers.
func stir(key [32]byte, entropy []byte) []byte {
	sum := sha256.Sum256(append(key[:], entropy...))
	return sum[:]
}

// sameFile says that systemd, at boot, has mounted the file transient, read-only, on
// path, as it does if /etc is read-only and has no machine-id.
func sameFile(path, transient string) bool {
	a, errA := os.Stat(path)
	b, errB := os.Stat(transient)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// dropBusID removes D-Bus's own copy of the machine-id, without which it reads
// the original. A symbolic link to that stays. A copy on a read-only file system is
// read as the original.
func dropBusID(root string) (changed bool, note string, err error) {
	path := root + "/var/lib/dbus/machine-id"
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return false, "not a regular file", nil
	}
	changed, note, err = remove(path)
	if errors.Is(err, unix.EROFS) {
		original := root + "/etc/machine-id"
		if err = nil; !sameFile(path, original) {
			err = bindReadOnly(original, path)
		}
		return err == nil, "until the next boot: /var/lib/dbus is read-only", err
	}
	return changed, note, err
}
