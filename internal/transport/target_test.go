package transport_test

import (
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/transport"
)

func vsockTarget(cid, port uint32) transport.Target {
	return transport.Target{Scheme: "vsock", CID: cid, Port: port}
}

func hybridTarget(path string, port uint32) transport.Target {
	return transport.Target{Scheme: "hvsock", Path: path, Port: port}
}

func unixTarget(path string) transport.Target {
	return transport.Target{Scheme: "unix", Path: path}
}

// longestPath is as long as the path of a Unix socket can be.
var longestPath = "/" + strings.Repeat("p", 106)

func TestParseTargetAndItsStringAgree(t *testing.T) {
	for s, want := range map[string]transport.Target{
		"vsock://3:1024":                vsockTarget(3, 1024),
		"vsock://2:1":                   vsockTarget(2, 1),
		"vsock://0:1":                   vsockTarget(0, 1),
		"vsock://4294967294:4294967294": vsockTarget(1<<32-2, 1<<32-2),

		"hvsock:///run/vm/vsock.sock:1024":  hybridTarget("/run/vm/vsock.sock", 1024),
		"hvsock:///run/vm:7/vsock.sock:5":   hybridTarget("/run/vm:7/vsock.sock", 5),
		"hvsock:///run/vm:7:5":              hybridTarget("/run/vm:7", 5),
		"hvsock:///:5":                      hybridTarget("/", 5),
		"hvsock:///a b/ü?x#y%20:4294967294": hybridTarget("/a b/ü?x#y%20", 1<<32-2),
		"hvsock://" + longestPath + ":1":    hybridTarget(longestPath, 1),

		"unix:///run/agent.sock":   unixTarget("/run/agent.sock"),
		"unix:///run/agent.sock:5": unixTarget("/run/agent.sock:5"), // no port in a Unix socket's name
		"unix:///../a b/ü?x#y%20":  unixTarget("/../a b/ü?x#y%20"),
		"unix://" + longestPath:    unixTarget(longestPath),

		"unix:///run/agent.sock?uid=1000":     {Scheme: "unix", Path: "/run/agent.sock", UID: 1000},
		"unix:///a?uid=5?uid=4294967294":      {Scheme: "unix", Path: "/a?uid=5", UID: 1<<32 - 2},
		"unix:///a?uid=5/agent.sock":          unixTarget("/a?uid=5/agent.sock"),
		"unix:///a?b=5":                       unixTarget("/a?b=5"),
		"unix:///a?uid":                       unixTarget("/a?uid"),
		"unix://" + longestPath + "?uid=1000": {Scheme: "unix", Path: longestPath, UID: 1000},
		"hvsock:///run/vm.sock?uid=1000:1024": hybridTarget("/run/vm.sock?uid=1000", 1024),
	} {
		got, err := transport.ParseTarget(s)
		if got != want || err != nil {
			t.Errorf("ParseTarget(%q) = %+v, %v; want %+v", s, got, err, want)
		}
		if got := want.String(); got != s {
			t.Errorf("%+v is written %q, want %q", want, got, s)
		}
	}
}

func TestParseTargetUsesTheDefaultPort(t *testing.T) {
	for s, want := range map[string]transport.Target{
		"vsock://3":             vsockTarget(3, 1024),
		"hvsock:///run/vm.sock": hybridTarget("/run/vm.sock", 1024),
		"hvsock:///run/vm:7/s":  hybridTarget("/run/vm:7/s", 1024),
	} {
		if got, err := transport.ParseTarget(s); got != want || err != nil {
			t.Errorf("ParseTarget(%q) = %+v, %v; want %+v", s, got, err, want)
		}
	}
}

