package files_test

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/files"
)

// frames are the bytes of frames.
func frames(all ...*files.Frame) []byte {
	var b []byte
	for _, f := range all {
		if f.Kind == files.KindData {
			b = append(b, files.Data([]byte(f.Text))...)
			continue
		}
		b = append(b, files.AppendFrame(f)...)
	}
	return b
}

func data(text string) *files.Frame { return &files.Frame{Kind: files.KindData, Text: text} }

var (
	top  = &files.Frame{Kind: files.KindDir, Name: "top", Mode: 0o755}
	up   = &files.Frame{Kind: files.KindUp}
	end  = &files.Frame{Kind: files.KindEnd}
	done = &files.Frame{Kind: files.KindDone}
)

func file(name string, size uint64) *files.Frame {
	return &files.Frame{Kind: files.KindFile, Name: name, Size: size, Mode: 0o644}
}

// hostile are what a sender must not send.
func hostile() map[string][]byte {
	all := map[string][]byte{
		"data outside a file":        frames(top, data("x")),
		"an end outside a file":      frames(top, end),
		"up outside a directory":     frames(up),
		"done within a directory":    frames(top, done),
		"more than announced":        frames(top, file("f", 2), data("abc"), end, up, done),
		"less than announced":        frames(top, file("f", 2), data("a"), end, up, done),
		"a hole beyond the end":      frames(top, file("f", 2), &files.Frame{Kind: files.KindHole, Size: 1 << 62}, end, up, done),
		"a size of 2^63":             frames(top, file("f", math.MaxUint64), end),
		"a file within a file":       frames(top, file("f", 2), file("g", 2)),
		"a question about few bytes": frames(top, &files.Frame{Kind: files.KindFile, Name: "f", Ask: true}, end),
		"an offset without a part":   frames(top, &files.Frame{Kind: files.KindFile, Name: "f", Size: 8 << 20, Ask: true}, &files.Frame{Kind: files.KindFrom, Offset: 1 << 20}),
		"nanoseconds":                frames(&files.Frame{Kind: files.KindDir, Name: "d", Nsec: 1e9}),
		"a mode":                     frames(&files.Frame{Kind: files.KindDir, Name: "d", Mode: 0o10000}),
		"an unknown kind":            {'?', 0, 0, 0, 0},
		"a long frame":               {'F', 0xff, 0xff, 0xff, 0xff},
		"long data":                  {'B', 0x7f, 0xff, 0xff, 0xff},
		"a field that ends early":    {'F', 0, 0, 0, 2, 'n', 9},
		"owners":                     frames(&files.Frame{Kind: files.KindDir, Name: "top", UID: 1 << 32}),
		"attributes that end early":  frames(&files.Frame{Kind: files.KindDir, Name: "top", Attrs: "\x09user.a"}),
		"an attribute without name":  frames(&files.Frame{Kind: files.KindDir, Name: "top", Attrs: "\x00\x00"}),
		"a special file of no type":  frames(top, &files.Frame{Kind: files.KindSpecial, Name: "n", Type: 'x'}),
		"a device of large numbers":  frames(top, &files.Frame{Kind: files.KindSpecial, Name: "n", Type: 'c', Major: 1 << 12}),
	}
	if runtime.GOOS != "windows" { // Wine looks each directory up from the root: that takes minutes
		all["depth"] = bytes.Repeat(frames(top), files.MaxDepth+1)
	}
	for _, name := range []string{"", ".", "..", "a/b", "../x", "/etc", "a\x00b", strings.Repeat("n", 256)} {
		all["file "+name] = frames(top, file(name, 0), end, up, done)
		all["directory "+name] = frames(top, &files.Frame{Kind: files.KindDir, Name: name}, up, up, done)
		all["link "+name] = frames(top, &files.Frame{Kind: files.KindSymlink, Name: name, Target: "/"}, up, done)
	}
	return all
}

// impostors are what a guest must not send for "top".
func impostors() map[string][]byte {
	return map[string][]byte{
		"another name":        frames(&files.Frame{Kind: files.KindDir, Name: "other"}, up, done),
		"the content instead": frames(&files.Frame{Kind: files.KindDir, Name: "top", Content: true}, file("f", 0), end, up, done),
		"two sources":         frames(top, up, file("top", 0), end, done),
	}
}

// shallowly makes a temporary directory that a program removes which opens few directories at a time.
// os.RemoveAll has a descriptor for each of thousands within one another, and may have none left.
func shallowly(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if runtime.GOOS != "windows" {
		t.Cleanup(func() {
			if out, err := exec.Command("rm", "-rf", dir+"/dst").CombinedOutput(); err != nil {
				t.Errorf("rm: %v, %s", err, out)
			}
		})
	}
	return dir
}

