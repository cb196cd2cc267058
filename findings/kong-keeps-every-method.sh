#!/usr/bin/env bash
# Guess:  a command line parser adds its own size to a program, and nothing else.
# Seen:   kong calls reflect's MethodByName with a name that is made at run time. Go's linker cannot know
#         then which methods are called, and keeps all exported methods of all types that become interfaces,
#         in the whole program, those of other libraries too, with all that they call. So a program grows by
#         more than kong.
# With:   github.com/alecthomas/kong v1.17.0, Go 1.26.
# Needs:  Go.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
mkdir plain kong
cat >value.go <<'GO'
package main

import "fmt"

// A value is printed, and nobody calls its method.
type value struct{ n int }

func (v value) NeverCalled() string { return fmt.Sprint("a method that nobody calls ", v.n) }

func show() { fmt.Println(any(value{1})) }
GO
cat >plain/main.go <<'GO'
package main

import "flag"

func main() {
	flag.Bool("x", false, "")
	flag.Parse()
	show()
}
GO
cat >kong/main.go <<'GO'
package main

import "github.com/alecthomas/kong"

func main() {
	var flags struct{ X bool }
	kong.Parse(&flags)
	show()
}
GO
cp value.go plain/ && mv value.go kong/
cat >go.mod <<'MOD'
module example.com/program

go 1.26
MOD
go get github.com/alecthomas/kong@v1.17.0 2>/dev/null
for program in plain kong; do
	CGO_ENABLED=0 go build -gcflags=-l -o "$program/program" "./$program"
	kept=$(go tool nm "$program/program" | grep -c 'main\.value\.NeverCalled' || true)
	echo "$program: the method is $([ "$kept" = 0 ] && echo 'not in the program' || echo 'in the program')"
done | tee seen
diff seen - <<'SEEN'
plain: the method is not in the program
kong: the method is in the program
SEEN
echo "as before: kong keeps every exported method ($(go version))"
