// Command cmd checks the English of this repository (package plain) against the
// ratchet in internal/plain/ratchet.txt. Run it in the root, by make lint.
//
//	go run ./internal/plain/cmd          fail if a count has risen
//	go run ./internal/plain/cmd -lower   lower the ratchet to the counts that have fallen
//	go run ./internal/plain/cmd -all     list all hits, also the allowed ones
//	go run ./internal/plain/cmd -reset   take the counts as they are, after files were moved
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/cocoonstack/cocoon-agent/internal/plain"
)

const ratchet = "internal/plain/ratchet.txt"

func main() {
	lower := flag.Bool("lower", false, "lower the ratchet to the counts that have fallen")
	reset := flag.Bool("reset", false, "take the counts as they are, after files were moved")
	all := flag.Bool("all", false, "list all hits, also the allowed ones")
	flag.Parse()
	if err := run(os.Stdout, *lower, *reset, *all); err != nil {
		fmt.Fprintln(os.Stderr, "plain:", err)
		os.Exit(1)
	}
}

func run(out io.Writer, lower, reset, all bool) error {
	hits, err := plain.CheckAll(os.DirFS("."))
	if err != nil {
		return err
	}
	counts := plain.Count(hits)
	if reset {
		return os.WriteFile(ratchet, []byte(counts.String()), 0o644)
	}
	text, err := os.ReadFile(ratchet)
	if err != nil {
		return err
	}
	allowed, err := plain.Parse(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", ratchet, err)
	}
	if all {
		list(out, hits, counts)
		return nil
	}
	if lower {
		return os.WriteFile(ratchet, []byte(counts.Lowered(allowed).String()), 0o644)
	}
	risen := counts.Risen(allowed)
	for _, k := range risen {
		fmt.Fprintf(out, "%s: %d of %q, %d allowed:\n", k.File, counts[k], k.Rule, allowed[k])
		for _, h := range hits[k.File] {
			if h.Rule == k.Rule {
				show(out, k.File, h)
			}
		}
	}
	if len(risen) > 0 {
		return errors.New("plain English: rewrite as many of these as are new")
	}
	return nil
}

func list(out io.Writer, hits map[string][]plain.Hit, counts plain.Counts) {
	for _, file := range slices.Sorted(maps.Keys(hits)) {
		for _, h := range hits[file] {
			show(out, file, h)
		}
	}
	total := counts.Total()
	for _, rule := range slices.Sorted(maps.Keys(total)) {
		fmt.Fprintf(out, "%s: %d\n", rule, total[rule])
	}
}

func show(out io.Writer, file string, h plain.Hit) {
	fmt.Fprintf(out, "%s:%d: %q → write %s\n", file, h.Line, h.Phrase, h.Write)
}
