// Package arrows holds the rules about who imports whom (docs/architecture.md).
package arrows_test

import (
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/cocoonstack/cocoon-agent/"

// list runs go list with a template over packages, without their tests.
func list(t *testing.T, args ...string) []string {
	t.Helper()
	return listFor(t, runtime.GOOS, args...)
}

// listFor is list for another system.
func listFor(t *testing.T, system string, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %v: %v", args, err)
	}
	return strings.Fields(string(out))
}

func TestPackagesReachOnlyWhatTheirLayerMay(t *testing.T) {
	for from, may := range map[string][]string{
		"client":               {"internal/files", "internal/v1", "internal/mux", "internal/transport", "internal/ttymode", "internal/wire"},
		"internal/session":     {"internal/freeze", "internal/guest", "internal/job", "internal/lane", "internal/v1", "internal/local", "internal/mux", "internal/netid", "internal/proc", "internal/proc/cgroup", "internal/proc/clone", "internal/proc/clone/nofile", "internal/screen", "internal/ttymode", "internal/wire"},
		"internal/v1":          {"internal/mux", "internal/wire"},
		"internal/wire":        {},
		"internal/files":       {},
		"internal/mux":         {},
		"internal/transport":   {},
		"internal/job":         {"internal/lane", "internal/proc", "internal/proc/cgroup", "internal/proc/clone", "internal/proc/clone/nofile", "internal/screen", "internal/ttymode"},
		"internal/proc":        {"internal/lane", "internal/proc/cgroup", "internal/proc/clone", "internal/proc/clone/nofile", "internal/ttymode"},
		"internal/proc/cgroup": {},
		"internal/proc/clone":  {"internal/proc/clone/nofile"},
		"internal/local":       {"internal/lane"},
		"internal/lane":        {},
		"internal/ports":       {"client", "internal/files", "internal/v1", "internal/lane", "internal/local", "internal/mux", "internal/transport", "internal/ttymode", "internal/wire"},
		"internal/guest":       {"internal/netid"},
		"internal/netid":       {},
		"internal/screen":      {},
		"internal/sysmon":      {},
		"internal/systemd":     {},
		"internal/deadman":     {},
		"internal/logqueue":    {},
		"internal/clidoc":      {},
		"internal/handover":    {"internal/proc/clone/nofile"},
		"internal/freeze":      {},
		"internal/plain":       {},
		"cmd/cocoon-agent":     {"client", "internal/deadman", "internal/files", "internal/freeze", "internal/guest", "internal/handover", "internal/job", "internal/lane", "internal/v1", "internal/local", "internal/logqueue", "internal/mux", "internal/netid", "internal/ports", "internal/proc", "internal/proc/cgroup", "internal/proc/clone", "internal/proc/clone/nofile", "internal/session", "internal/sysmon", "internal/systemd", "internal/transport", "internal/screen", "internal/ttymode", "internal/wire"},
		"internal/hangtest":    {},
		"internal/loadtest":    {},
		"client/agenttest":     {"client", "internal/agenttest", "internal/files", "internal/freeze", "internal/guest", "internal/job", "internal/lane", "internal/v1", "internal/local", "internal/mux", "internal/netid", "internal/proc", "internal/proc/cgroup", "internal/proc/clone", "internal/proc/clone/nofile", "internal/session", "internal/transport", "internal/screen", "internal/ttymode", "internal/wire"},
		"internal/agenttest":   {"internal/files", "internal/freeze", "internal/guest", "internal/job", "internal/lane", "internal/v1", "internal/local", "internal/mux", "internal/netid", "internal/proc", "internal/proc/cgroup", "internal/proc/clone", "internal/proc/clone/nofile", "internal/session", "internal/transport", "internal/screen", "internal/ttymode", "internal/wire"},
	} {
		for _, dep := range list(t, "-deps", module+from) {
			own, ok := strings.CutPrefix(dep, module)
			if ok && own != from && !slices.Contains(may, own) {
				t.Errorf("%s reaches %s", from, own)
			}
		}
	}
}

func TestEachDependencyHasOneOwner(t *testing.T) {
	for dep, owner := range map[string]string{
		"github.com/hashicorp/yamux":         "nobody",
		"github.com/cespare/xxhash/v2":       "internal/files",
		"github.com/vmihailenco/msgpack/v5":  "internal/wire",
		"github.com/mdlayher/vsock":          "internal/transport",
		"github.com/mdlayher/socket":         "internal/transport",
		"github.com/mdlayher/netlink":        "internal/netid",
		"github.com/jsimonetti/rtnetlink/v2": "internal/netid",
		"github.com/creack/pty":              "e2e/checks",
		"github.com/alecthomas/kong":         "cmd/cocoon-agent",
		"golang.org/x/term":                  "cmd/cocoon-agent",
		module + "internal/proc/cgroup":      "internal/proc",
		module + "internal/proc/clone":       "internal/proc",
	} {
		for _, line := range list(t, "-f", `{{.ImportPath}}={{join .Imports ","}}`, module+"...") {
			from, imports, _ := strings.Cut(line, "=")
			if slices.Contains(strings.Split(imports, ","), dep) && from != module+owner {
				t.Errorf("%s imports %s, which is %s's", from, dep, owner)
			}
		}
	}
}

func TestClientBringsNoAgentAlong(t *testing.T) {
	deps := list(t, "-deps", module+"client")
	for _, unwanted := range []string{
		"os/exec", "github.com/creack/pty", "github.com/alecthomas/kong", "github.com/rs/zerolog",
	} {
		if slices.Contains(deps, unwanted) {
			t.Errorf("client depends on %s", unwanted)
		}
	}
}

// A system that no agent is for gets the commands for hosts alone.
func TestHostCommandsBringNoAgentAlong(t *testing.T) {
	for _, system := range []string{"darwin"} {
		for _, dep := range listFor(t, system, "-deps", module+"cmd/cocoon-agent") {
			own, _ := strings.CutPrefix(dep, module)
			if slices.Contains([]string{"internal/session", "internal/job", "internal/proc", "internal/proc/cgroup", "internal/proc/clone", "internal/proc/clone/nofile", "internal/guest", "internal/netid", "internal/logqueue", "internal/systemd", "internal/handover", "internal/freeze"}, own) {
				t.Errorf("cmd/cocoon-agent for %s links %s", system, own)
			}
		}
	}
}

func TestNothingShipsTheTestAgent(t *testing.T) {
	for _, pkg := range []string{"client/agenttest", "internal/agenttest", "internal/hangtest", "internal/loadtest"} {
		if slices.Contains(list(t, "-deps", module+"cmd/cocoon-agent"), module+pkg) {
			t.Errorf("cmd/cocoon-agent links %s", pkg)
		}
	}
}

// The adapter for it is a module of its own.
func TestNothingDependsOnKubernetes(t *testing.T) {
	for _, dep := range list(t, "-deps", "-test", module+"...") {
		for _, unwanted := range []string{"k8s.io/", "sigs.k8s.io/", "github.com/virtual-kubelet/", module + "kubelet"} {
			if strings.HasPrefix(dep, unwanted) {
				t.Errorf("%s is a dependency", dep)
			}
		}
	}
	text, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "k8s.io/") {
		t.Error("go.mod names k8s.io")
	}
}
