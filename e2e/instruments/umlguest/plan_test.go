//go:build linux

package main

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestPlanIsReadAsWritten(t *testing.T) {
	dir := t.TempDir()
	o := options{
		command: []string{"sh", "-c", "exit 7"}, dir: "/root", hostname: "a", modules: "/m", loopback: true,
		env: list{"A=b"}, keep: list{"."}, share: list{dir}, tmpfs: list{"/srv"},
	}
	want, err := o.plan(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := want.write(); err != nil {
		t.Fatal(err)
	}
	t.Setenv(planVariable, filepath.Join(dir, planName))
	got, err := readPlan()
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("readPlan() = %+v, %v, want %+v", got, err, want)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if !filepath.IsAbs(got.Args[0]) || !slices.Equal(got.Keep, []string{here, filepath.Dir(got.Args[0])}) {
		t.Errorf("plan() keeps %q for %q, want this directory and the command's", got.Keep, got.Args[0])
	}
}

func TestPlanNeedsWhatItNames(t *testing.T) {
	for _, o := range []options{
		{command: []string{"no-such-command"}},
		{command: []string{"sh"}, keep: list{"/no/such/path"}},
		{command: []string{"sh"}, share: list{"/no/such/path"}},
	} {
		if p, err := o.plan(t.TempDir()); err == nil {
			t.Errorf("%+v: plan() = %+v, want an error", o, p)
		}
	}
}

func TestKernelArgs(t *testing.T) {
	args, err := options{mem: "1G", vsock: "/run/v.sock", karg: list{`a="b c"`}}.kernelArgs("/tmp/dir")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"mem=1G", "ro", "virtio_uml.device=/run/v.sock:19", planVariable + "=/tmp/dir/plan", `a="b c"`} {
		if !slices.Contains(args, want) {
			t.Errorf("kernelArgs() = %q, which has no %q", args, want)
		}
	}
	args, err = options{}.kernelArgs("/tmp/dir")
	if err != nil || strings.Contains(strings.Join(args, " "), "virtio_uml") {
		t.Errorf("kernelArgs() without a device = %q, %v", args, err)
	}
}

func TestKernelArgsOfADisk(t *testing.T) {
	args, err := options{mem: "1G", disk: "/srv/debian.ext4"}.kernelArgs("/tmp/dir")
	if err != nil || !slices.Contains(args, "ubd0=/tmp/dir/written,/srv/debian.ext4") || !slices.Contains(args, "root=/dev/ubda") {
		t.Errorf("kernelArgs() = %q, %v, want the disk and what is written in its place", args, err)
	}
	if text := strings.Join(args, " "); strings.Contains(text, "hostfs") || strings.Contains(text, "init=") {
		t.Errorf("kernelArgs() = %q, want nothing of the host's root", args)
	}
}

func TestKernelArgsRejectsPathsThatWouldSplit(t *testing.T) {
	for _, path := range []string{"/tmp/a b", "/tmp/a,b", `/tmp/"a"`, "/tmp/a\nb"} {
		for _, o := range []options{{vsock: path}, {disk: path}} {
			if args, err := o.kernelArgs("/tmp/dir"); err == nil {
				t.Errorf("kernelArgs() with %q = %q, want an error", path, args)
			}
		}
	}
}

func TestHidden(t *testing.T) {
	for path, want := range map[string]bool{
		"/tmp/a": true, "/run/a/b": true, "/tmp": false, "/run": false, "/tmpfiles": false, "/": false, "/usr/tmp/a": false,
	} {
		if got := hidden(path); got != want {
			t.Errorf("hidden(%q) = %v, want %v", path, got, want)
		}
	}
}
