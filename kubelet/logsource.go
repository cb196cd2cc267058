package kubelet

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/virtual-kubelet/virtual-kubelet/node/api"
)

// A LogSource says which command prints a pod's log, in the guest, with the
// options that kubectl logs was given. It returns an error, for people, for an
// option that it cannot honour. Tail is 0 for all lines: virtual-kubelet does
// not tell --tail=0 from none. LimitBytes is kept by [Pods.GetContainerLogs].
type LogSource func(api.ContainerLogOpts) (argv []string, err error)

// LogFile is the log in a file of the guest's, whose path is absolute. It knows
// --tail, --follow (which goes on with a file that takes the name) and
// --limit-bytes; a file has no times, so --since, --since-time and --timestamps
// are refused, and so is --previous.
//
// The command runs as the agent's user, which is root as a rule, and the file may
// be in a directory that belongs to another user of the guest. A file that is a
// symbolic link is refused: it may lead to what that user must not read. The
// command looks at what it has opened, and so nobody can change it in between.
// The command follows links among the directories of the path, since their last part is
// still a file of that name. It also opens a hard link. Linux lets nobody make one to
// another user's file (fs.protected_hardlinks).
//
// With --follow the file is looked at once, at the beginning: tail opens the one
// that takes its name, and follows a link then. If a user of the guest who is not to
// be trusted may write to the directory, use another LogSource.
//
// The guest needs sh(1), readlink(1), tail(1) and /proc. Without one of them the log
// is refused.
func LogFile(name string) LogSource {
	return func(o api.ContainerLogOpts) ([]string, error) {
		if !path.IsAbs(name) {
			return nil, fmt.Errorf("the log %q is not an absolute path", name)
		}
		if err := errors.Join(noPrevious(o), noTimes(o, "a file")); err != nil {
			return nil, err
		}
		lines, follow := "+1", ""
		if o.Tail > 0 {
			lines = strconv.Itoa(o.Tail)
		}
		if o.Follow {
			follow = "-F"
		}
		return []string{"sh", "-c", printFile, "log", name, lines, follow}, nil
	}
}

// printFile prints the lines from, or the last, $2 of file $1, which must not be a
// symbolic link; with $3, -F, it follows the name. File 0 is what it has opened:
// that, and not a name, is looked at and printed.
const printFile = `name=$1 lines=$2 follow=$3
exec <"$name" || exit
opened=$(readlink /proc/self/fd/0)
dir=$(cd -P "${name%/*}/" && pwd -P) || exit
if [ -z "$opened" ]; then
	printf '%s: cannot find out whether it is a symbolic link: this takes readlink(1) and /proc\n' "$name" >&2
	exit 1
fi
if [ "$opened" != "${dir%/}/${name##*/}" ]; then
	printf '%s: it is a symbolic link, or has just been replaced, and leads to %s: name the file itself\n' "$name" "$opened" >&2
	exit 1
fi
[ -z "$follow" ] || exec tail -n "$lines" "$follow" -- "$name"
exec tail -n "$lines"`

// LogCommand is the standard output of a command that prints a log and ends, such
// as dmesg, or, with --follow, of one that goes on printing, such as dmesg -w;
// without one --follow is refused. It knows --tail, though not with --follow, and
// --limit-bytes, and refuses all else: write a LogSource for a command that can do
// more. For --tail the guest needs sh(1) and tail(1).
func LogCommand(argv, follow []string) LogSource {
	return func(o api.ContainerLogOpts) ([]string, error) {
		all := []error{noPrevious(o), noTimes(o, "a command's output")}
		switch {
		case !o.Follow:
		case follow == nil:
			all = append(all, errors.New("--follow is not supported: the log is a command's output"))
		case o.Tail > 0:
			all = append(all, errors.New("--tail with --follow is not supported: the log is a command's output"))
		}
		if err := errors.Join(all...); err != nil {
			return nil, err
		}
		switch {
		case o.Follow:
			return follow, nil
		case o.Tail > 0:
			return append([]string{"sh", "-c", lastLines, "sh", strconv.Itoa(o.Tail)}, argv...), nil
		}
		return argv, nil
	}
}

// lastLines runs $2… and prints the last $1 lines of its output. The status is
// that of the command and not tail's: it goes by file 4, the lines by file 3.
const lastLines = `n=$1; shift; exec 3>&1; ` +
	`status=$({ { "$@" 3>&- 4>&-; echo $? >&4; } | tail -n "$n" >&3 4>&-; } 4>&1); exit "$status"`

// LogJournal is the guest's systemd journal. match (such as "-u", "nginx") may choose a
// part of it: see journalctl(1). It knows all options but --previous.
func LogJournal(match ...string) LogSource {
	return func(o api.ContainerLogOpts) ([]string, error) {
		if err := noPrevious(o); err != nil {
			return nil, err
		}
		argv := []string{"journalctl", "--quiet", "--no-pager", "--output=cat"}
		if o.Timestamps {
			argv[3] = "--output=short-iso-precise"
		}
		if o.Tail > 0 {
			argv = append(argv, "--lines="+strconv.Itoa(o.Tail))
		} else {
			argv = append(argv, "--no-tail") // or --follow shows the last 10
		}
		if o.Follow {
			argv = append(argv, "--follow")
		}
		switch {
		case o.SinceSeconds > 0:
			argv = append(argv, fmt.Sprintf("--since=-%ds", o.SinceSeconds)) // by the guest's clock
		case !o.SinceTime.IsZero():
			argv = append(argv, fmt.Sprintf("--since=@%d", o.SinceTime.Unix()))
		}
		return append(argv, match...), nil
	}
}

func noPrevious(o api.ContainerLogOpts) error {
	if o.Previous {
		return errors.New("--previous is not supported: a VM has no log of another container")
	}
	return nil
}

func noTimes(o api.ContainerLogOpts, source string) error {
	var asked []string
	if o.SinceSeconds > 0 {
		asked = append(asked, "--since")
	}
	if !o.SinceTime.IsZero() {
		asked = append(asked, "--since-time")
	}
	if o.Timestamps {
		asked = append(asked, "--timestamps")
	}
	if asked == nil {
		return nil
	}
	return fmt.Errorf("%s: not supported, since the log is %s, which does not say when a line was written",
		strings.Join(asked, ", "), source)
}
