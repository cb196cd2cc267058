#!/usr/bin/env bash
# Guess:  A version with metadata, 1.2.3+5.gabc1234, becomes one that each format knows, as a prerelease
#         does: 1.2.3-rc1 is 1.2.3_rc1 in an apk.
# Seen:   The apk gets "1.2.3-p5.gabc1234". It has a hyphen before the p, but Alpine's rule is an
#         underscore, and a dot and letters behind it. The module go-apk-version, which has the rules of
#         apk-tools, calls it invalid, and 1.2.3_p5 valid. nfpm exits with 0. The deb is right.
# With:   github.com/goreleaser/nfpm/v2 v2.45.2, github.com/knqyf263/go-apk-version
#         v0.0.0-20200609155635-041fdbb8563f, Go 1.26.
# Needs:  Go, ar.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export GOFLAGS=-mod=mod CGO_ENABLED=0
cat >go.mod <<'EOF'
module finding

go 1.26
EOF
cat >valid.go <<'EOF'
package main

import (
	"fmt"
	"os"

	version "github.com/knqyf263/go-apk-version"
)

func main() {
	for _, v := range os.Args[1:] {
		fmt.Printf("%s: valid %t\n", v, version.Valid(v))
	}
}
EOF
go get github.com/goreleaser/nfpm/v2@v2.45.2 github.com/knqyf263/go-apk-version@v0.0.0-20200609155635-041fdbb8563f 2>get.log || {
	cat get.log >&2
	exit 1
}
go build -o nfpm github.com/goreleaser/nfpm/v2/cmd/nfpm
go build -o valid valid.go

echo text >file
cat >nfpm.yaml <<'EOF'
name: example
arch: amd64
version: 1.2.3+5.gabc1234
maintainer: example <example@example.com>
description: example
contents:
  - {src: file, dst: /usr/share/example}
EOF
for format in deb apk; do ./nfpm package -f nfpm.yaml -p "$format" -t . >/dev/null; done
deb=$(ar p ./*.deb control.tar.gz | tar xzOf - ./control | sed -n 's/^Version: //p')
apk=$(tar xzOf ./*.apk .PKGINFO 2>/dev/null | sed -n 's/^pkgver = //p') || :
printf 'deb: %s\napk: %s\n' "$deb" "$apk"
said=$(./valid "$apk" 1.2.3_p5 1.2.3_rc1)
echo "$said"
[ "$deb" = 1.2.3+5.gabc1234 ]
[ "$apk" = 1.2.3-p5.gabc1234 ]
[ "$said" = "1.2.3-p5.gabc1234: valid false
1.2.3_p5: valid true
1.2.3_rc1: valid true" ]
