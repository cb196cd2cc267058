package guest

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// maxHostname is HOST_NAME_MAX of Linux, in bytes.
const maxHostname = 64

// checkHostname holds a name to hostname(7): labels of letters, digits and
// hyphens, a hyphen neither first nor last.
func checkHostname(name string) error {
	if len(name) > maxHostname {
		return fmt.Errorf("%w: %d bytes: want at most %d", ErrHostname, len(name), maxHostname)
	}
	for label := range strings.SplitSeq(name, ".") {
		strange := strings.ContainsFunc(label, func(r rune) bool {
			return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
		})
		if label == "" || strange || strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") {
			return fmt.Errorf("%w: %q: want letters, digits and hyphens, and dots between", ErrHostname, name)
		}
	}
	return nil
}

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
