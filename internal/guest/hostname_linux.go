package guest

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// setHostname sets the kernel's and the one of the next boot.
func setHostname(root, name string) (changed bool, note string, err error) {
	path := root + "/etc/hostname"
	now, _ := os.Hostname()
	next, _ := os.ReadFile(path)
	if now == name && strings.TrimSpace(string(next)) == name {
		return false, "already set", nil
	}
	setErr := os.NewSyscallError("sethostname", unix.Sethostname([]byte(name)))
	fileErr := replaceFile(path, name+"\n", 0o644)
	return setErr == nil || fileErr == nil, "", errors.Join(setErr, fileErr)
}
