package plain

import (
	"regexp"
	"strings"
	"unicode"
)

// A rule is a kind of phrase that the house style forbids.
type rule struct {
	name    string
	pattern *regexp.Regexp
	except  *regexp.Regexp // matches the text up to the end of a phrase that is allowed; may be nil
	write   string         // what to write instead
}

// MaxWords is how many words a sentence may have.
const MaxWords = 35

// places are words that may precede the word (where): it then means a place, or asks
// for one.
const places = `place|places|spot|point|position|offset|line|lines|file|files|directory|directories|path|address|` +
	`socket|section|side|table|list|field|page|package|function|machine|host|guest|system|kernel|memory|` +
	`know|knows|known|knew|say|says|said|saying|tell|tells|told|see|sees|find|finds|show|shows|learn|ask|asks|` +
	`decide|decides|choose|chooses|name|names|remember|remembers|matter|note|notes|` +
	`from|to|of|is|are|was|be|stays?|goes|and|exactly|just|right|back|anywhere|everywhere|somewhere`

var rules = []rule{
	{
		name:    "where",
		pattern: regexp.MustCompile(`(?i)\bwhere\b`),
		except:  regexp.MustCompile(`(?i)\b(?:` + places + `)\s+where$|\(where$|^(?-i:where)$`),
		write:   `"if" or "when" for a condition; "where" is for places`,
	},
	{
		name:    "is none",
		pattern: regexp.MustCompile(`(?i)\b(?:is|are|was|were)\s+none\b`),
		except:  regexp.MustCompile(`(?i)\bthere\s+(?:is|are|was|were)\s+none$`),
		write:   `the positive term, or "is not a …", "there is no …"`,
	},
	{
		name:    "is no",
		pattern: regexp.MustCompile(`(?i)\b(?:is|are|was|were)\s+no\s+[a-z]+`),
		except:  regexp.MustCompile(`(?i)\bthere\s+(?:is|are|was|were)\s+no\s+[a-z]+$|\bno\s+(?:longer|more|less|fewer|later|earlier|sooner|larger|smaller|greater|higher|lower|one|other|different)$`),
		write:   `"is not a …" or "there is no …"`,
	},
	{
		name:    "says so",
		pattern: regexp.MustCompile(`(?i)\b(?:say|says|said|tell|tells|told)\s+so\b`),
		write:   "what it says: the error, the status, the value",
	},
	{
		name:    "for want of",
		pattern: regexp.MustCompile(`(?i)\bfor\s+want\s+of\b`),
		write:   `"because there is no …" or "without …"`,
	},
	{
		name:    "of which",
		pattern: regexp.MustCompile(`(?i)\b(?:of|by)\s+which\b`),
		write:   `two sentences, or "whose", "and … of them", "with"`,
	},
	{
		name:    "to be had",
		pattern: regexp.MustCompile(`(?i)\bto\s+be\s+had\b`),
		write:   `"available"`,
	},
}

// Names of the rules that are about whole sentences.
const (
	whatRule = "what opening"
	longRule = "long sentence"
)

// A Hit is a phrase that breaks a rule.
type Hit struct {
	Line   int
	Rule   string
	Phrase string
	Write  string
}

// check returns the hits of a paragraph, in the order of the rules.
func (p *paragraph) check() []Hit {
	text := p.text.String()
	var hits []Hit
	for _, r := range rules {
		for _, at := range r.pattern.FindAllStringIndex(text, -1) {
			if r.except == nil || !r.except.MatchString(text[:at[1]]) {
				hits = append(hits, Hit{p.line(at[0]), r.name, text[at[0]:at[1]], r.write})
			}
		}
	}
	for _, s := range sentences(text) {
		body := text[s.from:s.to]
		words := strings.FieldsFunc(body, unicode.IsSpace)
		if opensWithWhat(words) && !strings.HasSuffix(body, "?") {
			hits = append(hits, Hit{p.line(s.from), whatRule, opening(words), "the actor first: subject, verb, object"})
		}
		if countWords(words) > MaxWords {
			hits = append(hits, Hit{p.line(s.from), longRule, opening(words), "two sentences"})
		}
	}
	return hits
}

func opensWithWhat(words []string) bool {
	return len(words) > 3 && (words[0] == "What" || words[0] == "Who" || words[0] == "Whoever" || words[0] == "Whatever")
}

// opening is the beginning of a sentence, to find it by.
func opening(words []string) string {
	const shown = 5
	if len(words) <= shown {
		return strings.Join(words, " ")
	}
	return strings.Join(words[:shown], " ") + " …"
}

func countWords(fields []string) int {
	n := 0
	for _, f := range fields {
		if strings.ContainsFunc(f, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }) {
			n++
		}
	}
	return n
}

type span struct{ from, to int }

var sentenceEnd = regexp.MustCompile("[.!?][)\"”]?\\s+[\"“(`\\[]?[\\p{Lu}\\d]")

// sentences splits a paragraph. A full stop ends one if a capital letter follows.
func sentences(text string) []span {
	var all []span
	from := 0
	for _, at := range sentenceEnd.FindAllStringIndex(text, -1) {
		end := at[0] + 1
		if abbreviated(text[from:end]) {
			continue
		}
		all = append(all, span{from, end})
		from = end + len(text[end:]) - len(strings.TrimLeft(text[end:], ")\"” "))
	}
	if rest := strings.TrimSpace(text[from:]); rest != "" {
		all = append(all, span{from, from + len(rest)})
	}
	return all
}

// abbreviated reports whether the text ends with an abbreviation.
func abbreviated(text string) bool {
	for _, s := range []string{"e.g.", "i.e.", "cf.", "vs.", "No."} {
		if strings.HasSuffix(text, s) {
			return true
		}
	}
	return false
}
