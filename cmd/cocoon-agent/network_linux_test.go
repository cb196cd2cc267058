package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// snapshotNetwork makes the network of a snapshot, in an agent's namespaces. The machine's files, devices
// and network managers are out of sight.
const snapshotNetwork = `
	mkdir $0/etc; cp -a /etc/. $0/etc; mount --bind $0/etc /etc
	for directory in /run /sys /var/lib/systemd; do test ! -d $directory || mount -t tmpfs none $directory; done
	rm -f /etc/resolv.conf; echo nameserver 192.0.2.53 >/etc/resolv.conf; echo 127.0.0.1 localhost >/etc/hosts
	ip link set lo up
	ip link add eth0 type veth peer name far
	ip link set far up
	ip link set eth0 address 52:54:00:00:00:01 up
	ip addr add 10.0.0.1/24 dev eth0
	ip route add default via 10.0.0.254`

// A clone is an agent in a network of its own.
type clone struct {
	t      *testing.T
	target string
	pid    int
}

func cloned(t *testing.T) *clone {
	t.Helper()
	target, agent := agentAfterIn(t, snapshotNetwork, "--mount", "--net")
	return &clone{t, target, agent.Process.Pid}
}

// command is a program in the clone.
func (c *clone) command(args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--target", strconv.Itoa(c.pid), "--mount", "--net"}, args...)...)
}

// in runs a script in the clone.
func (c *clone) in(script string) string {
	c.t.Helper()
	out, err := c.command("sh", "-ec", script).CombinedOutput()
	if err != nil {
		c.t.Fatalf("nsenter, %s: %v: %s", script, err, out)
	}
	return string(out)
}

// reseed runs the command with a document on its standard input.
func (c *clone) reseed(document string) (out string, err error) {
	c.t.Helper()
	cmd := program(c.t, "reseed", "--target", c.target, "--resume-file", "-")
	cmd.Stdin = strings.NewReader(document)
	text, err := cmd.CombinedOutput()
	return string(text), err
}

func TestResumeFileThatSaysNothingIsMisuse(t *testing.T) {
	for document, file := range map[string]string{"": "", "null": "-", " ": "-"} {
		cmd := program(t, "reseed", "--target", "unix:///nonexistent/agent.sock", "--resume-file", file)
		cmd.Stdin = strings.NewReader(document)
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), "--resume-file") || !strings.Contains(string(out), ": want ") {
			t.Errorf("--resume-file %q with %q: %v, %s, want status 2", file, document, err, out)
		}
	}
}

const cloneDocument = `{
	"interfaces": [{
		"mac": "52:54:00:00:00:02", "old_mac": "52:54:00:00:00:01",
		"addresses": ["10.0.0.2/24", "2001:db8::2/64"],
		"routes": [{"to": "default", "via": "10.0.0.254"}, {"to": "192.0.2.0/24", "via": "10.0.0.253", "metric": 7}]
	}],
	"dns": {"servers": ["10.0.0.53"], "search": ["example.org"]},
	"hosts": [{"address": "10.0.0.2", "names": ["web-17"]}],
	"wait_ms": 0
}`

// wantQuick checks the time that two clones have one address. It takes a millisecond or two.
func wantQuick(t *testing.T, out string) {
	t.Helper()
	_, gone, _ := strings.Cut(out, "old ones of eth0 gone ")
	text, _, _ := strings.Cut(gone, " after the request")
	if d, err := time.ParseDuration(text); err != nil || d > time.Second {
		t.Errorf("the old address was gone after %q, %v, want at most a second", text, err)
	}
}

