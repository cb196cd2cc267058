package files_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/files"
)

// An acl is an access control list as Linux keeps it: its version, and entries of a tag, permissions and an id.
func acl(entries ...uint32) string {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for ; len(entries) > 0; entries = entries[3:] {
		b = binary.LittleEndian.AppendUint16(b, uint16(entries[0]))
		b = binary.LittleEndian.AppendUint16(b, uint16(entries[1]))
		b = binary.LittleEndian.AppendUint32(b, entries[2])
	}
	return string(b)
}

// Tags of an acl.
const (
	userObj, user, groupObj, mask, others = 1, 2, 4, 16, 32

	nobody = 1<<32 - 1
)

// shared is an ACL for user 1234. Its mask stands in the mode.
var shared = acl(userObj, 6, nobody, user, 6, 1234, groupObj, 0, nobody, mask, 6, nobody, others, 0, nobody)

func setAttr(t *testing.T, path, name, value string) {
	t.Helper()
	err := unix.Lsetxattr(path, name, []byte(value), 0)
	if errors.Is(err, unix.ENOTSUP) {
		t.Skipf("the file system of %s has no %s", path, name)
	}
	if err != nil {
		t.Fatalf("setxattr %s %s: %v", path, name, err)
	}
}

// attrs returns the extended attributes of path, sorted.
func attrs(t *testing.T, path string) []string {
	t.Helper()
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, buf)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for name := range strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		value := make([]byte, 64<<10)
		if n, err := unix.Lgetxattr(path, name, value); err == nil {
			all = append(all, fmt.Sprintf("%s=%q", name, value[:n]))
		}
	}
	slices.Sort(all)
	return all
}

// attrTree makes files and a directory with attributes and ACLs.
func attrTree(t *testing.T, root string) {
	t.Helper()
	write(t, root+"/d/small", []byte("small"))
	write(t, root+"/d/large", pattern(files.SmallFile+1))
	write(t, root+"/d/plain", []byte("plain"))
	setAttr(t, root+"/d/small", "user.text", "value")
	setAttr(t, root+"/d/small", "user.empty", "")
	setAttr(t, root+"/d/small", "user.binary", "\x00\xff=\n")
	setAttr(t, root+"/d/large", "user.long", strings.Repeat("x", 2000))
	if err := os.Chmod(root+"/d/large", 0o440); err != nil {
		t.Fatal(err)
	}
	setAttr(t, root+"/d/small", "system.posix_acl_access", shared)
	setAttr(t, root+"/d", "user.dir", "of a directory")
	setAttr(t, root+"/d", "system.posix_acl_default", shared)
}

var attrPaths = []string{"/d", "/d/small", "/d/large", "/d/plain"}

func TestXAttrsAndACLsAreKept(t *testing.T) {
	for way, do := range ways {
		for _, asked := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s asked=%v", way, asked), func(t *testing.T) {
				dir := t.TempDir()
				attrTree(t, dir+"/src")
				for range 2 { // the second time below a directory whose default ACL files get
					if failed, err := do(t, dir+"/src", dir+"/dst", files.Options{XAttrs: asked}); err != nil || len(failed) > 0 {
						t.Fatalf("%v, %q", err, failed)
					}
					if asked && len(attrs(t, dir+"/dst/d")) != 2 {
						t.Fatalf("the directory has %q", attrs(t, dir+"/dst/d"))
					}
				}
				for _, path := range attrPaths {
					want, got := attrs(t, dir+"/src"+path), attrs(t, dir+"/dst"+path)
					if !asked {
						want = nil
					}
					if !slices.Equal(got, want) {
						t.Errorf("%s has %q, want %q", path, got, want)
					}
				}
				if i, err := os.Stat(dir + "/dst/d/small"); err != nil || i.Mode().Perm() != 0o660 {
					t.Errorf("small: %v, %v; want the mode 0660, with the ACL's mask", i, err)
				}
			})
		}
	}
}

func TestCapabilitiesNeedToBeAskedFor(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root sets file capabilities")
	}
	bind := "\x01\x00\x00\x02\x00\x04\x00\x00" + strings.Repeat("\x00", 12) // CAP_NET_BIND_SERVICE, effective and permitted
	for way, do := range ways {
		for o, want := range map[files.Options]int{{XAttrs: true}: 0, {Security: true}: 1} {
			dir := t.TempDir()
			write(t, dir+"/src/f", []byte("program"))
			setAttr(t, dir+"/src/f", "security.capability", bind)
			if failed, err := do(t, dir+"/src", dir+"/dst", o); err != nil || len(failed) > 0 {
				t.Fatalf("%s: %v, %q", way, err, failed)
			}
			if got := attrs(t, dir+"/dst/f"); len(got) != want {
				t.Errorf("%s %+v: the copy has %q, want %d", way, o, got, want)
			}
		}
	}
}

