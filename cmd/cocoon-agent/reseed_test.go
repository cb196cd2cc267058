package main

import (
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
)

func TestStepsOfAHostileGuestArePrintedShort(t *testing.T) {
	long := strings.Repeat("\x1b€", 10_000)
	steps := make([]client.ReseedStep, 1000)
	for n := range steps {
		steps[n] = client.ReseedStep{Name: "x", Err: &client.RemoteError{Kind: client.Internal, Message: long}}
	}
	var out strings.Builder
	if err := printSteps(&out, steps); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != maxSteps+1 || lines[maxSteps] != "… and 936 more" || out.Len() > 128<<10 || strings.Contains(out.String(), "\x1b") {
		t.Errorf("%d lines, %d bytes, the last is %q", len(lines), out.Len(), lines[len(lines)-1])
	}
}

func TestStepsAsJSON(t *testing.T) {
	var out strings.Builder
	if err := printStepsJSON(&out, []client.ReseedStep{
		{Name: "entropy", Changed: true},
		{Name: "hostname", Note: "n", Err: &client.RemoteError{Kind: client.Internal, Message: "m\u202e"}},
	}); err != nil {
		t.Fatal(err)
	}
	want := `{"steps":[{"name":"entropy","changed":true,"note":"","error_kind":"","error":""},` +
		`{"name":"hostname","changed":false,"note":"n","error_kind":"internal","error":"m\u202e"}]}` + "\n"
	if out.String() != want {
		t.Errorf("%s, want %s", out.String(), want)
	}
}
