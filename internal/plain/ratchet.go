package plain

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// A Key is a rule in a file.
type Key struct{ File, Rule string }

// Counts are how many hits each rule has in each file.
type Counts map[Key]int

// Count counts hits.
func Count(all map[string][]Hit) Counts {
	counts := make(Counts)
	for file, hits := range all {
		for _, h := range hits {
			counts[Key{file, h.Rule}]++
		}
	}
	return counts
}

// Parse reads what [Counts.String] has written.
func Parse(text string) (Counts, error) {
	counts := make(Counts)
	for i, line := range strings.Split(text, "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		fields := strings.SplitN(line, "\t", 3)
		if len(fields) != 3 {
			return nil, fmt.Errorf("line %d: want FILE, RULE and COUNT, separated by tabs", i+1)
		}
		n, err := strconv.Atoi(fields[2])
		if err != nil || n < 1 {
			return nil, fmt.Errorf("line %d: count %q: want a number, 1 or more", i+1, fields[2])
		}
		counts[Key{fields[0], fields[1]}] = n
	}
	return counts, nil
}

const header = "# Hits of each rule in each file: they may fall (make plain-lower), not rise. See internal/plain.\n"

// String returns the counts as text, sorted.
func (c Counts) String() string {
	var b strings.Builder
	b.WriteString(header)
	for _, k := range c.keys() {
		fmt.Fprintf(&b, "%s\t%s\t%d\n", k.File, k.Rule, c[k])
	}
	return b.String()
}

func (c Counts) keys() []Key {
	return slices.SortedFunc(maps.Keys(c), func(a, b Key) int {
		return strings.Compare(a.File+"\t"+a.Rule, b.File+"\t"+b.Rule)
	})
}

// Risen returns the keys that have more hits than allowed, sorted.
func (c Counts) Risen(allowed Counts) []Key {
	return slices.DeleteFunc(c.keys(), func(k Key) bool { return c[k] <= allowed[k] })
}

// Lowered returns the lower of both counts, without those that are zero.
func (c Counts) Lowered(allowed Counts) Counts {
	low := make(Counts)
	for k, n := range allowed {
		if n = min(n, c[k]); n > 0 {
			low[k] = n
		}
	}
	return low
}

// Total returns the hits of all files, by rule.
func (c Counts) Total() map[string]int {
	total := make(map[string]int)
	for k, n := range c {
		total[k.Rule] += n
	}
	return total
}
