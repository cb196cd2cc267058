package main

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/cocoonstack/cocoon-agent/client"
)

type cpCommand struct {
	targetFlags

	User            string `short:"u" placeholder:"USER" help:"Read and write in the guest as USER: name, uid, name:group or uid:gid. Default: the agent's user."`
	Follow          bool   `name:"dereference" short:"L" help:"Copy the files that symbolic links lead to. Default: copy the links."`
	Owner           bool   `help:"Keep owners and groups: by name if the other side has the name, else by number. Default: the user that writes."`
	Numeric         bool   `help:"Keep owners and groups by number."`
	XAttrs          bool   `name:"xattrs" help:"Keep extended attributes of users (user.*) and ACLs. ACLs name users by number."`
	Security        bool   `help:"Keep the kernel's extended attributes (security.*): file capabilities and labels. Setting them needs root."`
	Special         bool   `help:"Copy fifos, and devices into the guest. Default: skip them."`
	Checksum        string `placeholder:"KIND" enum:",sha256" default:"" help:"sha256: check files by their SHA-256, too, and print it as sha256sum(1) does."`
	Preserve        string `placeholder:"WHAT" enum:",mode" default:"" help:"mode: keep the set-user-ID, set-group-ID and sticky bits of files."`
	Parents         bool   `help:"Make the missing parent directories of DST."`
	AllowChanged    bool   `help:"Copy files that change while they are read, such as logs, up to the size at the beginning."`
	SkipUnsupported bool   `help:"Exit with 0 if nothing failed but what cannot be copied for its kind, such as sockets, fifos and devices."`
	Sync            bool   `help:"Write everything to disk before the end."`
	JSON            bool   `name:"json" help:"Print JSON lines: progress once a second, file for each file with --checksum, failed, error, and one done at the end."`

	Paths []string `arg:"" name:"path" help:"Sources, and the destination. :PATH is in the guest; - is a tar stream."`
}

// Help is what --help says besides the flags.
func (*cpCommand) Help() string {
	return `Copies files and directories into a guest or out of it. One side has paths with a
colon before them: those of the guest. A relative path of the guest begins at the
user's home. Directories are copied with their content. As with cp -r, a source goes
into DST if that is a directory, and gets the name DST otherwise; "dir/." stands
for the content of a directory. Kept are permissions, modification times, symbolic
links, hard links within one source, and holes.

A file gets its name when it is complete. If the connection is lost, or after ^C, the
same command goes on with a large file that was not complete. Exit status:

  0  everything was copied
  1  something was not copied; standard error has one line for each
  2  invalid command line

  cocoon-agent cp --cid 3 app.conf :/etc/app/
  cocoon-agent cp --cid 3 --user app site :/srv
  cocoon-agent cp --cid 3 :/var/log/app ./logs
  tar c src | cocoon-agent cp --cid 3 - :/srv`
}

