package main

import (
	"fmt"
	"io"
	"runtime"

	"github.com/alecthomas/kong"

	"github.com/cocoonstack/cocoon-agent/client"
)

type versionCommand struct{}

func (versionCommand) Run(k *kong.Kong) error {
	return printVersion(k.Stdout)
}

func printVersion(w io.Writer) error {
	_, err := fmt.Fprintf(w, "cocoon-agent %s\nrevision: %s\nprotocol: %d to %d\ngo: %s %s/%s\n",
		version, revision, client.ProtocolMin, client.ProtocolMax,
		runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