func TestReseedGivesACloneItsNetwork(t *testing.T) {
	c := cloned(t)
	for n, outcome := range []string{"changed", "unchanged"} {
		out, err := c.reseed(cloneDocument)
		if err != nil {
			t.Fatalf("%d: reseed: %v: %s", n, err, out)
		}
		t.Logf("\n%s", out)
		if n == 0 {
			wantQuick(t, out)
		}
		for _, step := range []string{"addresses", "mac", "routes", "dns", "hosts"} {
			if !regexp.MustCompile(`(?m)^` + step + ` +` + outcome + `(:|$)`).MatchString(out) {
				t.Errorf("%d: no line of %s, which is %s, in\n%s", n, step, outcome, out)
			}
		}
	}
	for script, want := range map[string]string{
		"ip addr show eth0":    "link/ether 52:54:00:00:00:02 ",
		"ip -4 addr show eth0": "inet 10.0.0.2/24 ",
		"ip -6 addr show eth0": "inet6 2001:db8::2/64 ",
		"ip route show":        "default via 10.0.0.254 dev eth0 ",
		"ip route":             "192.0.2.0/24 via 10.0.0.253 dev eth0 proto static metric 7 ",
		"cat /etc/resolv.conf": "search example.org\nnameserver 10.0.0.53\n",
		"cat /etc/hosts":       "127.0.0.1 localhost\n# cocoon-agent: begin\n10.0.0.2\tweb-17\n# cocoon-agent: end\n",
	} {
		if out := c.in(script); !strings.Contains(out, want) {
			t.Errorf("%s: %q, want %q in it", script, out, want)
		}
	}
	if out := c.in("ip addr show eth0"); strings.Contains(out, "10.0.0.1/") {
		t.Errorf("the address of the snapshot is still there: %s", out)
	}
}

func TestReseedTellsWhichPartOfANetworkFails(t *testing.T) {
	c := cloned(t)
	document := strings.Replace(cloneDocument, `"via": "10.0.0.253"`, `"via": "203.0.113.1"`, 1)
	c.in("rm /etc/hosts; mkdir /etc/hosts")
	out, err := c.reseed(strings.Replace(document, `"interfaces": [`, `"interfaces": [{"mac": "52:54:00:00:00:77"}, `, 1))
	if err == nil || !strings.Contains(out, "3 of ") {
		t.Errorf("reseed: %v, want 3 failed steps:\n%s", err, out)
	}
	for _, line := range []string{
		`interfaces +failed: no such interface with the MAC 52:54:00:00:00:77 within 0s`, `addresses +changed: `, `mac +changed`,
		`routes +failed: eth0: add 192.0.2.0/24 via 203.0.113.1: `, `dns +changed`, `hosts +failed: read /etc/hosts: is a directory`,
	} {
		if !regexp.MustCompile(`(?m)^` + line).MatchString(out) {
			t.Errorf("no line %q in\n%s", line, out)
		}
	}
}

// networkd starts systemd-networkd and a bus for it, and returns when the clone's interface is configured as in
// the snapshot.
func (c *clone) networkd() {
	c.t.Helper()
	const program = "/lib/systemd/systemd-networkd"
	for _, path := range []string{program, "/usr/bin/dbus-daemon", "/usr/bin/networkctl"} {
		if _, err := os.Stat(path); err != nil {
			c.t.Skipf("systemd-networkd or its bus is not installed: %v", err)
		}
	}
	c.in(`
		ip -4 addr flush dev eth0 # networkd sets it
		mount -t sysfs -o ro none /sys # read-only: networkd does not wait for udev
		mkdir -p /run/dbus /run/systemd/netif /etc/systemd/network
		chown systemd-network:systemd-network /run/systemd/netif
		rm -f /etc/systemd/network/*
		printf '[Match]\nMACAddress=52:54:00:00:00:01\n[Network]\nAddress=10.0.0.1/24\nGateway=10.0.0.254\n' >/etc/systemd/network/10-525400000001.network
		for mac in 525400000001 525400000002; do # no wait for a router
			mkdir /etc/systemd/network/10-$mac.network.d
			printf '[Network]\nIPv6AcceptRA=no\n' >/etc/systemd/network/10-$mac.network.d/ra.conf
		done
		cat >/run/dbus/bus.conf <<-end
			<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen>
			<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy>
			</busconfig>
		end
	`)
	start(c.t, c.command("dbus-daemon", "--config-file=/run/dbus/bus.conf", "--nofork", "--nopidfile"))
	eventually(c.t, "the bus", func() bool { return c.command("test", "-S", "/run/dbus/system_bus_socket").Run() == nil })
	start(c.t, c.command(program))
	c.configuredBy("10-525400000001.network")
}

