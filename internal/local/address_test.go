package local_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cocoonstack/cocoon-agent/internal/local"
)

func TestAddressesOfTheMachineItselfAreTaken(t *testing.T) {
	longest := "/" + strings.Repeat("x", 106)
	for _, test := range []struct{ network, address, tries string }{
		{"tcp", "localhost:80", "tcp 127.0.0.1:80, tcp [::1]:80"},
		{"tcp", ":80", "tcp 127.0.0.1:80, tcp [::1]:80"},
		{"tcp4", "localhost:80", "tcp4 127.0.0.1:80"},
		{"tcp6", "localhost:80", "tcp6 [::1]:80"},
		{"tcp", "127.0.0.1:1", "tcp 127.0.0.1:1"},
		{"tcp", "127.255.1.2:65535", "tcp 127.255.1.2:65535"},
		{"tcp4", "127.0.0.1:080", "tcp4 127.0.0.1:80"},
		{"tcp", "[::1]:80", "tcp [::1]:80"},
		{"tcp6", "[::1]:80", "tcp6 [::1]:80"},
		{"unix", "/run/docker.sock", "unix /run/docker.sock"},
		{"unix", "@name", "unix @name"},
		{"unix", "/caf\xe9", "unix /caf\xe9"},
		{"unix", longest, "unix " + longest},
	} {
		a, err := local.ParseAddress(test.network, test.address)
		if diff := cmp.Diff(test.tries, a.String()); err != nil || diff != "" {
			t.Errorf("%s %q: %v (-want +got)\n%s", test.network, test.address, err, diff)
		}
	}
}

// The agent does not lead into the guest's network, and asks no resolver.
func TestAllOtherAddressesAreRefused(t *testing.T) {
	for _, test := range []struct{ network, address, text string }{
		{"", "localhost:80", `network ""`},
		{"udp", "localhost:80", `network "udp"`},
		{"TCP", "localhost:80", `network "TCP"`},
		{"unixgram", "/run/x", `network "unixgram"`},
		{"tcp", "", "want HOST:PORT"},
		{"tcp", "80", "want HOST:PORT"},
		{"tcp", "localhost", "want HOST:PORT"},
		{"tcp", "localhost:", `port ""`},
		{"tcp", "localhost:http", `port "http"`},
		{"tcp", "localhost:0", `port "0"`},
		{"tcp", "localhost:-1", `port "-1"`},
		{"tcp", "localhost:+80", `port "+80"`},
		{"tcp", "localhost:65536", `port "65536"`},
		{"tcp", "localhost:80\x00", `port "80\x00"`},
		{"tcp", "10.0.0.1:80", "want the guest itself"},
		{"tcp", "169.254.169.254:80", "want the guest itself"},
		{"tcp", "0.0.0.0:80", "want the guest itself"},
		{"tcp", "[::]:80", "want the guest itself"},
		{"tcp", "[fe80::1]:80", "want the guest itself"},
		{"tcp", "[::1%lo]:80", "want the guest itself"},
		{"tcp", "[::ffff:127.0.0.1]:80", "want the guest itself"},
		{"tcp", "[::ffff:10.0.0.1]:80", "want the guest itself"},
		{"tcp", "::1:80", "want the guest itself"},
		{"tcp", "[::1:80", "want the guest itself"},
		{"tcp", "[127.0.0.1]:80", "want the guest itself"},
		{"tcp", "127.1:80", "want the guest itself"},
		{"tcp", "2130706433:80", "want the guest itself"},
		{"tcp", "0177.0.0.1:80", "want the guest itself"},
		{"tcp", "example.com:80", "want the guest itself"},
		{"tcp", "localhost.:80", "want the guest itself"},
		{"tcp", "LOCALHOST:80", "want the guest itself"},
		{"tcp", "127.0.0.1 :80", "want the guest itself"},
		{"tcp", "127.0.0.1:80:80", "want the guest itself"},
		{"tcp4", "[::1]:80", "not an address of network tcp4"},
		{"tcp6", "127.0.0.1:80", "not an address of network tcp6"},
		{"unix", "", "want an absolute path"},
		{"unix", "@", "want an absolute path"},
		{"unix", "run/x", "want an absolute path"},
		{"unix", "./x", "want an absolute path"},
		{"unix", "/a\x00b", "NUL"},
		{"unix", "@a\x00b", "NUL"},
		{"unix", "\x00name", "want an absolute path"},
		{"unix", "/" + strings.Repeat("x", 107), "108 bytes"},
		{"tcp", strings.Repeat("x", 1<<20) + ":80", "want the guest itself"},
		{"tcp", "localhost:" + strings.Repeat("1", 1<<20), "port"},
	} {
		_, err := local.ParseAddress(test.network, test.address)
		if !errors.Is(err, local.ErrInvalid) || !strings.Contains(err.Error(), test.text) || len(err.Error()) > 300 {
			t.Errorf("%s %.40q: %.400v, want %q", test.network, test.address, err, test.text)
		}
	}
}

// FuzzParseAddress: what is taken is loopback, or a path.
func FuzzParseAddress(f *testing.F) {
	for _, address := range []string{"localhost:80", "[::1]:80", "127.0.0.1:80", ":80", "10.0.0.1:80", "@x", "/run/x", "[::1%lo]:1"} {
		for _, network := range []string{"tcp", "tcp4", "tcp6", "unix"} {
			f.Add(network, address)
		}
	}
	f.Fuzz(func(t *testing.T, network, address string) {
		a, err := local.ParseAddress(network, address)
		if err != nil {
			if !errors.Is(err, local.ErrInvalid) {
				t.Error(err)
			}
			return
		}
		for try := range strings.SplitSeq(a.String(), ", ") {
			kind, where, _ := strings.Cut(try, " ")
			own := strings.HasPrefix(where, "127.") || strings.HasPrefix(where, "[::1]:")
			if kind == "unix" {
				own = where == address
			}
			if !own {
				t.Errorf("%q %q is tried at %q", network, address, try)
			}
		}
	})
}