func TestParseTargetSaysWhatIsWrong(t *testing.T) {
	const (
		noScheme = `no scheme: want vsock://CID:PORT, hvsock:///PATH:PORT or unix:///PATH`
		badPort  = `: want a number from 1 to 4294967294`
		badCID   = `: want a number from 0 to 4294967294`
		relative = ` is not absolute: use three slashes, as in unix:///run/agent.sock`
	)
	for s, want := range map[string]string{
		"":                     noScheme,
		"3:1024":               noScheme,
		"/run/agent.sock":      noScheme,
		"unix:/run/a.sock":     noScheme,
		"://3:1024":            `unknown scheme "": want vsock, hvsock or unix`,
		"tcp://127.0.0.1:22":   `unknown scheme "tcp": want vsock, hvsock or unix`,
		"VSOCK://3:1024":       `unknown scheme "VSOCK": want vsock, hvsock or unix`,
		" vsock://3:1024":      `unknown scheme " vsock": want vsock, hvsock or unix`,
		"vsock://":             `CID ""` + badCID,
		"vsock://:1024":        `CID ""` + badCID,
		"vsock://host:1024":    `CID "host"` + badCID,
		"vsock://-1:1024":      `CID "-1"` + badCID,
		"vsock://+3:1024":      `CID "+3"` + badCID,
		"vsock://0x3:1024":     `CID "0x3"` + badCID,
		"vsock://3 :1024":      `CID "3 "` + badCID,
		"vsock://4294967295":   `CID "4294967295"` + badCID, // VMADDR_CID_ANY
		"vsock://4294967299":   `CID "4294967299"` + badCID, // 3, in 32 bits
		"vsock://3/1024":       `CID "3/1024"` + badCID,
		"vsock://3:":           `port ""` + badPort,
		"vsock://3:0":          `port "0"` + badPort,
		"vsock://3:ssh":        `port "ssh"` + badPort,
		"vsock://3:-1":         `port "-1"` + badPort,
		"vsock://3:1024/":      `port "1024/"` + badPort,
		"vsock://3:1024 ":      `port "1024 "` + badPort,
		"vsock://3:1024:1":     `port "1024:1"` + badPort,
		"vsock://3:4294967295": `port "4294967295"` + badPort, // VMADDR_PORT_ANY
		"vsock://3:4294968320": `port "4294968320"` + badPort, // 1024, in 32 bits

		"hvsock://":                             `no path`,
		"hvsock://:1024":                        `no path`,
		"hvsock://run/vm.sock:1024":             `path "run/vm.sock"` + relative,
		"hvsock:///run/vm.sock:":                `port ""` + badPort,
		"hvsock:///run/vm.sock:0":               `port "0"` + badPort,
		"hvsock:///run/vm.sock:http":            `port "http"` + badPort,
		"hvsock:///run/vm.sock:4294967295":      `port "4294967295"` + badPort,
		"hvsock:///run/a\x00b:1":                `path has a NUL byte`,
		"hvsock://" + longestPath + "p:1":       `path of 108 bytes: want at most 107`,
		"unix:///run/a.sock?uid=":               `uid "": want a number from 1 to 4294967294`,
		"unix:///run/a.sock?uid=0":              `uid "0": want a number from 1 to 4294967294`,
		"unix:///run/a.sock?uid=bob":            `uid "bob": want a number from 1 to 4294967294`,
		"unix:///run/a.sock?uid=4294967295":     `uid "4294967295": want a number from 1 to 4294967294`,
		"unix://?uid=5":                         `no path`,
		"unix://":                               `no path`,
		"unix://run/agent.sock":                 `path "run/agent.sock"` + relative,
		"unix://@abstract":                      `path "@abstract"` + relative,
		"unix:///run/a\x00b":                    `path has a NUL byte`,
		"unix:///\x00":                          `path has a NUL byte`,
		"unix://" + longestPath + "p":           `path of 108 bytes: want at most 107`,
		"unix:///" + strings.Repeat("ü", 1<<10): `path of 2049 bytes: want at most 107`,
	} {
		got, err := transport.ParseTarget(s)
		if (got != transport.Target{}) || err == nil {
			t.Errorf("ParseTarget(%q) = %+v, %v", s, got, err)
			continue
		}
		reason := err.Error()[strings.LastIndex(err.Error(), `": `+want)+3:]
		if reason != want || !strings.HasPrefix(err.Error(), `target "`) {
			t.Errorf("ParseTarget(%q) says\n%v, want\n%s", s, err, want)
		}
	}
}

