package plain

import (
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// goProse returns the comments of a Go file, and unless it is a test its help, error
// and log texts.
func goProse(name string, source []byte) ([]*paragraph, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var s splitter
	for _, group := range file.Comments {
		for _, c := range group.List {
			addComment(&s, fset.Position(c.Pos()).Line, c.Text)
		}
		s.end()
	}
	if strings.HasSuffix(name, "_test.go") {
		return s.all, nil
	}
	ast.Inspect(file, func(n ast.Node) bool {
		for _, literal := range texts(n) {
			addLiteral(&s, fset.Position(literal.Pos()).Line, literal)
		}
		return true
	})
	return s.all, nil
}

func addComment(s *splitter, line int, text string) {
	text, isLine := strings.CutPrefix(text, "//")
	if isLine && (strings.HasPrefix(text, "go:") || strings.HasPrefix(text, "nolint") || strings.HasPrefix(text, " +build")) {
		return
	}
	if !isLine {
		text = strings.TrimSuffix(strings.TrimPrefix(text, "/*"), "*/")
	}
	for i, l := range strings.Split(text, "\n") {
		s.prose(line+i, strings.TrimPrefix(l, " "))
	}
}

func addLiteral(s *splitter, line int, literal *ast.BasicLit) {
	text, err := strconv.Unquote(literal.Value)
	if err != nil {
		return
	}
	if help, tagged := reflect.StructTag(text).Lookup("help"); tagged {
		text = help
	}
	raw := literal.Value[0] == '`'
	for i, l := range strings.Split(text, "\n") {
		if !raw {
			i = 0
		}
		s.prose(line+i, l)
	}
	s.end()
}

// speakers are functions whose string argument is read by people.
var speakers = []string{"Msg", "Errorf", "New", "misuse"}

// texts returns the literals of a node that are read by people.
func texts(n ast.Node) []*ast.BasicLit {
	switch n := n.(type) {
	case *ast.Field:
		if n.Tag != nil && strings.Contains(n.Tag.Value, "help:") {
			return []*ast.BasicLit{n.Tag}
		}
	case *ast.FuncDecl:
		if n.Name.Name == "Help" && n.Body != nil {
			return literals(n.Body)
		}
	case *ast.ValueSpec:
		if n.Names[0].Name == "description" {
			return literals(n)
		}
	case *ast.CallExpr:
		if len(n.Args) > 0 && slices.Contains(speakers, called(n.Fun)) {
			if literal, ok := n.Args[0].(*ast.BasicLit); ok && literal.Kind == token.STRING {
				return []*ast.BasicLit{literal}
			}
		}
	}
	return nil
}

func literals(root ast.Node) []*ast.BasicLit {
	var all []*ast.BasicLit
	ast.Inspect(root, func(n ast.Node) bool {
		if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			all = append(all, literal)
		}
		return true
	})
	return all
}

func called(fun ast.Expr) string {
	switch f := fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	default:
		return ""
	}
}
