package arrows_test

import (
	"go/ast"
	"go/build"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// faceless are the packages that need no neutral face.
var faceless = map[string]string{
	"e2e/checks": "tests of agents in Linux guests, which no port builds",
}

// A port to another system begins with twins of what is lower case. So all that a
// package exports is declared, and documented, in files that every system builds.
func TestExportedNamesAreDeclaredForEverySystem(t *testing.T) {
	all := sources(t, "../..")
	if len(all) < 10 {
		t.Fatalf("only %d packages were found", len(all))
	}
	for dir, files := range all {
		if _, excepted := faceless[dir]; excepted {
			continue
		}
		for _, name := range taggedOnly(t, files) {
			t.Errorf("%s: %s is declared in files for some systems only", dir, name)
		}
	}
	for dir := range faceless {
		if all[dir] == nil {
			t.Errorf("%s is an exception, and no package", dir)
		}
	}
}

func TestSessionHasNoBuildConstraints(t *testing.T) {
	files := sources(t, "../..")["internal/session"]
	if len(files) == 0 {
		t.Fatal("internal/session was not found")
	}
	for name, text := range files {
		if isTagged(t, name, text) {
			t.Errorf("%s is not built for every system", name)
		}
	}
}

func TestTaggedOnlyFindsNamesWithoutANeutralFile(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"face and twins": {files: map[string]string{
			"x.go":       "package x; type T struct{ t }; func (*T) Do() { do() }",
			"x_linux.go": "package x; type t struct{}; func do() {}",
			"x_other.go": "//go:build !linux\n\npackage x; type t struct{}; func do() {}",
		}},
		"function, by the file's name": {
			files: map[string]string{"x_linux.go": "package x; func Do() {}"},
			want:  []string{"Do"},
		},
		"types, by the file's name": {
			files: map[string]string{"x_windows_arm64.go": "package x; type (T struct{}; U = int; v int)"},
			want:  []string{"T", "U"},
		},
		"constants and variables, by a constraint": {
			files: map[string]string{"x.go": "// Licence.\n\n//go:build unix\n\npackage x; const (A, b = 1, 2); var C, d int"},
			want:  []string{"A", "C"},
		},
		"method in each twin": {
			files: map[string]string{
				"x.go":       "package x; type T[K any] struct{}",
				"x_linux.go": "package x; func (*T[K]) Do() {}; func (T[K]) do() {}",
				"x_other.go": "//go:build !linux\n\npackage x; func (*T[K]) Do() {}",
			},
			want: []string{"T.Do"},
		},
		"method that is promoted": {
			files: map[string]string{
				"x.go":       "package x; type T struct{ *t }",
				"x_linux.go": "package x; type t struct{}; func (t) Do() {}",
			},
			want: []string{"t.Do"},
		},
		"method of a type that nobody sees": {files: map[string]string{
			"x_linux.go": "package x; type t struct{}; func (t) Close() {}",
		}},
		"tests and programs": {files: map[string]string{
			"x_linux_test.go": "package x; func TestDo() {}",
			"main_linux.go":   "package main; func Do() {}",
		}},
		"a name that is no constraint": {files: map[string]string{
			"x_unix.go": "package x; func Do() {}", "linux.go": "package x; func Be() {}",
		}},
	} {
		if got := taggedOnly(t, test.files); !slices.Equal(got, test.want) {
			t.Errorf("%s: taggedOnly = %q, want %q", name, got, test.want)
		}
	}
}

