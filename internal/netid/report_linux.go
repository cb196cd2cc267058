package netid

import (
	"slices"
	"strings"
)

// A report gathers the outcomes of all interfaces.
type report struct {
	changed map[string]bool
	notes   map[string][]string
	errs    map[string][]error
}

func newReport() *report {
	return &report{map[string]bool{}, map[string][]string{}, map[string][]error{}}
}

func (r *report) note(step, text string) {
	if !slices.Contains(r.notes[step], text) {
		r.notes[step] = append(r.notes[step], text)
	}
}

// fail notes an error. Steps are tried again: one with the same text is noted once.
func (r *report) fail(step string, err error) {
	same := func(other error) bool { return other.Error() == err.Error() }
	if err != nil && !slices.ContainsFunc(r.errs[step], same) {
		r.errs[step] = append(r.errs[step], err)
	}
}

func (r *report) outcomes() []Outcome {
	all := make([]Outcome, len(steps))
	for i, step := range steps {
		all[i] = Outcome{Step: step, Changed: r.changed[step], Note: strings.Join(r.notes[step], "; "), Err: joined(r.errs[step])}
	}
	return all
}

// failures are errors in one line.
type failures []error

func joined(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	return failures(errs)
}

func (f failures) Error() string {
	texts := make([]string, len(f))
	for i, err := range f {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

func (f failures) Unwrap() []error { return f }
