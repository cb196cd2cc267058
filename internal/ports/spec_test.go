package ports_test

import (
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/ports"
)

func tcp(address string) ports.Endpoint  { return ports.Endpoint{Network: "tcp", Address: address} }
func unix(address string) ports.Endpoint { return ports.Endpoint{Network: "unix", Address: address} }

func TestParseLocal(t *testing.T) {
	for text, want := range map[string]ports.Spec{
		"8080:localhost:80":           {Host: tcp(":8080"), Guest: tcp("localhost:80")},
		"0:127.0.0.1:80":              {Host: tcp(":0"), Guest: tcp("127.0.0.1:80")},
		":8080:localhost:80":          {Host: tcp(":8080"), Guest: tcp("localhost:80")},
		"localhost:8080:localhost:80": {Host: tcp(":8080"), Guest: tcp("localhost:80")},
		"*:8080:localhost:80":         {Host: tcp("*:8080"), Guest: tcp("localhost:80")},
		"0.0.0.0:8080:[::1]:80":       {Host: tcp("0.0.0.0:8080"), Guest: tcp("[::1]:80")},
		"[::1]:8080:[::1]:80":         {Host: tcp("[::1]:8080"), Guest: tcp("[::1]:80")},
		"8080:/run/d.sock":            {Host: tcp(":8080"), Guest: unix("/run/d.sock")},
		"[::]:8080:/run/d.sock":       {Host: tcp("[::]:8080"), Guest: unix("/run/d.sock")},
		"8080:@name":                  {Host: tcp(":8080"), Guest: unix("@name")},
		"8080:/run/a:b.sock":          {Host: tcp(":8080"), Guest: unix("/run/a:b.sock")},
		"/tmp/h.sock:localhost:80":    {Host: unix("/tmp/h.sock"), Guest: tcp("localhost:80")},
		"/tmp/h.sock:80":              {Host: unix("/tmp/h.sock"), Guest: tcp("localhost:80")},
		"/tmp/h.sock:/run/d.sock":     {Host: unix("/tmp/h.sock"), Guest: unix("/run/d.sock")},
	} {
		if got, err := ports.ParseLocal(text); err != nil || got != want {
			t.Errorf("ParseLocal(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
}

func TestParseLocalRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                          "want [BIND:]PORT:HOST:PORT",
		"8080":                      "want [BIND:]PORT:HOST:PORT",
		"8080:80":                   "want [BIND:]PORT:HOST:PORT",
		"/tmp/h.sock":               "want [BIND:]PORT:HOST:PORT",
		"a:b:c:8080:localhost:80":   "want [BIND:]PORT:HOST:PORT",
		"x:localhost:80":            `port "x"`,
		"65536:localhost:80":        `port "65536"`,
		"8080:localhost:0":          "port",
		"8080:10.0.0.1:80":          "the guest itself",
		"8080:example.org:80":       "the guest itself",
		"8080:localhost:http":       "port",
		"example.org:80:/run/d":     "bind address",
		"::1:80:/run/d":             "want [BIND:]PORT:HOST:PORT",
		"[::1:80:/run/d":            "want",
		"8080:/" + long():           "at most 107",
		"/tmp/h.sock:relative.sock": "guest's side",
	} {
		if got, err := ports.ParseLocal(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseLocal(%.40q) = %v, %v, want an error with %q", text, got, err, want)
		}
	}
}

func long() string { return strings.Repeat("x", 200) }

func TestParsePort(t *testing.T) {
	for text, want := range map[string]ports.Spec{
		"80":      {Host: tcp(":80"), Guest: tcp("localhost:80")},
		"8080:80": {Host: tcp(":8080"), Guest: tcp("localhost:80")},
		":80":     {Host: tcp(":0"), Guest: tcp("localhost:80")},
		"0:80":    {Host: tcp(":0"), Guest: tcp("localhost:80")},
	} {
		if got, err := ports.ParsePort(text); err != nil || got != want {
			t.Errorf("ParsePort(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", ":", "0", "x", "80:", "80:0", "80:x", "1:2:3", "65536", "-1", "localhost:80:80"} {
		if got, err := ports.ParsePort(text); err == nil {
			t.Errorf("ParsePort(%q) = %v, want an error", text, got)
		}
	}
}

func TestParseRemote(t *testing.T) {
	for text, want := range map[string]ports.Spec{
		"8080:localhost:3000":      {Host: tcp("localhost:3000"), Guest: tcp("localhost:8080"), Reverse: true},
		"0:db.example:5432":        {Host: tcp("db.example:5432"), Guest: tcp("localhost:0"), Reverse: true},
		"127.0.0.1:80:[::1]:3000":  {Host: tcp("[::1]:3000"), Guest: tcp("127.0.0.1:80"), Reverse: true},
		"[::1]:80:/run/d.sock":     {Host: unix("/run/d.sock"), Guest: tcp("[::1]:80"), Reverse: true},
		"localhost:80:/run/d.sock": {Host: unix("/run/d.sock"), Guest: tcp("localhost:80"), Reverse: true},
	} {
		if got, err := ports.ParseRemote(text); err != nil || got != want {
			t.Errorf("ParseRemote(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "80", "80:3000", "*:80:localhost:3000", "10.0.0.1:80:/x", "x:localhost:80", "80:localhost:0", "80:localhost:x", "80:@name", "/tmp/x:localhost:80"} {
		if got, err := ports.ParseRemote(text); err == nil {
			t.Errorf("ParseRemote(%q) = %v, want an error", text, got)
		}
	}
}

func FuzzParseLocal(f *testing.F) {
	for _, text := range []string{"8080:localhost:80", "[::1]:80:/x", "/h:/g", "*:1:@n", "[:]:/"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ports.ParseLocal(text)
		if err != nil {
			return
		}
		if _, err := ports.ParseGuest(s.Guest.Address); err != nil || s.Host.Address == "" {
			t.Errorf("ParseLocal(%q) = %v, which has no host's end, or a guest's end that is refused: %v", text, s, err)
		}
	})
}