func TestParseAddressAndItsStringAgree(t *testing.T) {
	for s, want := range map[string]transport.Address{
		"vsock://:1024":            {Scheme: "vsock", Port: 1024},
		"vsock://:1":               {Scheme: "vsock", Port: 1},
		"vsock://:4294967294":      {Scheme: "vsock", Port: 1<<32 - 2},
		"unix:///run/agent.sock":   {Scheme: "unix", Path: "/run/agent.sock"},
		"unix:///run/agent.sock:5": {Scheme: "unix", Path: "/run/agent.sock:5"},
		"unix://" + longestPath:    {Scheme: "unix", Path: longestPath},
	} {
		got, err := transport.ParseAddress(s)
		if got != want || err != nil {
			t.Errorf("ParseAddress(%q) = %+v, %v; want %+v", s, got, err, want)
		}
		if got := want.String(); got != s {
			t.Errorf("%+v is written %q, want %q", want, got, s)
		}
	}
}

func TestParseAddressUsesTheDefaultPort(t *testing.T) {
	want := transport.Address{Scheme: "vsock", Port: transport.DefaultPort}
	if got, err := transport.ParseAddress("vsock://"); got != want || err != nil {
		t.Errorf("ParseAddress = %+v, %v, want %+v", got, err, want)
	}
}

func TestParseAddressSaysWhatIsWrong(t *testing.T) {
	for s, want := range map[string]string{
		"":                     `listen address "": no scheme: want vsock://:PORT or unix:///PATH`,
		"1024":                 `listen address "1024": no scheme: want vsock://:PORT or unix:///PATH`,
		"tcp://:1024":          `listen address "tcp://:1024": unknown scheme "tcp": want vsock or unix`,
		"hvsock:///run/s:1024": `listen address "hvsock:///run/s:1024": unknown scheme "hvsock": want vsock or unix`,
		"vsock://3:1024":       `listen address "vsock://3:1024": CID "3": omit it, the agent listens on every CID of the guest`,
		"vsock://1024":         `listen address "vsock://1024": CID "1024": omit it, the agent listens on every CID of the guest`,
		"vsock://:":            `listen address "vsock://:": port "": want a number from 1 to 4294967294`,
		"vsock://:0":           `listen address "vsock://:0": port "0": want a number from 1 to 4294967294`,
		"vsock://:4294967295":  `listen address "vsock://:4294967295": port "4294967295": want a number from 1 to 4294967294`,
		"unix://":              `listen address "unix://": no path`,
		"unix://agent.sock":    `listen address "unix://agent.sock": path "agent.sock" is not absolute: use three slashes, as in unix:///run/agent.sock`,
		"unix:///a\x00":        `listen address "unix:///a\x00": path has a NUL byte`,
	} {
		got, err := transport.ParseAddress(s)
		if (got != transport.Address{}) || err == nil || err.Error() != want {
			t.Errorf("ParseAddress(%q) = %+v,\n%v, want\n%s", s, got, err, want)
		}
	}
}

// FuzzParseTarget: what is parsed is written so that it is parsed the same, and
// can be dialed as far as its form goes.
func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{
		"vsock://3:1024", "vsock://3", "vsock://4294967295:1", "hvsock:///run/vm.sock:1024", "hvsock:///run/vm:7/s", "hvsock:///:1",
		"hvsock:///a:1:2", "unix:///run/agent.sock", "unix:///a\x00", "unix:///a?uid=5?uid=6", "unix://" + longestPath, "tcp://x", "", "://", "unix:////:1",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		target, err := transport.ParseTarget(s)
		if err != nil {
			if (target != transport.Target{}) || !strings.HasPrefix(err.Error(), "target ") {
				t.Fatalf("ParseTarget(%q) = %+v, %v, want no target and an error about it", s, target, err)
			}
			return
		}
		again, err := transport.ParseTarget(target.String())
		if err != nil || again != target {
			t.Fatalf("%q is %+v, written %q, which is %+v, %v", s, target, target, again, err)
		}
		hasPort, hasPath := target.Scheme != "unix", target.Scheme != "vsock"
		if hasPort != (target.Port != 0) || hasPath != strings.HasPrefix(target.Path, "/") || len(target.Path) > len(longestPath) {
			t.Fatalf("%q is %+v", s, target)
		}
	})
}
