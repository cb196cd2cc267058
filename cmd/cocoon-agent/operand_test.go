package main

import (
	"runtime"
	"testing"
)

func TestParseOperandTellsSidesApart(t *testing.T) {
	windows := runtime.GOOS == "windows"
	for text, want := range map[string]struct {
		path  string
		guest bool
		tar   bool
		bad   bool
	}{
		"file":     {path: "file"},
		":file":    {path: "file", guest: true},
		"vm:/file": {path: "/file", guest: true},
		":a:b":     {path: "a:b", guest: true},
		"./a:b":    {path: "./a:b"},
		"/a:b":     {path: "/a:b"},
		"d/a:b":    {path: "d/a:b"},
		"web1:x":   {bad: true},
		"C:x":      {path: "C:x", bad: !windows},
		`C:\x`:     {path: `C:\x`, bad: !windows},
		"-":        {tar: true},
		"./-":      {path: "./-"},
		":-":       {path: "-", guest: true},
		"":         {bad: true},
		":":        {bad: true},
		"vm:":      {bad: true},
	} {
		got, err := parseOperand(text)
		if (err != nil) != want.bad {
			t.Errorf("parseOperand(%q): %v, want an error: %v", text, err, want.bad)
		}
		if err == nil && got != (operand{path: want.path, guest: want.guest, tar: want.tar}) {
			t.Errorf("parseOperand(%q) = %+v, want %+v", text, got, want)
		}
	}
}