// configuredBy waits until systemd-networkd has configured the interface by a file.
func (c *clone) configuredBy(file string) {
	c.t.Helper()
	eventually(c.t, "systemd-networkd has configured eth0 by "+file, func() bool {
		out, _ := c.command("networkctl", "--no-pager", "status", "eth0").CombinedOutput()
		return strings.Contains(string(out), file) && strings.Contains(string(out), "(configured)")
	})
}

// systemd-networkd takes over what the agent has set, without a moment in which it is gone.
func TestReseedUnderNetworkd(t *testing.T) {
	c := cloned(t)
	c.networkd()
	changes := filepath.Join(t.TempDir(), "changes")
	monitor := c.command("ip", "monitor", "route", "address")
	var err error
	if monitor.Stdout, err = os.Create(changes); err != nil {
		t.Fatal(err)
	}
	start(t, monitor)
	changed := func() string {
		text, err := os.ReadFile(changes)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	eventually(t, "the monitor", func() bool {
		c.in("ip route add 198.51.100.1/32 dev eth0; ip route del 198.51.100.1/32 dev eth0")
		return strings.Contains(changed(), "198.51.100.1")
	})
	out, err := c.reseed(cloneDocument)
	if err != nil || !regexp.MustCompile(`(?m)^manager +changed: systemd-networkd reloaded$`).MatchString(out) {
		t.Fatalf("reseed: %v:\n%s", err, out)
	}
	c.configuredBy("10-525400000002.network")
	if !regexp.MustCompile(`Deleted \d+: eth0 +inet 10\.0\.0\.1/24`).MatchString(changed()) {
		t.Errorf("the address of the snapshot was not deleted:\n%s", changed())
	}
	if gone := regexp.MustCompile(`(?m)^Deleted (default|\d+: eth0 +inet6? (10\.0\.0\.2|2001:db8::2)/).*`).FindString(changed()); gone != "" {
		t.Errorf("for a moment there was no %q:\n%s", gone, changed())
	}
	if out := c.in("ip route; ls /etc/systemd/network"); !strings.Contains(out, "default via 10.0.0.254 ") || strings.Contains(out, "525400000001.network\n") {
		t.Errorf("routes and files: %s", out)
	}
	if out, err := c.reseed(cloneDocument); err != nil || regexp.MustCompile(`(?m)^(addresses|mac|routes|manager) +changed`).MatchString(out) {
		t.Errorf("a second reseed changes something: %v:\n%s", err, out)
	}
}

// Without routes and resolvers the file of the snapshot goes on, and so does the default route.
func TestNetworkdKeepsRoutesThatAreNotGiven(t *testing.T) {
	c := cloned(t)
	c.networkd()
	out, err := c.reseed(`{"interfaces": [{"mac": "52:54:00:00:00:02", "old_mac": "52:54:00:00:00:01", "addresses": ["10.0.0.2/24"]}]}`)
	if err != nil {
		t.Fatalf("reseed: %v:\n%s", err, out)
	}
	c.configuredBy("10-525400000002.network")
	if out := c.in("ip route; ip addr show eth0"); !strings.Contains(out, "default via 10.0.0.254 ") || !strings.Contains(out, "inet 10.0.0.2/24") {
		t.Errorf("routes and addresses: %s", out)
	}
}

func TestReseedTellsOfANetworkFileThatComesFirst(t *testing.T) {
	c := cloned(t)
	c.networkd()
	c.in(`printf '[Match]\nName=eth0\n[Network]\nIPv6AcceptRA=no\nAddress=10.0.0.1/24\n' >/etc/systemd/network/05-eth0.network`)
	out, err := c.reseed(cloneDocument)
	if err == nil || !regexp.MustCompile(`(?m)^manager +failed: systemd-networkd configures eth0 by /etc/systemd/network/05-eth0.network, `).MatchString(out) {
		t.Errorf("reseed: %v:\n%s", err, out)
	}
}
