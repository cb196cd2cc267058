// Package clidoc renders a command line as Markdown, for docs/cli.md. It knows no
// command-line parser: the tests of cmd/cocoon-agent translate the grammar.
package clidoc

import (
	"fmt"
	"slices"
	"strings"
)

// A Program is a command line and the text around it.
type Program struct {
	Name     string
	Intro    string // Markdown
	Commands []Command

	// Variables are the environment variables that no flag has.
	Variables []Variable
}

// A Command is one command of a program. Detail is plain text: paragraphs, and
// indented blocks that keep their lines.
type Command struct {
	Name, Usage, Help, Detail string
	Aliases                   []string
	Args                      []Argument
	Flags                     []Flag

	// Guest says that the arguments are another command, whose flags are its own.
	Guest bool

	// Notes are sections of the manual page alone, after the options.
	Notes []Note
}

// A Note is a section of plain text, as Detail is.
type Note struct{ Title, Text string }

// An Argument is a positional argument.
type Argument struct{ Name, Help string }

// A Flag is an option. Its default is part of Help ("… Default: X." or "… (X)" at
// the end), or else Default.
type Flag struct {
	Short, Name, Value, Default, Env, Help string

	Values    string // that the value may be, with spaces between them; "": any
	List      bool   // the value is some of them, with commas between
	Negatable bool   // there is --no-NAME
}

// A Variable is an environment variable, and the command that reads it.
type Variable struct{ Name, Command, Help string }

// shared is how many commands must have the flags that are documented only once.
const shared = 3

// Markdown returns the whole document.
func Markdown(p Program) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Command line\n\n%s\n\n", p.Intro)
	b.WriteString("| Command | |\n| --- | --- |\n")
	for _, c := range p.Commands {
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s |\n", c.Name, anchor(p.Name+" "+c.Name), inline(c.Help))
	}
	common := commonFlags(p.Commands)
	for _, c := range p.Commands {
		writeCommand(&b, p.Name, c, common)
	}
	if len(common) > 0 {
		b.WriteString("\n## Common flags\n\nAll commands that connect to an agent have these flags.\n")
		writeFlags(&b, common)
	}
	writeVariables(&b, p)
	return b.String()
}

// commonFlags returns the flags that most commands have, in their order: those that connect
// to an agent.
func commonFlags(commands []Command) []Flag {
	count := make(map[Flag]int)
	var all []Flag
	for _, c := range commands {
		for _, f := range c.Flags {
			count[f]++
			if count[f] == 1 {
				all = append(all, f)
			}
		}
	}
	most := shared
	for _, n := range count {
		most = max(most, n)
	}
	return slices.DeleteFunc(all, func(f Flag) bool { return count[f] < most })
}

func writeCommand(b *strings.Builder, program string, c Command, common []Flag) {
	fmt.Fprintf(b, "\n## %s %s\n\n%s\n\n```text\n%s\n```\n", program, c.Name, inline(c.Help), c.Usage)
	writeDetail(b, c.Detail)
	for _, a := range c.Args {
		fmt.Fprintf(b, "\n- `%s`: %s\n", a.Name, inline(a.Help))
	}
	own := slices.DeleteFunc(slices.Clone(c.Flags), func(f Flag) bool { return slices.Contains(common, f) })
	writeFlags(b, own)
	if len(own) < len(c.Flags) {
		b.WriteString("\nSee also the [common flags](#common-flags).\n")
	}
}

// writeDetail makes code blocks of indented lines.
func writeDetail(b *strings.Builder, text string) {
	for _, paragraph := range strings.Split(text, "\n\n") {
		switch {
		case paragraph == "":
		case !strings.HasPrefix(paragraph, "  "):
			fmt.Fprintf(b, "\n%s\n", inline(paragraph))
		default:
			language := "text"
			if strings.Contains(paragraph, "cocoon-agent ") {
				language = "sh"
			}
			lines := strings.Split(paragraph, "\n")
			for i, line := range lines {
				lines[i] = strings.TrimPrefix(line, "  ")
			}
			fmt.Fprintf(b, "\n```%s\n%s\n```\n", language, strings.Join(lines, "\n"))
		}
	}
}

func writeFlags(b *strings.Builder, flags []Flag) {
	if len(flags) == 0 {
		return
	}
	b.WriteString("\n| Flag | Default | Meaning |\n| --- | --- | --- |\n")
	for _, f := range flags {
		help, value := splitDefault(f.Help)
		if value == "" {
			value = f.Default
		}
		if f.Env != "" {
			help += " Environment: `" + f.Env + "`."
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", flagName(f), defaultCell(value), help)
	}
}

func flagName(f Flag) string {
	name := "--" + f.Name
	if f.Value != "" {
		name += "=" + f.Value
	}
	if f.Short != "" {
		return "`-" + f.Short + "`, `" + name + "`"
	}
	return "`" + name + "`"
}

func defaultCell(value string) string {
	if value == "" || strings.Contains(value, " ") {
		return inline(value)
	}
	return "`" + value + "`"
}

// splitDefault takes the default out of a help text, and returns the rest as Markdown.
func splitDefault(help string) (rest, value string) {
	if before, after, found := strings.Cut(help, " Default: "); found {
		return inline(before), strings.TrimSuffix(after, ".")
	}
	if strings.HasSuffix(help, ")") {
		if i := strings.LastIndex(help, ". ("); i >= 0 {
			return inline(help[:i+1]), help[i+3 : len(help)-1]
		}
	}
	return inline(help), ""
}

func writeVariables(b *strings.Builder, p Program) {
	b.WriteString("\n## Environment variables\n\n| Variable | Command | Meaning |\n| --- | --- | --- |\n")
	for _, v := range allVariables(p) {
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", v.Name, v.Command, inline(v.Help))
	}
}

// users lists the commands that read an environment variable.
func users(commands []Command, env string) string {
	var names []string
	for _, c := range commands {
		if slices.ContainsFunc(c.Flags, func(f Flag) bool { return f.Env == env }) {
			names = append(names, c.Name)
		}
	}
	return strings.Join(names, ", ")
}

// anchor is the fragment that GitHub gives to a heading.
func anchor(heading string) string { return strings.ReplaceAll(heading, " ", "-") }
