//go:build linux

package client_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/session"
)

func TestFSHasTheRightsOfItsUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root becomes another user")
	}
	a := agenttest.StartWith(t, agenttest.WithFiles)
	f := connect(t, a.Target).FS("65534:65534").WithContext(t.Context())
	dir := t.TempDir()
	for p := dir; p != "/tmp" && p != "/"; p = filepath.Dir(p) {
		if err := os.Chmod(p, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, dir+"/secret", "root's", 0o600)
	write(t, dir+"/shared", "everybody's", 0o644)
	if _, err := f.ReadFile(dir[1:] + "/secret"); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("ReadFile of root's file: %v, want fs.ErrPermission", err)
	}
	if err := f.WriteFile(t.Context(), dir+"/new", nil, 0o600); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("WriteFile into root's directory: %v, want fs.ErrPermission", err)
	}
	closed := filepath.Join(dir, "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := f.WriteFile(t.Context(), closed+"/new", nil, 0o600); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), closed+"/new: ") {
		t.Errorf("WriteFile into a closed directory: %v, want fs.ErrPermission and the path", err)
	}
	if got, err := f.ReadFile(dir[1:] + "/shared"); err != nil || string(got) != "everybody's" {
		t.Errorf("ReadFile: %q, %v", got, err)
	}
	_, err := f.Pull(t.Context(), dir, t.TempDir(), nil)
	incomplete, ok := errors.AsType[*client.IncompleteError](err)
	if !ok || incomplete.Failed != 2 || !strings.HasSuffix(incomplete.First.Path, "/secret") && !strings.HasSuffix(incomplete.First.Path, "/closed") {
		t.Errorf("Pull: %v, want an IncompleteError about secret and closed", err)
	}
}

func TestFSFindsNobodyWithThatName(t *testing.T) {
	a := agenttest.StartWith(t, agenttest.WithFiles)
	_, err := connect(t, a.Target).FS("no-such-user").ReadFile("etc/hosts")
	wantKind(t, errors.Unwrap(err), client.BadRequest)
}

func TestTransferLeavesOneRecord(t *testing.T) {
	for _, args := range []bool{false, true} {
		a := agenttest.StartWith(t, func(c *session.Config) { agenttest.WithFiles(c); c.LogArgs = args })
		f, dir := connect(t, a.Target).FS(""), t.TempDir()
		write(t, dir+"/src", "12345", 0o600)
		if _, err := f.Push(t.Context(), dir+"/src", dir+"/secret-name", nil); err != nil {
			t.Fatal(err)
		}
		log := a.Log.String()
		for _, want := range []string{`"message":"files ended"`, `"op":"push"`, `"copied_files":1`, `"copied_bytes":5`, `"failed":0`, `"code":0`} {
			if strings.Count(log, want) != 1 {
				t.Errorf("the log has %d × %s, want one: %s", strings.Count(log, want), want, log)
			}
		}
		if strings.Contains(log, "secret-name") != args {
			t.Errorf("LogArgs %v, and the log is %s", args, log)
		}
		if strings.Contains(log, "exec requested") {
			t.Errorf("the log has records of an exec: %s", log)
		}
	}
}

func TestEndOfContextEndsACopy(t *testing.T) {
	for name, do := range map[string]func(ctx context.Context, f *client.FS, dir string, o *client.CopyOptions) error{
		"push": func(ctx context.Context, f *client.FS, dir string, o *client.CopyOptions) error {
			_, err := f.Push(ctx, dir+"/big", dir+"/dst", o)
			return err
		},
		"pull": func(ctx context.Context, f *client.FS, dir string, o *client.CopyOptions) error {
			_, err := f.Pull(ctx, dir+"/big", dir+"/dst", o)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, dir := guestFiles(t), t.TempDir()
			data := bytes.Repeat([]byte("0123456789abcdef"), 4<<20) // 64 MiB
			if err := os.WriteFile(dir+"/big", data, 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			o := &client.CopyOptions{Progress: func(c client.CopyCounts) {
				if c.Bytes > 8<<20 {
					cancel()
				}
			}}
			err := do(ctx, f, dir, o)
			kept, ok := errors.AsType[*client.KeptError](err)
			if !errors.Is(err, context.Canceled) || !ok {
				t.Fatalf("error %v, want context.Canceled and a part that is kept", err)
			}
			if parts, _ := filepath.Glob(dir + "/.~cocoon-*"); len(parts) != 1 || filepath.Base(parts[0]) != kept.Path {
				t.Errorf("the parts are %q, want %s", parts, kept.Path)
			}
			if err := do(t.Context(), f, dir, nil); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(dir + "/dst"); err != nil || !bytes.Equal(got, data) {
				t.Errorf("the copy has %d bytes, %v", len(got), err)
			}
			if parts, _ := filepath.Glob(dir + "/.~cocoon-*"); len(parts) != 0 {
				t.Errorf("the parts are %q, want none", parts)
			}
		})
	}
}

