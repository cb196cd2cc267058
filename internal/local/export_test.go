package local

import "strings"

// String returns what is tried.
func (a Address) String() string {
	var tries []string
	for _, e := range a.tries {
		tries = append(tries, e.network+" "+e.address)
	}
	return strings.Join(tries, ", ")
}