// TestXAttrsThatFindNoRoom copies to a file system with few attributes, ramfs, which has none of users.
func TestXAttrsThatFindNoRoom(t *testing.T) {
	dir, to := t.TempDir(), mount(t, "ramfs", "")
	write(t, dir+"/src/plain", []byte("plain"))
	write(t, dir+"/src/acl", []byte("acl"))
	setAttr(t, dir+"/src/plain", "user.text", "value")
	setAttr(t, dir+"/src/acl", "system.posix_acl_access", shared)
	for way, do := range ways {
		failed, err := do(t, dir+"/src", to, files.Options{XAttrs: true})
		slices.Sort(failed)
		if err != nil || len(failed) != 2 || !strings.Contains(failed[0], "src/acl: set the extended attribute system.posix_acl_access") ||
			!strings.Contains(failed[1], "src/plain: extended attribute user.text: ") {
			t.Errorf("%s: %v, %q; want one line for each file", way, err, failed)
		}
		wantFile(t, to+"/src/plain", []byte("plain"))
		if _, err := os.Lstat(to + "/src/acl"); err == nil {
			t.Errorf("%s: a file was made without its ACL", way)
		}
		wantNoParts(t, to+"/src")
	}
}

// TestUnaskedMetadataIsRefused has a guest send attributes and special files that the host does not want.
func TestUnaskedMetadataIsRefused(t *testing.T) {
	f := file("f", 0)
	f.Attrs = "\x13security.capability\x01x"
	fifo := &files.Frame{Kind: files.KindSpecial, Name: "fifo", Type: 'p'}
	device := &files.Frame{Kind: files.KindSpecial, Name: "device", Type: 'c', Major: 1, Minor: 3}
	for name, c := range map[string]struct {
		o      files.Options
		stream []byte
	}{
		"attribute": {files.Options{XAttrs: true}, frames(top, f, end, up, done)},
		"fifo":      {files.Options{}, frames(top, fifo, up, done)},
		"device":    {files.Options{Special: true}, frames(top, device, up, done)},
	} {
		dir := t.TempDir()
		var failed failures
		_, _, err := files.PullTo(files.Conn{In: io.Discard, Out: bytes.NewReader(c.stream)}, "top", dir+"/top", c.o, failed.events())
		if err == nil && len(failed) != 1 {
			t.Errorf("%s: %v, %q; want an error", name, err, failed)
		}
		if all, _ := os.ReadDir(dir + "/top"); len(all) != 0 {
			t.Errorf("%s: the guest has made %v", name, all)
		}
	}
}

func TestSpecialFilesAreCopiedIfAsked(t *testing.T) {
	for way, do := range ways {
		t.Run(way, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir+"/src/file", []byte("x"))
			if err := unix.Mkfifo(dir+"/src/fifo", 0o600); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(unix.Chmod(dir+"/src/fifo", 0o642), os.Chtimes(dir+"/src/fifo", then, then)); err != nil {
				t.Fatal(err)
			}
			want := 0
			if err := unix.Mknod(dir+"/src/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err == nil && way == "pull" {
				want = 1 // no devices on the host
			}
			for range 2 {
				failed, err := do(t, dir+"/src", dir+"/dst", files.Options{Special: true})
				if err != nil || len(failed) != want {
					t.Fatalf("%v, %q; want %d failed", err, failed, want)
				}
			}
			i, err := os.Lstat(dir + "/dst/fifo")
			if err != nil || i.Mode() != os.ModeNamedPipe|0o642 || !i.ModTime().Equal(then) {
				t.Errorf("the fifo is %v, %v", i, err)
			}
			if failed, err := do(t, dir+"/src/fifo", dir+"/named", files.Options{Special: true}); err != nil || len(failed) > 0 {
				t.Errorf("a fifo as the source: %v, %q", err, failed)
			}
			if i, err := os.Lstat(dir + "/named"); err != nil || i.Mode().Type() != os.ModeNamedPipe {
				t.Errorf("a fifo as the source became %v, %v", i, err)
			}
			i, err = os.Lstat(dir + "/dst/null")
			if way == "push" && os.Geteuid() == 0 && (err != nil || i.Mode()&os.ModeCharDevice == 0) || way == "pull" && err == nil {
				t.Errorf("the device is %v, %v", i, err)
			}
			wantNoParts(t, dir+"/dst")
		})
	}
}

// TestTarKeepsXAttrs goes through GNU tar's records.
func TestTarKeepsXAttrs(t *testing.T) {
	dir := t.TempDir()
	attrTree(t, dir+"/src")
	var stream bytes.Buffer
	g := serve(t, files.Request{Op: files.Pull, Path: dir + "/src"})
	if _, err := files.PullTar(g.Conn, dir+"/src", &stream, files.Options{XAttrs: true}, files.Events{}); err != nil {
		t.Fatal(err)
	}
	g.close()
	if tar, err := exec.LookPath("tar"); err == nil && os.Geteuid() == 0 { // tar sets attributes after the mode
		c := exec.Command(tar, "-C", t.TempDir(), "--xattrs", "-x")
		c.Stdin = bytes.NewReader(stream.Bytes())
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("tar -x: %v, %s", err, out)
		}
		if got := attrs(t, c.Args[2]+"/src/d/small"); !slices.Contains(got, `user.text="value"`) {
			t.Errorf("tar has made a file with %q", got)
		}
	}
	if err := os.Mkdir(dir+"/to", 0o755); err != nil {
		t.Fatal(err)
	}
	g = serve(t, files.Request{Op: files.Push, Path: dir + "/to"})
	if _, _, err := files.PushTo(g.Conn, files.FromTar(&stream), files.Options{Several: true, XAttrs: true}, files.Events{}); err != nil {
		t.Fatal(err)
	}
	for _, path := range attrPaths {
		if want, got := attrs(t, dir+"/src"+path), attrs(t, dir+"/to/src"+path); !slices.Equal(got, want) {
			t.Errorf("%s has %q, want %q", path, got, want)
		}
	}
}
