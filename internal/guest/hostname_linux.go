package guest

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// setHostname sets the kernel's, the one of the next boot, and the agent's line in
// /etc/hosts.
func setHostname(root, name string) (changed bool, note string, err error) {
	now, _ := os.Hostname()
	setErr := os.NewSyscallError("sethostname", unix.Sethostname([]byte(name)))
	wrote, note, fileErr := writeHostname(root, name)
	if setErr == nil && now == name && !wrote && fileErr == nil && note == "" {
		return false, "already set", nil
	}
	if setErr != nil { // then nothing is set for this boot
		note, fileErr = "", errors.Join(fileErr, notWritten(note))
	}
	return setErr == nil || wrote, note, errors.Join(setErr, fileErr)
}

// notWritten returns an error of the note of a file that could not be written.
func notWritten(note string) error {
	if note == "" {
		return nil
	}
	return errors.New(note)
}

// writeHostname has the name in /etc/hostname and /etc/hosts. If these cannot be written
// because their file system is read-only, that is a note and not an error.
func writeHostname(root, name string) (wrote bool, note string, err error) {
	path := root + "/etc/hostname"
	if next, _ := os.ReadFile(path); strings.TrimSpace(string(next)) != name {
		err = replaceFile(path, name+"\n", 0o644)
		wrote = err == nil
	}
	if errors.Is(err, unix.EROFS) {
		return false, "for this boot: /etc/hostname could not be written: read-only file system", nil
	}
	renewed, hostsErr := renewHosts(followed(root, "/etc/hosts"), name)
	if errors.Is(hostsErr, unix.EROFS) {
		note, hostsErr = "/etc/hosts could not be written: read-only file system", nil
	}
	return wrote || renewed, note, errors.Join(err, hostsErr)
}

// hostsMark ends the line in /etc/hosts that is the agent's.
const hostsMark = "# cocoon-agent"

// renewHosts has hosts(5) resolve a name. A line of the agent's is replaced, and other lines
// stay. A file that has the name is left alone, and none is made.
func renewHosts(path, name string) (renewed bool, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var kept strings.Builder
	has := false
	for line := range strings.Lines(string(text)) {
		if strings.HasSuffix(strings.TrimRight(line, " \t\n"), hostsMark) {
			continue
		}
		kept.WriteString(line)
		entry, _, _ := strings.Cut(line, "#")
		for i, word := range strings.Fields(entry) {
			has = has || i > 0 && strings.EqualFold(word, name)
		}
	}
	if text := kept.String(); text != "" && !strings.HasSuffix(text, "\n") {
		kept.WriteByte('\n')
	}
	if !has {
		names := name
		if short, _, dotted := strings.Cut(name, "."); dotted {
			names += " " + short
		}
		kept.WriteString("127.0.1.1\t" + names + "\t" + hostsMark + "\n")
	}
	return renewFile(path, kept.String())
}