// Run copies one source after the other.
func (c *cpCommand) Run(k *kong.Context) error {
	operands, err := parseOperands(c.Paths)
	if err != nil {
		return err
	}
	if (c.JSON || c.Checksum != "") && operands.to.tar {
		return misuse("--json and --checksum exclude - as DST: all need standard output")
	}
	url, err := c.url(k)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program
	conn, err := c.dial(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close()
	r := newCopyReport(k.Stdout, os.Stderr, c.JSON)
	fs := conn.FS(c.User)
	for _, from := range operands.from {
		o := c.options(r)
		o.Several = len(operands.from) > 1
		if r.meter != nil && !from.guest && !from.tar && !c.Follow {
			r.scan = startScan(ctx, from.path)
		}
		counts, err := copyOne(ctx, fs, from, operands.to, o)
		r.scan.end()
		r.copied(from, counts, err)
		if ctx.Err() != nil || errors.Is(err, client.ErrLost) {
			break
		}
	}
	return r.end(c.SkipUnsupported)
}

func (c *cpCommand) options(r *copyReport) *client.CopyOptions {
	o := &client.CopyOptions{
		Parents: c.Parents, PreserveMode: c.Preserve == "mode", Owner: c.Owner, Numeric: c.Numeric,
		Follow: c.Follow, AllowChanged: c.AllowChanged, Sync: c.Sync, SkipUnsupported: c.SkipUnsupported,
		XAttrs: c.XAttrs, Security: c.Security, Special: c.Special,
		Failed: r.failed, Progress: r.progress,
	}
	if c.Checksum != "" {
		o.SHA256 = r.summed
	}
	return o
}

// copyOne copies one source.
func copyOne(ctx context.Context, fs *client.FS, from, to operand, o *client.CopyOptions) (client.CopyCounts, error) {
	switch {
	case from.tar:
		return fs.PushTar(ctx, os.Stdin, to.path, o)
	case to.tar:
		return fs.PullTar(ctx, from.path, os.Stdout, o)
	case to.guest:
		return fs.Push(ctx, from.path, to.path, o)
	default:
		return fs.Pull(ctx, from.path, to.path, o)
	}
}

// A copyReport tells people, or a program, what is copied.
type copyReport struct {
	out, errs io.Writer
	json      bool
	meter     *meter
	scan      *scan // of the source, if it is the host's and there is a meter
	now       func() time.Time
	told      time.Time // when the last line of progress was printed

	sum   client.CopyCounts
	lines []string // what was not copied, of each entry
	more  uint64
	fatal bool
}

// progressPeriod is the time between two lines of progress of --json.
const progressPeriod = time.Second

// maxLines bounds how many entries that failed are listed.
const maxLines = 1000

func newCopyReport(out, errs io.Writer, json bool) *copyReport {
	r := &copyReport{out: out, errs: errs, json: json, now: time.Now, told: time.Now()}
	if !json {
		r.meter = newMeter(errs)
	}
	return r
}

// failed takes one entry that was not copied.
func (r *copyReport) failed(e *client.CopyError) {
	if r.json {
		_ = writeJSON(r.out, struct {
			Event   string `json:"event"`
			Path    string `json:"path"`
			Reason  string `json:"reason"`
			Skipped bool   `json:"skipped"`
			Guest   bool   `json:"guest"`
		}{"failed", e.Path, e.Reason, e.Skipped, e.Guest})
		return
	}
	r.line(e.Error())
}

func (r *copyReport) line(text string) {
	if len(r.lines) == maxLines {
		r.more++
		return
	}
	r.lines = append(r.lines, text)
}

func (r *copyReport) progress(c client.CopyCounts) {
	files, data := r.sum.Files+c.Files, r.sum.Bytes+c.Bytes
	switch {
	case r.json && r.now().Sub(r.told) >= progressPeriod:
		r.told = r.now()
		_ = writeJSON(r.out, struct {
			Event string `json:"event"`
			Files uint64 `json:"files"`
			Bytes uint64 `json:"bytes"`
		}{"progress", files, data})
	case r.meter != nil:
		expected := cmp.Or(c.Expected, r.scan.expected())
		r.meter.draw(files, data, expected-min(c.Bytes, expected))
	}
}

// summed prints the checksum of one file.
func (r *copyReport) summed(path string, sum [32]byte) {
	if r.json {
		_ = writeJSON(r.out, struct {
			Event  string `json:"event"`
			Path   string `json:"path"`
			SHA256 string `json:"sha256"`
		}{"file", path, hex.EncodeToString(sum[:])})
		return
	}
	if r.meter != nil {
		r.meter.clear()
	}
	line := checksumLine(path, sum)
	if isTerminal(r.out) {
		line = printable(line)
	}
	fmt.Fprintln(r.out, line)
}

// checksumLine is a line of sha256sum(1), which begins with a backslash if the path has one or a line break.
func checksumLine(path string, sum [32]byte) string {
	escaped := strings.NewReplacer("\\", "\\\\", "\n", "\\n", "\r", "\\r").Replace(path)
	mark := ""
	if escaped != path {
		mark = "\\"
	}
	return fmt.Sprintf("%s%x  %s", mark, sum, escaped)
}

// copied takes the result for one source.
func (r *copyReport) copied(from operand, c client.CopyCounts, err error) {
	r.sum.Files += c.Files
	r.sum.Bytes += c.Bytes
	r.sum.Failed += c.Failed
	r.sum.Skipped += c.Skipped
	if err == nil || is[*client.IncompleteError](err) {
		return
	}
	r.fatal = true
	if errors.Is(err, context.Canceled) {
		err = fmt.Errorf("%s: interrupted%s", from, kept(from, err))
	}
	if r.json {
		_ = writeJSON(r.out, struct {
			Event  string `json:"event"`
			Source string `json:"source"`
			Reason string `json:"reason"`
		}{"error", from.String(), err.Error()})
		return
	}
	r.line(err.Error())
}

// kept says what is left for the next attempt.
func kept(from operand, err error) string {
	e, ok := errors.AsType[*client.KeptError](err)
	switch {
	case ok:
		return fmt.Sprintf(" (kept %s: the same command goes on with it)", e.Path)
	case !from.guest && !from.tar:
		return " (the same command goes on with a large file, whose part is kept in the guest)"
	default:
		return ""
	}
}

// end prints what is to be said at the end.
func (r *copyReport) end(skipUnsupported bool) error {
	if r.meter != nil {
		r.meter.clear()
	}
	for _, line := range r.lines {
		fmt.Fprintln(r.errs, "cocoon-agent:", printable(line))
	}
	if r.more > 0 {
		fmt.Fprintf(r.errs, "cocoon-agent: %s more not copied\n", plural(r.more, "entry", "entries"))
	}
	if r.json {
		if err := writeJSON(r.out, struct {
			Event   string `json:"event"`
			Files   uint64 `json:"files"`
			Bytes   uint64 `json:"bytes"`
			Failed  uint64 `json:"failed"`
			Skipped uint64 `json:"skipped"`
		}{"done", r.sum.Files, r.sum.Bytes, r.sum.Failed, r.sum.Skipped}); err != nil {
			return err
		}
	}
	if r.fatal || r.sum.Failed > 0 || r.sum.Skipped > 0 && !skipUnsupported {
		return &statusError{statusFailure}
	}
	return nil
}
