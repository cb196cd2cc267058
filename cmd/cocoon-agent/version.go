package main

import (
	"cmp"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/alecthomas/kong"

	"github.com/cocoonstack/cocoon-agent/client"
)

// Set by the linker: make build.
var version, revision string

// programVersion returns the version and the revision that the program was built
// from. If the linker has not set them, the go command has: "go install" of a
// version knows the version, and a build in a clone both.
func programVersion() (version, revision string) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = new(debug.BuildInfo)
	}
	return versionOf(info)
}

func versionOf(info *debug.BuildInfo) (v, r string) {
	built := info.Main.Version
	if built == "(devel)" {
		built = ""
	}
	vcs := ""
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			vcs = s.Value
		}
	}
	return cmp.Or(version, built, "dev"), cmp.Or(revision, vcs, "unknown")
}

type versionCommand struct {
	JSON bool `name:"json" help:"Print one JSON object."`
}

// Run prints.
func (v *versionCommand) Run(k *kong.Kong) error {
	if v.JSON {
		return printVersionJSON(k.Stdout)
	}
	return printVersion(k.Stdout)
}

// printVersionJSON is a contract: names stay.
func printVersionJSON(w io.Writer) error {
	v, r := programVersion()
	return writeJSON(w, struct {
		Version     string `json:"version"`
		Revision    string `json:"revision"`
		ProtocolMin int    `json:"protocol_min"`
		ProtocolMax int    `json:"protocol_max"`
		Go          string `json:"go"`
		OS          string `json:"os"`
		Arch        string `json:"arch"`
	}{v, r, int(client.ProtocolMin), int(client.ProtocolMax), runtime.Version(), runtime.GOOS, runtime.GOARCH})
}

func printVersion(w io.Writer) error {
	v, r := programVersion()
	_, err := fmt.Fprintf(w, "cocoon-agent %s\nrevision: %s\nprotocol: %d to %d\ngo: %s %s/%s\n",
		v, r, client.ProtocolMin, client.ProtocolMax,
		runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
