package main

import (
	"runtime/debug"
	"testing"
)

func TestVersionIsTheLinkersThenTheGoCommands(t *testing.T) {
	built := func(version string, settings ...debug.BuildSetting) *debug.BuildInfo {
		return &debug.BuildInfo{Main: debug.Module{Version: version}, Settings: settings}
	}
	commit := debug.BuildSetting{Key: "vcs.revision", Value: "4f1d00c"}
	type pair struct{ version, revision string }
	for name, test := range map[string]struct {
		linked pair
		info   *debug.BuildInfo
		want   pair
	}{
		"make build":           {pair{"v1.2.3", "c0ffee"}, built("v9", commit), pair{"v1.2.3", "c0ffee"}},
		"go install @v1.2.3":   {pair{}, built("v1.2.3"), pair{"v1.2.3", "unknown"}},
		"go build in a clone":  {pair{}, built("v1.2.4-0.2026+dirty", commit), pair{"v1.2.4-0.2026+dirty", "4f1d00c"}},
		"go build without VCS": {pair{}, built("(devel)"), pair{"dev", "unknown"}},
		"no build information": {pair{}, new(debug.BuildInfo), pair{"dev", "unknown"}},
		"the version alone":    {pair{version: "v1.2.3"}, built("(devel)", commit), pair{"v1.2.3", "4f1d00c"}},
	} {
		t.Run(name, func(t *testing.T) {
			defer func(before pair) { version, revision = before.version, before.revision }(pair{version, revision})
			version, revision = test.linked.version, test.linked.revision
			if v, r := versionOf(test.info); (pair{v, r}) != test.want {
				t.Errorf("versionOf = %q, %q; want %q", v, r, test.want)
			}
		})
	}
}