func TestLostConnectionIsToldByACopy(t *testing.T) {
	a := agenttest.StartWith(t, agenttest.WithFiles)
	c, dir := connect(t, a.Target), t.TempDir()
	if err := os.WriteFile(dir+"/big", make([]byte, 64<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	o := &client.CopyOptions{Progress: func(n client.CopyCounts) {
		if n.Bytes > 8<<20 {
			_ = c.Close()
		}
	}}
	_, err := c.FS("").Pull(t.Context(), dir+"/big", dir+"/dst", o)
	kept, ok := errors.AsType[*client.KeptError](err)
	if !errors.Is(err, client.ErrLost) || !ok {
		t.Fatalf("error %v, want ErrLost and a part that is kept", err)
	}
	if _, err := os.Stat(filepath.Join(dir, kept.Path)); err != nil {
		t.Error(err)
	}
}

func TestKilledWorkerIsToldByACopy(t *testing.T) {
	a := agenttest.StartWith(t, agenttest.WithFiles)
	c, dir := connect(t, a.Target), t.TempDir()
	if err := os.WriteFile(dir+"/big", make([]byte, 64<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	o := &client.CopyOptions{Progress: func(client.CopyCounts) {
		once.Do(func() {
			execs, err := c.Execs(t.Context())
			if err != nil || len(execs.Execs) != 1 {
				t.Errorf("Execs: %v, %v, want one", execs, err)
				return
			}
			_ = syscall.Kill(execs.Execs[0].PID, syscall.SIGKILL)
		})
	}}
	_, err := c.FS("").Pull(t.Context(), dir+"/big", dir+"/dst", o)
	if err == nil || !strings.Contains(err.Error(), "ended early: signal") {
		t.Errorf("error %v, want that the guest's side ended early", err)
	}
	if _, err := os.Stat(dir + "/dst"); err == nil {
		t.Error("a file that is not whole has got its name")
	}
	if err := c.Ping(t.Context()); err != nil {
		t.Errorf("Ping: %v", err)
	}
}

func TestEndOfContextEndsATarThatBlocks(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	from, writer := io.Pipe()
	t.Cleanup(func() { _ = writer.Close() })
	go func() {
		_, _ = writer.Write([]byte{0}) // the copy has begun
		cancel()
	}()
	if _, err := guestFiles(t).PushTar(ctx, from, t.TempDir(), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("PushTar: %v, want context.Canceled", err)
	}
}

func TestTarGoesBothWays(t *testing.T) {
	f, dir := guestFiles(t), t.TempDir()
	var in, out bytes.Buffer
	w := tar.NewWriter(&in)
	for _, h := range []*tar.Header{
		{Name: "a/b/file", Size: 3, Mode: 0o640},
		{Name: "./c/", Typeflag: tar.TypeDir, Mode: 0o500},
		{Name: "a/hard", Typeflag: tar.TypeLink, Linkname: "a/b/file"},
		{Name: "a/soft", Typeflag: tar.TypeSymlink, Linkname: "/nowhere"},
		{Name: "../escape", Size: 3, Mode: 0o600},
		{Name: "/etc-like", Size: 3, Mode: 0o600},
		{Name: "fifo", Typeflag: tar.TypeFifo},
	} {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			_, _ = io.WriteString(w, "abc")
		}
	}
	_ = w.Close()
	counts, err := f.PushTar(t.Context(), &in, dir, nil)
	if _, ok := errors.AsType[*client.IncompleteError](err); !ok || counts.Failed != 1 || counts.Skipped != 1 {
		t.Fatalf("PushTar: %+v, %v; want one failure and one fifo", counts, err)
	}
	if _, err := os.Lstat(filepath.Dir(dir) + "/escape"); err == nil {
		t.Error("a name of the tar stream led out of the directory")
	}
	if _, err := f.PullTar(t.Context(), dir+"/a", &out, nil); err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	r := tar.NewReader(&out)
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, _ := io.ReadAll(r)
		found[h.Name] = string(h.Typeflag) + h.Linkname + string(data)
	}
	if found["a/"] != "5" || found["a/b/"] != "5" || found["a/soft"] != "2/nowhere" {
		t.Errorf("PullTar wrote %q", found)
	}
	if a, b := found["a/b/file"]+found["a/hard"], "0abc"; a != b+"1a/b/file" && a != "1a/hard"+b {
		t.Errorf("PullTar wrote %q", found)
	}
}
