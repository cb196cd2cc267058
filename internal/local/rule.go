package local

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
)

// Rules say which addresses may be connected to: those that one of them names.
// nil allows every address of the machine, and empty ones allow none.
type Rules []Rule

// A Rule names addresses.
type Rule struct {
	network   string // "tcp" or "unix"
	low, high uint64 // of ports; tcp
	pattern   string // of path.Match; unix
}

// ParseRules parses "none", alone, or any number of
//
//	tcp:PORT, tcp:LOW-HIGH, tcp:*    ports, on any loopback address
//	unix:/PATH, unix:@NAME           Unix sockets; *, ? and [a-z] as path.Match has them
//
// Nothing in a pattern matches a slash but a slash.
func ParseRules(texts []string) (Rules, error) {
	rules := Rules{}
	for _, text := range texts {
		if text == "none" {
			if len(texts) > 1 {
				return nil, errors.New(`rule "none" excludes all others`)
			}
			continue
		}
		r, err := parseRule(text)
		if err != nil {
			return nil, fmt.Errorf("rule %q: %w", text, err)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// ParsePortRules is ParseRules for addresses to listen on, which are ports alone.
func ParsePortRules(texts []string) (Rules, error) {
	for _, text := range texts {
		if text != "none" && !strings.HasPrefix(text, "tcp:") {
			return nil, fmt.Errorf("rule %q: want tcp:PORT, tcp:LOW-HIGH, tcp:* or none", text)
		}
	}
	return ParseRules(texts)
}

func parseRule(text string) (Rule, error) {
	network, rest, _ := strings.Cut(text, ":")
	switch network {
	case "tcp":
		return parsePorts(rest)
	case "unix":
		return parsePattern(rest)
	default:
		return Rule{}, errors.New("want tcp:PORT, tcp:LOW-HIGH, tcp:*, unix:/PATH, unix:@NAME or none")
	}
}

func parsePorts(text string) (Rule, error) {
	if text == "*" {
		return Rule{network: "tcp", low: 1, high: 65535}, nil
	}
	lowText, highText, isRange := strings.Cut(text, "-")
	if !isRange {
		highText = lowText
	}
	low, err := strconv.ParseUint(lowText, 10, 16)
	high, err2 := strconv.ParseUint(highText, 10, 16)
	if err != nil || err2 != nil || low == 0 || high < low {
		return Rule{}, errors.New("want a port from 1 to 65535, LOW-HIGH or *")
	}
	return Rule{network: "tcp", low: low, high: high}, nil
}

func parsePattern(pattern string) (Rule, error) {
	for part := range strings.SplitSeq(pattern, "/") {
		if _, err := path.Match(part, ""); err != nil {
			return Rule{}, fmt.Errorf("bad pattern %q: %w", part, err)
		}
	}
	abstract := strings.HasPrefix(pattern, "@") && len(pattern) > 1
	if !abstract && (!strings.HasPrefix(pattern, "/") || path.Clean(pattern) != pattern) {
		return Rule{}, errors.New("want an absolute path without . and .. and doubled slashes, or @ and a name")
	}
	return Rule{network: "unix", pattern: pattern}, nil
}

// Allow says whether a may be connected to, or listened on. Any port is allowed by tcp:* only. A path with "..", "." or doubled
// slashes is not allowed. A symbolic link is allowed by its own name, wherever it
// leads: rules should name directories to which only trusted users write.
func (rules Rules) Allow(a Address) bool {
	if rules == nil {
		return true
	}
	for _, e := range a.tries {
		if !rules.allowEndpoint(e) {
			return false
		}
	}
	return true
}

func (rules Rules) allowEndpoint(e endpoint) bool {
	for _, r := range rules {
		if r.allows(e) {
			return true
		}
	}
	return false
}

func (r Rule) allows(e endpoint) bool {
	if e.network == "unix" {
		ok := matchParts(r.pattern, e.address)
		clean := strings.HasPrefix(e.address, "@") || path.Clean(e.address) == e.address
		return r.network == "unix" && ok && clean
	}
	port := e.address[strings.LastIndexByte(e.address, ':')+1:]
	n, err := strconv.ParseUint(port, 10, 16)
	anyPort := n == 0 && r.low == 1 && r.high == 65535
	return r.network == "tcp" && err == nil && (anyPort || r.low <= n && n <= r.high)
}

// matchParts is path.Match for each part between slashes: by itself [+-9], for one,
// matches a slash.
func matchParts(pattern, name string) bool {
	patterns, names := strings.Split(pattern, "/"), strings.Split(name, "/")
	if len(patterns) != len(names) {
		return false
	}
	for i := range patterns {
		if ok, err := path.Match(patterns[i], names[i]); !ok || err != nil {
			return false
		}
	}
	return true
}