func TestHostileGuestCannotHarmPull(t *testing.T) {
	all := hostile()
	maps.Copy(all, impostors())
	for name, stream := range all {
		t.Run(name, func(t *testing.T) {
			dir := shallowly(t)
			_, _, err := files.PullTo(files.Conn{In: io.Discard, Out: bytes.NewReader(stream)}, "top", dir+"/dst", files.Options{}, files.Events{})
			wantRefused(t, dir, err)
			if err := os.MkdirAll(dir+"/dst", 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, dir+"/dst/other", []byte("old"))
			_, _, _ = files.PullTo(files.Conn{In: io.Discard, Out: bytes.NewReader(stream)}, "top", dir+"/dst", files.Options{}, files.Events{})
			for _, path := range []string{dir + "/dst/f", dir + "/dst/g"} {
				if _, err := os.Lstat(path); err == nil && name == "the content instead" {
					t.Errorf("the guest has made %s", path)
				}
			}
			wantFile(t, dir+"/dst/other", []byte("old"))
			_, err = files.PullTar(files.Conn{In: io.Discard, Out: bytes.NewReader(stream)}, "top", io.Discard, files.Options{}, files.Events{})
			if !errors.Is(err, files.ErrProtocol) && !errors.Is(err, io.ErrUnexpectedEOF) && name != "done within a directory" {
				t.Errorf("PullTar: %v, want an error about frames", err)
			}
		})
	}
}

func wantRefused(t *testing.T, dir string, err error) {
	t.Helper()
	if !errors.Is(err, files.ErrProtocol) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v, want one about frames", err)
	}
	all, _ := os.ReadDir(dir)
	if len(all) > 1 || len(all) == 1 && all[0].Name() != "dst" {
		t.Errorf("there is more than the destination: %v", all)
	}
	wantNoParts(t, dir+"/dst")
}

func TestHostileHostCannotHarmPush(t *testing.T) {
	for name, stream := range hostile() {
		t.Run(name, func(t *testing.T) {
			dir := shallowly(t)
			in := append(frames(&files.Frame{Kind: files.KindOptions}), stream...)
			var out, summary bytes.Buffer
			if status := files.ServeHere(files.Request{Op: files.Push, Path: dir + "/dst"}, bytes.NewReader(in), &out, &summary); status == 0 {
				t.Error("exit status 0")
			}
			wantRefused(t, dir, files.ErrProtocol)
		})
	}
}

func TestLinksOfTheSenderLeadNowhere(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/outside/f", []byte("old"))
	link := &files.Frame{Kind: files.KindSymlink, Name: "x", Target: dir + "/outside"}
	stream := frames(top, link,
		&files.Frame{Kind: files.KindDir, Name: "x"}, file("f", 3), data("new"), end, file("g", 0), end, up,
		&files.Frame{Kind: files.KindSymlink, Name: "y", Target: dir + "/outside/f"}, file("y", 3), data("new"), end,
		&files.Frame{Kind: files.KindLink, Name: "z", Inode: 7}, up, done)
	var failed failures
	if _, _, err := files.PullTo(files.Conn{In: io.Discard, Out: bytes.NewReader(stream)}, "top", dir+"/dst", files.Options{}, failed.events()); err != nil {
		t.Fatal(err)
	}
	wantFile(t, dir+"/outside/f", []byte("old"))
	if all, _ := os.ReadDir(dir + "/outside"); len(all) != 1 {
		t.Errorf("the copy made %v outside", all)
	}
	if len(failed) < 2 {
		t.Errorf("failed %q, want the directory x and the link z", failed)
	}
}

func TestDamagedContentIsNotKept(t *testing.T) {
	dir := t.TempDir()
	var failed failures
	stream := frames(file("f", 3), data("abc"), &files.Frame{Kind: files.KindEnd, Hash: 1}, done)
	if _, _, err := files.PullTo(files.Conn{In: io.Discard, Out: bytes.NewReader(stream)}, "f", dir+"/f", files.Options{}, failed.events()); err != nil {
		t.Fatal(err)
	}
	if all, _ := os.ReadDir(dir); len(all) != 0 || len(failed) != 1 || !strings.Contains(failed[0], "damaged") {
		t.Errorf("failed %q, and there is %v", failed, all)
	}
}

func TestUnaskedAnswersEndAPush(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/f", pattern(10))
	answers := bytes.Repeat(frames(&files.Frame{Kind: files.KindHave}), 3)
	for name, out := range map[string][]byte{"answers": answers, "nothing": nil, "data": frames(data("x"))} {
		_, _, err := files.PushTo(files.Conn{In: io.Discard, Out: bytes.NewReader(out)}, files.FromPath(dir+"/f"), files.Options{}, files.Events{})
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
