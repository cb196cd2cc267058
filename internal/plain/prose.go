package plain

import (
	"bytes"
	"regexp"
	"sort"
	"strings"
)

// A paragraph is prose on one line, that remembers its lines in the file.
type paragraph struct {
	text   strings.Builder
	starts []start
}

// A start is where in the text a line of the file begins.
type start struct{ at, line int }

func (p *paragraph) add(line int, text string) {
	if p.text.Len() > 0 {
		p.text.WriteByte(' ')
	}
	p.starts = append(p.starts, start{p.text.Len(), line})
	p.text.WriteString(text)
}

// line returns the line of the file that has the text at an offset.
func (p *paragraph) line(at int) int {
	i := sort.Search(len(p.starts), func(i int) bool { return p.starts[i].at > at })
	return p.starts[i-1].line
}

// A splitter collects lines into paragraphs.
type splitter struct {
	all  []*paragraph
	open *paragraph
}

func (s *splitter) add(line int, text string) {
	if s.open == nil {
		s.open = new(paragraph)
		s.all = append(s.all, s.open)
	}
	s.open.add(line, text)
}

func (s *splitter) end() { s.open = nil }

var listItem = regexp.MustCompile(`^(?:[-*+•]|\d+[.)])\s+`)

// prose adds one line of plain text. A line that is indented and no list item is code.
func (s *splitter) prose(line int, text string) {
	trimmed := strings.TrimSpace(text)
	switch {
	case trimmed == "":
		s.end()
	case listItem.MatchString(trimmed):
		s.end()
		s.add(line, listItem.ReplaceAllString(trimmed, ""))
	case s.open == nil && (strings.HasPrefix(text, "\t") || strings.HasPrefix(text, "  ")): // code
	default:
		s.add(line, trimmed)
	}
}

var (
	codeSpan = regexp.MustCompile("`[^`]*`")
	link     = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// markdown returns the prose of a Markdown file: no headings, tables or code.
func markdown(source []byte) []*paragraph {
	var s splitter
	fenced, comment := false, false
	for i, raw := range bytes.Split(source, []byte("\n")) {
		line := string(raw)
		trimmed := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(trimmed, "```"), strings.HasPrefix(trimmed, "~~~"):
			fenced = !fenced
			s.end()
		case fenced:
		case comment || strings.HasPrefix(trimmed, "<!--"):
			comment = !strings.Contains(trimmed, "-->")
			s.end()
		case strings.HasPrefix(trimmed, "#"), strings.HasPrefix(trimmed, "|"), strings.HasPrefix(trimmed, "<"):
			s.end()
		default:
			line = strings.TrimPrefix(line, "> ")
			s.prose(i+1, link.ReplaceAllString(codeSpan.ReplaceAllString(line, "CODE"), "$1"))
		}
	}
	return s.all
}
