package local_test

import (
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/local"
)

func TestRulesAllowWhatTheyName(t *testing.T) {
	for _, test := range []struct {
		rules            []string // nil: none are given
		network, address string
		want             bool
	}{
		{nil, "tcp", "localhost:22", true},
		{nil, "unix", "/run/docker.sock", true},
		{[]string{"none"}, "tcp", "localhost:22", false},
		{[]string{"none"}, "unix", "@x", false},
		{[]string{"tcp:80"}, "tcp", "localhost:80", true},
		{[]string{"tcp:80"}, "tcp6", "[::1]:80", true},
		{[]string{"tcp:80"}, "tcp", "127.0.0.53:0080", true},
		{[]string{"tcp:80"}, "tcp", "localhost:81", false},
		{[]string{"tcp:80"}, "unix", "/80", false},
		{[]string{"tcp:80-90"}, "tcp", "localhost:90", true},
		{[]string{"tcp:80-90"}, "tcp", "localhost:91", false},
		{[]string{"tcp:*"}, "tcp", "localhost:65535", true},
		{[]string{"tcp:80", "tcp:443"}, "tcp", "localhost:443", true},
		{[]string{"unix:/run/app.sock"}, "unix", "/run/app.sock", true},
		{[]string{"unix:/run/app.sock"}, "unix", "/run/app.sock2", false},
		{[]string{"unix:/run/app.sock"}, "unix", "/run/./app.sock", false},
		{[]string{"unix:/run/app.sock"}, "unix", "/run//app.sock", false},
		{[]string{"unix:/run/app/*"}, "unix", "/run/app/a.sock", true},
		{[]string{"unix:/run/app/*"}, "unix", "/run/app/../docker.sock", false},
		{[]string{"unix:/run/app/*"}, "unix", "/run/app/sub/a.sock", false},
		{[]string{"unix:/run/app/*"}, "tcp", "localhost:80", false},
		{[]string{"unix:/run/app[.-9]a"}, "unix", "/run/app/a", false},
		{[]string{"unix:/run/app[.-9]a"}, "unix", "/run/app7a", true},
		{[]string{"unix:/run/app[^a-z]a"}, "unix", "/run/app/a", false},
		{[]string{"unix:@app"}, "unix", "@app", true},
		{[]string{"unix:@app"}, "unix", "/app", false},
		{[]string{"unix:@*"}, "unix", "@other", true},
	} {
		rules, err := local.ParseRules(test.rules)
		if test.rules == nil {
			rules = nil
		}
		if err != nil {
			t.Errorf("ParseRules(%q) = %v", test.rules, err)
			continue
		}
		a, err := local.ParseAddress(test.network, test.address)
		if err != nil {
			t.Errorf("ParseAddress(%q, %q) = %v", test.network, test.address, err)
			continue
		}
		if got := rules.Allow(a); got != test.want {
			t.Errorf("rules %q allow %s %s = %t, want %t", test.rules, test.network, test.address, got, test.want)
		}
	}
}

func TestParseRulesRefusesOthers(t *testing.T) {
	for _, texts := range [][]string{
		{""},
		{"tcp"},
		{"tcp:"},
		{"tcp:0"},
		{"tcp:65536"},
		{"tcp:90-80"},
		{"tcp:80-"},
		{"tcp:-80"},
		{"tcp:localhost:80"},
		{"udp:53"},
		{"unix:"},
		{"unix:@"},
		{"unix:run/x"},
		{"unix:/run/../x"},
		{"unix:/run/["},
		{"none", "tcp:80"},
		{"tcp:80", "none"},
	} {
		if rules, err := local.ParseRules(texts); err == nil {
			t.Errorf("ParseRules(%q) = %v, want an error", texts, rules)
		}
	}
}