// sources returns the text of each Go file of a module, by directory and name.
func sources(t *testing.T, root string) map[string]map[string]string {
	t.Helper()
	all := make(map[string]map[string]string)
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return skipForeign(root, name)
		case !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(filepath.Join(root, name))
		dir, file := path.Split(name)
		dir = path.Clean(dir)
		if all[dir] == nil {
			all[dir] = make(map[string]string)
		}
		all[dir][file] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// skipForeign returns fs.SkipDir for what go list ignores: other modules, testdata,
// hidden directories.
func skipForeign(root, dir string) error {
	base := path.Base(dir)
	if dir == "." {
		return nil
	}
	if _, err := os.Stat(filepath.Join(root, dir, "go.mod")); err == nil || base == "testdata" || strings.HasPrefix(base, ".") {
		return fs.SkipDir
	}
	return nil
}

// taggedOnly returns the exported names that are declared in files with build
// constraints, and in no other: of package level, and of methods.
func taggedOnly(t *testing.T, files map[string]string) []string {
	t.Helper()
	parsed := make(map[string]*ast.File)
	seen := make(map[string]bool) // unexported types whose methods an exported type has
	for name, text := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		if file.Name.Name == "main" || strings.HasSuffix(name, "_test.go") {
			continue
		}
		parsed[name] = file
		for _, embedded := range embeddedIn(file) {
			seen[embedded] = true
		}
	}
	tagged, neutral := make(map[string]bool), make(map[string]bool)
	for name, file := range parsed {
		in := neutral
		if isTagged(t, name, files[name]) {
			in = tagged
		}
		for _, declared := range exported(file, seen) {
			in[declared] = true
		}
	}
	maps.DeleteFunc(tagged, func(name string, _ bool) bool { return neutral[name] })
	return slices.Sorted(maps.Keys(tagged))
}

// isTagged says whether some system does not build a file: by its name or by a
// constraint in it.
func isTagged(t *testing.T, name, text string) bool {
	t.Helper()
	nowhere := build.Context{
		GOOS: "nowhere", GOARCH: "nothing", Compiler: "gc",
		OpenFile: func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("package x")), nil },
	}
	byName, err := nowhere.MatchFile("", name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text) {
		if constraint.IsGoBuild(line) {
			return true
		}
		if strings.HasPrefix(line, "package ") {
			break
		}
	}
	return !byName
}

// embeddedIn returns the types of this package that exported structs embed.
func embeddedIn(file *ast.File) []string {
	var names []string
	for _, decl := range file.Decls {
		general, ok := decl.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range general.Specs {
			named, ok := spec.(*ast.TypeSpec)
			if !ok || !named.Name.IsExported() {
				continue
			}
			of, ok := named.Type.(*ast.StructType)
			if !ok {
				continue
			}
			for _, field := range of.Fields.List {
				if field.Names == nil {
					names = append(names, baseOf(field.Type))
				}
			}
		}
	}
	return names
}

// exported returns the exported names that a file declares. A method counts if its
// type is exported, or is seen in one that is.
func exported(file *ast.File, seen map[string]bool) []string {
	var names []string
	for _, decl := range file.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			if !decl.Name.IsExported() {
				continue
			}
			if decl.Recv == nil {
				names = append(names, decl.Name.Name)
				continue
			}
			if of := baseOf(decl.Recv.List[0].Type); ast.IsExported(of) || seen[of] {
				names = append(names, of+"."+decl.Name.Name)
			}
		case *ast.GenDecl:
			for _, spec := range decl.Specs {
				names = append(names, exportedBy(spec)...)
			}
		}
	}
	return names
}

func exportedBy(spec ast.Spec) []string {
	var idents []*ast.Ident
	switch spec := spec.(type) {
	case *ast.TypeSpec:
		idents = []*ast.Ident{spec.Name}
	case *ast.ValueSpec:
		idents = spec.Names
	}
	var names []string
	for _, ident := range idents {
		if ident.IsExported() {
			names = append(names, ident.Name)
		}
	}
	return names
}

// baseOf returns the name of a type of this package, or "", without its pointer and
// type arguments.
func baseOf(expr ast.Expr) string {
	switch expr := expr.(type) {
	case *ast.Ident:
		return expr.Name
	case *ast.StarExpr:
		return baseOf(expr.X)
	case *ast.ParenExpr:
		return baseOf(expr.X)
	case *ast.IndexExpr:
		return baseOf(expr.X)
	case *ast.IndexListExpr:
		return baseOf(expr.X)
	default:
		return ""
	}
}
