//go:build linux

package client_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

func TestCmdHasTheNotesOfTheAgent(t *testing.T) {
	for _, x := range []struct {
		name        string
		notes, want []string
	}{
		{"none", nil, nil},
		{"two, one unknown", []string{"unknown_uid", "a new one"}, []string{"unknown_uid", "a new one"}},
		{"for the terminal", []string{"\x1b[2J"}, []string{"\uFFFD[2J"}},
		{"too many", make([]string, 1000), make([]string, 16)},
		{"too long", []string{strings.Repeat("x", 1000)}, []string{strings.Repeat("x", 61) + "…"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			c, g := hostile(t)
			cmd := c.Command("anything")
			result := make(chan error, 1)
			go func() { result <- cmd.Start() }() // ends by started
			e := g.receive().(*wire.Exec)
			g.send(&wire.Started{Head: wire.Head{ID: e.ID}, PID: 42, Notes: x.notes})
			if err := <-result; err != nil {
				t.Fatal(err)
			}
			if got := cmd.Notes(); !slices.Equal(got, x.want) {
				t.Errorf("Notes = %q, want %q", got, x.want)
			}
			_ = c.Close()
			_ = cmd.Wait()
		})
	}
}
