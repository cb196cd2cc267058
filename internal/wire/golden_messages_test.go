package wire_test

import (
	"math"
	"strings"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A goldenMessage is one file of testdata/wire.
type goldenMessage struct {
	name    string
	about   string
	message wire.Message

	// body is set if this package does not write the message so, but must
	// understand it.
	body string
}

// handle is 16 bytes, the first and the last values of a byte among them.
func handle() []byte {
	return []byte{0x00, 0x01, 0x7f, 0x80, 0xfe, 0xff, 0x22, 0x5c, 0x0a, 0x0d, 0xc1, 0xde, 0xad, 0xbe, 0xef, 0x00}
}

func head(id uint64) wire.Head { return wire.Head{ID: id} }

func goldenMessages() []goldenMessage {
	all := goldenRequests()
	all = append(all, goldenEvents()...)
	all = append(all, goldenErrors()...)
	return append(all, goldenReceived()...)
}

func goldenRequests() []goldenMessage {
	return []goldenMessage{
		{name: "hello-minimal", about: "hello, the smallest: protocol versions 2 to 2", message: &wire.Hello{Min: 2, Max: 2}},
		{name: "hello", about: "hello of an agent, with every field", message: &wire.Hello{
			Min: 2, Max: 3, Features: []string{"attach", "forward"}, Version: "v1.2.3", OS: "linux", Arch: "amd64",
			BootID: "7d0e3b7e-6a55-4c0b-9c7f-0a4b7a0d8a11", Resumes: 2, AgentID: handle(),
		}},
		{name: "exec-minimal", about: "exec, the smallest: no stream, no terminal, all else left to the agent", message: &wire.Exec{
			Head: head(1), Argv: []string{"true"},
		}},
		{name: "exec", about: "exec with every field", message: &wire.Exec{
			Head: head(2), Argv: []string{"/bin/sh", "-c", "echo \"$GREETING\" >&2"},
			Env: []string{"GREETING=hello", "PATH=/usr/bin:/bin"}, ClearEnv: true, Dir: "/tmp", User: "1000:1000",
			TTY:   &wire.TTY{Rows: 50, Cols: 132, Term: "xterm-256color"},
			Stdin: 3, Stdout: 5, Stderr: 7, TimeoutMS: 90_000, OnDisconnect: wire.DisconnectKeep,
		}},
		{name: "exec-streams", about: "exec with a stream for each of stdin, stdout and stderr", message: &wire.Exec{
			Head: head(3), Argv: []string{"cat"}, Stdin: 3, Stdout: 5, Stderr: 7, OnDisconnect: wire.DisconnectKill,
		}},
		{name: "exec-merged", about: "exec whose stdout and stderr are one stream", message: &wire.Exec{
			Head: head(4), Argv: []string{"make"}, Stdout: 9, Stderr: 9,
		}},
		{name: "exec-tty-default", about: "exec with a terminal of the default size and TERM: an empty map", message: &wire.Exec{
			Head: head(5), Argv: []string{"top"}, TTY: &wire.TTY{}, Stdin: 3, Stdout: 5,
		}},
		{name: "exec-tty-modes", about: "exec with a window of 800 by 480 pixels, ^H to erase and UTF-8: RFC 4254, section 8", message: &wire.Exec{
			Head: head(20), Argv: []string{"sh"}, Stdout: 5,
			TTY: &wire.TTY{Rows: 24, Cols: 80, WidthPX: 800, HeightPX: 480, Modes: []byte("\x03\x00\x00\x00\x08\x2a\x00\x00\x00\x01\x00")},
		}},
		{name: "exec-tty-largest", about: "exec with the largest terminal", message: &wire.Exec{
			Head: head(6), Argv: []string{"top"}, TTY: &wire.TTY{Rows: math.MaxUint16, Cols: math.MaxUint16}, Stdin: 3, Stdout: 5,
		}},
		{name: "exec-limits", about: "exec with limits: 256 MiB, 100 processes, half a CPU", message: &wire.Exec{
			Head: head(6), Argv: []string{"make"}, Limits: &wire.Limits{Memory: 256 << 20, PIDs: 100, CPUMilli: 500}, Stdout: 5,
		}},
		{name: "exec-linger", about: "exec whose output is read for 1.5 s after the exit", message: &wire.Exec{
			Head: head(18), Argv: []string{"make"}, Stdout: 5, LingerMS: new(uint64(1500)),
		}},
		{name: "exec-linger-end", about: "exec whose output is read to its end", message: &wire.Exec{
			Head: head(19), Argv: []string{"make"}, Stdout: 5, LingerMS: new(uint64),
		}},
		{name: "exec-verbatim", about: "exec in a Windows guest, whose arguments stand in the command line as they are", message: &wire.Exec{
			Head: head(22), Argv: []string{"cmd", "/c", `dir "C:\Program Files"`}, Stdout: 5, Verbatim: true,
		}},
		{name: "exec-env", about: "exec with an empty value, an equals sign within a value, an empty argument and text beyond ASCII", message: &wire.Exec{
			Head: head(7), Argv: []string{"env", "", "naïve", "日本"}, Env: []string{"EMPTY=", "OPTS=a=b", "LINES=one\ntwo", "<&>=\u2028"},
		}},
		{name: "exec-bytes", about: "exec whose argument and environment are no UTF-8: str carries them all the same", message: &wire.Exec{
			Head: head(8), Argv: []string{"ls", "caf\xe9", "\xff\x00\xfe"}, Env: []string{"NAME=\xc3("},
		}},
		{name: "exec-largest-numbers", about: "exec with the largest id, stream ids and timeout", message: &wire.Exec{
			Head: head(math.MaxUint64), Argv: []string{"true"},
			Stdin: math.MaxUint32, Stdout: math.MaxUint32 - 2, Stderr: math.MaxUint32 - 4, TimeoutMS: math.MaxUint64,
		}},
		{name: "exec-lengths", about: "exec whose lengths need each form: array16, and str of 31 (fixstr), 32, 255 (str8) and 256 (str16) bytes", message: &wire.Exec{
			Head: head(9),
			Argv: append(strings.Fields("echo 1 2 3 4 5 6 7 8 9 10 11 12"), strings.Repeat("a", 31), strings.Repeat("b", 32), strings.Repeat("c", 255), strings.Repeat("d", 256)),
			Env:  strings.Fields("A= B= C= D= E= F= G= H= I= J= K= L= M= N= O="),
		}},
		{name: "signal", about: "signal by name", message: &wire.Signal{Head: head(10), Exec: 1, Signal: "TERM"}},
		{name: "signal-number", about: "signal by number, for the exec with the largest id", message: &wire.Signal{
			Head: head(11), Exec: math.MaxUint64, Signal: "10",
		}},
		{name: "resize", about: "resize to 50 rows of 132", message: &wire.Resize{Head: head(12), Exec: 1, Rows: 50, Cols: 132}},
		{name: "resize-pixels", about: "resize to 30 rows of 90, 900 by 600 pixels", message: &wire.Resize{
			Head: head(21), Exec: 1, Rows: 30, Cols: 90, WidthPX: 900, HeightPX: 600,
		}},
		{name: "signal-handle", about: "signal to an exec of another connection, by its handle", message: &wire.Signal{Head: head(13), Signal: "HUP", Handle: handle()}},
		{name: "kill", about: "kill: SIGTERM, and SIGKILL after a grace", message: &wire.Kill{Head: head(12), Exec: 1}},
		{name: "kill-force", about: "kill: SIGKILL at once", message: &wire.Kill{Head: head(13), Exec: 1, Force: true}},
		{name: "kill-handle", about: "kill of an exec of another connection, by its handle", message: &wire.Kill{Head: head(13), Handle: handle()}},
		{name: "exec-detached", about: "exec that outlives its connection, with a key", message: &wire.Exec{
			Head: head(30), Argv: []string{"make", "test"}, Stdout: 1, Stderr: 1,
			Keeping: wire.Keeping{Key: []byte("build 7"), AgentID: handle(), Detach: true, Ring: 1 << 20, RingFull: wire.RingBlock, LeaseMS: 600_000},
		}},
		{name: "started-repeated", about: "started: answer to an exec whose key is known", message: &wire.Started{
			Head: head(30), PID: 812, Handle: handle(), Repeated: true,
		}},
		{name: "attach", about: "attach at offsets", message: &wire.Attach{
			Head: head(31), Handle: handle(), AgentID: handle(), Stdin: 1, Stdout: 3, Stderr: 5, StdoutOffset: 70_000, StderrOffset: 12,
		}},
		{name: "attach-oldest", about: "attach: all output that is kept", message: &wire.Attach{
			Head: head(31), Handle: handle(), Stdout: 1, From: wire.FromOldest, Redraw: wire.RedrawAuto,
		}},
		{name: "started-attach", about: "started: where the output of an attach begins", message: &wire.Started{
			Head: head(31), PID: 812, Handle: handle(), StdoutOffset: 70_000, StderrOffset: 12, Redraw: 40, StdoutBytes: 80_000, StderrBytes: 12,
		}},
		{name: "acked", about: "acked: output of an attach that the host has", message: &wire.Acked{
			Head: head(31), StdoutOffset: 90_000, StderrOffset: 12,
		}},
		{name: "error-behind", about: "error: the output is not kept from the offset that an attach names", message: &wire.Error{
			Head: head(31), Kind: wire.NotFound, Message: "stderr is not kept from byte 12, only from 300 to 900",
			Behind: &wire.Behind{Stderr: true, Want: 12, Oldest: 300, Newest: 900},
		}},
		{name: "leave", about: "leave: the host wants no more of attach 31", message: &wire.Leave{Head: head(33), Exec: 31}},
		{name: "release", about: "release", message: &wire.Release{Head: head(32), Handle: handle()}},
		{name: "files", about: "files: a file of the host goes to /srv", message: &wire.Files{Head: head(34), Op: "push", Path: "/srv", To: "/new", User: "app", Stdin: 3, Stdout: 5}},
		{name: "execs", about: "execs", message: &wire.Execs{Head: head(20)}},
		{name: "quiesce", about: "quiesce", message: &wire.Quiesce{Head: head(50), TimeoutMS: 10_000, FreezeExecs: true, FreezeFS: true}},
		{name: "quiesce-plain", about: "quiesce that freezes nothing", message: &wire.Quiesce{Head: head(51)}},
		{name: "thaw", about: "thaw", message: &wire.Thaw{Head: head(52)}},
		{name: "ping", about: "ping", message: &wire.Ping{Head: head(14)}},
		{name: "info", about: "info", message: &wire.Info{Head: head(15)}},
		{name: "reseed-resume", about: "reseed with every field: what a clone needs, in one go", message: &wire.Reseed{
			Head: head(17), Entropy: handle(), MachineID: true, ClockNS: 1_790_000_000_123_456_789, ClockBack: true,
			Hostname: "vm-17", SSHKeys: true,
		}},
		{name: "reseed", about: "reseed: 16 bytes of entropy, as bin, and a new machine-id", message: &wire.Reseed{
			Head: head(16), Entropy: handle(), MachineID: true,
		}},
		{name: "reseed-network", about: "reseed with a network of its own for a clone", message: &wire.Reseed{
			Head: head(17), Entropy: handle(), Network: &wire.Network{
				Interfaces: []wire.Interface{
					{
						MAC: "52:54:00:00:00:02", OldMAC: "52:54:00:00:00:01", Addresses: []string{"10.0.0.2/24", "2001:db8::2/64"},
						Routes: []wire.Route{
							{To: "default", Via: "10.0.0.254", Metric: 100},
							{To: "192.0.2.0/24", Via: "10.9.0.1", OnLink: true},
						},
					},
					{MAC: "52:54:00:00:00:03", OldMAC: "52:54:00:00:00:01", Replaced: true},
				},
				DNS:    &wire.DNS{Servers: []string{"10.0.0.53"}, Search: []string{"example.org"}},
				Hosts:  []wire.HostEntry{{Address: "10.0.0.2", Names: []string{"web-17", "web"}}},
				WaitMS: new(uint64),
			},
		}},
		{name: "forward", about: "forward to a port of the guest's loopback interface", message: &wire.Forward{
			Head: head(18), Network: "tcp", Address: "localhost:80", Stream: 9,
		}},
		{name: "forward-unix", about: "forward to a Unix socket whose path is no UTF-8", message: &wire.Forward{
			Head: head(19), Network: "unix", Address: "/run/caf\xe9.sock", Stream: 11,
		}},
		{name: "forward-largest-numbers", about: "forward with the largest id and stream id, to an abstract Unix socket", message: &wire.Forward{
			Head: head(math.MaxUint64), Network: "unix", Address: "@docker", Stream: math.MaxUint32,
		}},
		{name: "listen", about: "listen on any free port of the guest's loopback interface", message: &wire.Listen{
			Head: head(21), Network: "tcp", Address: "localhost:0",
		}},
		{name: "accept", about: "accept of the next connection of a listener", message: &wire.Accept{
			Head: head(22), Listener: 21, Stream: 13,
		}},
		{name: "accept-largest-numbers", about: "accept with the largest ids", message: &wire.Accept{
			Head: head(math.MaxUint64), Listener: math.MaxUint64, Stream: math.MaxUint32,
		}},
	}
}

func goldenEvents() []goldenMessage {
	return []goldenMessage{
		{name: "started", about: "started: 16 bytes of handle, as bin", message: &wire.Started{Head: head(1), PID: 4711, Handle: handle()}},
		{name: "started-largest-numbers", about: "started with the largest id and the largest pid of Linux", message: &wire.Started{
			Head: head(math.MaxUint64), PID: 1 << 22, Handle: []byte(strings.Repeat("\xff", 16)),
		}},
		{name: "started-notes", about: "started with what is unusual about the exec", message: &wire.Started{
			Head: head(1), PID: 4711, Handle: handle(), Notes: []string{"unknown_uid", "no_cgroup"},
		}},
		{name: "started-forward", about: "started of a forward: neither pid nor handle", message: &wire.Started{Head: head(18)}},
		{name: "started-listen", about: "started of a listen: where it is bound", message: &wire.Started{Head: head(21), Address: "127.0.0.1:40123"}},
		{name: "error-hung", about: "error of an exec whose start hung until its timeout", message: &wire.Error{
			Head: head(1), Kind: wire.Internal, Message: "stuck in execve /mnt/tool", Reason: wire.ReasonTimeout,
		}},
		{name: "exited-windows", about: "exited in a Windows guest, by an access violation, 0xC0000005: the same number with and without a sign", message: &wire.Exited{
			Head: head(22), Code: -1073741819, Reason: wire.ReasonExit, Status: 0xC0000005,
		}},
		{name: "exited-stuck", about: "exited of a start that hung and that SIGKILL has not ended", message: &wire.Exited{
			Head: head(1), Code: -1, Reason: wire.ReasonLost, Message: "stuck in execve /mnt/tool; SIGKILL does not end it",
		}},
		{name: "exited-minimal", about: "exited, the smallest: code 0, no output", message: &wire.Exited{Head: head(1), Reason: wire.ReasonExit}},
		{name: "exited", about: "exited with a code, output and resources used", message: &wire.Exited{
			Head: head(2), Code: 7, Reason: wire.ReasonExit, StdoutBytes: 67_108_864, StderrBytes: 42,
			UserUS: 1_250_000, SystemUS: 30_000, MaxRSS: 3_407_872,
		}},
		{name: "exited-every-field", about: "exited with every field but a message: SIGKILL from the kernel, which ran out of memory", message: &wire.Exited{
			Head: head(3), Code: -1, Signal: "KILL", SignalNumber: 9, CoreDumped: true, Reason: wire.ReasonSignal,
			StdoutBytes: 5, StderrBytes: 6, Cut: true, UserUS: 7, SystemUS: 8, MaxRSS: 9, OOMKilled: true,
		}},
		{name: "exited-signal", about: "exited by a signal, with a core dump", message: &wire.Exited{
			Head: head(4), Code: -1, Signal: "SEGV", SignalNumber: 11, CoreDumped: true, Reason: wire.ReasonSignal,
		}},
		{name: "exited-timeout", about: "exited because its timeout ran out", message: &wire.Exited{
			Head: head(5), Code: -1, Signal: "TERM", SignalNumber: 15, Reason: wire.ReasonTimeout,
		}},
		{name: "exited-killed", about: "exited with a code of its own when the host asked for its end", message: &wire.Exited{
			Head: head(6), Code: 143, Reason: wire.ReasonKilled,
		}},
		{name: "exited-shutdown", about: "exited because the agent was shutting down", message: &wire.Exited{
			Head: head(7), Code: -1, Signal: "KILL", SignalNumber: 9, Reason: wire.ReasonShutdown,
		}},
		{name: "exited-limit", about: "exited because it did not read its input, for which the agent had no memory", message: &wire.Exited{
			Head: head(1), Code: -1, Signal: "TERM", SignalNumber: 15, Reason: wire.ReasonLimit,
		}},
		{name: "exited-lost", about: "exited, and nobody knows how: code means nothing", message: &wire.Exited{
			Head: head(8), Code: -1, Reason: wire.ReasonLost,
		}},
		{name: "exited-cut", about: "exited while others still held its output open", message: &wire.Exited{
			Head: head(9), Reason: wire.ReasonExit, StdoutBytes: 12, Cut: true,
		}},
		{name: "exited-integers", about: "exited with the smallest number of each form: uint8 (code, signal_number), uint16, uint32, uint64", message: &wire.Exited{
			Head: head(127), Code: 128, SignalNumber: 255, Reason: wire.ReasonExit,
			StdoutBytes: 1 << 8, StderrBytes: 1 << 16, UserUS: 1 << 32, SystemUS: math.MaxUint32, MaxRSS: math.MaxUint16,
		}},
		{name: "exited-largest-numbers", about: "exited with the largest numbers", message: &wire.Exited{
			Head: head(math.MaxUint64), Code: 255, Reason: wire.ReasonExit, StdoutBytes: math.MaxUint64, StderrBytes: math.MaxUint64,
			UserUS: math.MaxUint64, SystemUS: math.MaxUint64, MaxRSS: math.MaxUint64,
		}},
		{name: "done", about: "done", message: &wire.Done{Head: head(14)}},
		{name: "done-guest", about: "done of an info, with every field", message: &wire.Done{Head: head(15), Guest: &wire.Guest{
			Version: "v1.2.3", Hostname: "vm-17", OS: "Debian GNU/Linux 12 (bookworm)", Kernel: "6.1.0-31-cloud-amd64",
			Arch: "amd64", BootID: "7d0e3b7e-6a55-4c0b-9c7f-0a4b7a0d8a11", Resumes: 2,
			UptimeMS: 86_400_123, CPUs: 2, MemoryTotal: 128 << 20, MemoryAvailable: 61 << 20,
			Load1: 142, Load5: 70, Load15: 5, ClockNS: 1_790_000_000_123_456_789,
			Start: "clone3", StartsStuck: 1, CPUNS: 12_340_000_000,
		}}},
		{name: "done-agent", about: "done of an info: what the agent says of itself", message: &wire.Done{Head: head(15), Guest: &wire.Guest{}, Agent: &wire.Agent{
			UptimeMS: 3_600_123, RSS: 12 << 20, Connections: 3, Refused: 1,
			ExecsStarted: 1000, ExecsFailed: 7, ExecsRunning: 2, ForwardsStarted: 500, ForwardsFailed: 6, ForwardsRunning: 8,
			StdinBytes: 3 << 20, StdoutBytes: 5 << 30, StderrBytes: 17, CgroupsKept: 4, RecordsKept: 5, RingMemory: 70_000,
		}}},
		{name: "done-guest-unknown", about: "done of an info that could find out nothing: an empty map", message: &wire.Done{
			Head: head(15), Guest: &wire.Guest{},
		}},
		{name: "done-steps", about: "done of a reseed: what has become of each step", message: &wire.Done{Head: head(17), Steps: []wire.Step{
			{Name: "entropy", Changed: true, Message: "16 bytes"},
			{Name: "random_seed", Message: "there is none"},
		}}},
		{name: "done-thawed", about: "done of a thaw: the guest has held still until then", message: &wire.Done{
			Head: head(52), Thawed: &wire.Thawed{Held: true, MS: 250},
			Steps: []wire.Step{{Name: "thaw", Changed: true}, {Name: "hooks", Message: "none"}},
		}},
		{name: "done-not-held", about: "done of a thaw that comes too late", message: &wire.Done{
			Head: head(53), Thawed: &wire.Thawed{By: "timeout", MS: 10_000},
		}},
		{name: "done-execs", about: "done of execs: one with every field, and one that its host has left to run", message: &wire.Done{
			Head: head(20), Execs: &wire.ExecList{More: 2, Running: []wire.ExecState{
				{Handle: handle(), PID: 1234, Command: "/bin/sh", User: "dev", TTY: true, Keep: true, Connected: true, RunningMS: 90_000},
				{Handle: handle(), PID: 77, Command: "sleep", Keep: true, RunningMS: 5},
			}},
		}},
		{name: "done-execs-kept", about: "done of execs: a detached one that runs, and two that have ended", message: &wire.Done{
			Head: head(20), Execs: &wire.ExecList{
				Running: []wire.ExecState{{
					Handle: handle(), PID: 90, Command: "make", Keep: true, RunningMS: 7, Detached: true, Input: true,
					StdoutOldest: 4096, StdoutBytes: 300_000, StderrOldest: 1, StderrBytes: 5,
				}},
				Ended: []wire.ExecState{
					{Handle: handle(), PID: 91, Command: "true", RunningMS: 3, Exited: &wire.ExecEnd{Code: -1, Signal: "KILL", SignalNumber: 9, Reason: wire.ReasonKilled}},
					{Handle: handle(), PID: 92, Command: "x.exe", RunningMS: 3, Exited: &wire.ExecEnd{Code: -1, Status: 0xFFFFFFFF, Reason: wire.ReasonExit}},
				},
			},
		}},
	}
}

func goldenErrors() []goldenMessage {
	return []goldenMessage{
		{name: "error-bad-request", about: "error about a request that makes no sense", message: &wire.Error{
			Head: head(1), Kind: wire.BadRequest, Message: "argv is empty",
		}},
		{name: "error-steps", about: "error about a reseed of which one step has failed", message: &wire.Error{
			Head: head(17), Kind: wire.PermissionDenied, Message: "machine_id: operation not permitted",
			Steps: []wire.Step{
				{Name: "entropy", Changed: true},
				{Name: "machine_id", Kind: wire.PermissionDenied, Message: "operation not permitted"},
			},
		}},
		{name: "error-not-found", about: "error about a command that is not there", message: &wire.Error{
			Head: head(2), Kind: wire.NotFound, Message: `"nosuch": executable file not found in $PATH`,
		}},
		{name: "error-permission-denied", about: "error about a file that is not executable", message: &wire.Error{
			Head: head(3), Kind: wire.PermissionDenied, Message: "/etc/passwd: permission denied",
		}},
		{name: "error-unsupported", about: "error about a type that the receiver does not know", message: &wire.Error{
			Head: head(4), Kind: wire.Unsupported, Message: `request "teleport" is not known here`,
		}},
		{name: "error-limit", about: "error about a limit", message: &wire.Error{
			Head: head(5), Kind: wire.Limit, Message: "fork: resource temporarily unavailable",
		}},
		{name: "error-shutting-down", about: "error from an agent that takes no new work", message: &wire.Error{
			Head: head(6), Kind: wire.ShuttingDown, Message: "the agent is shutting down",
		}},
		{name: "error-internal", about: "error that is the agent's own fault, with the largest id", message: &wire.Error{
			Head: head(math.MaxUint64), Kind: wire.Internal, Message: "",
		}},
		{name: "error-connection", about: "error without an id: why the sender is about to close the connection", message: &wire.Error{
			Kind: wire.BadRequest, Message: "the first message is not hello",
		}},
	}
}

// goldenReceived are forms that other implementations may send, now or later.
func goldenReceived() []goldenMessage {
	unknown := &wire.Unknown{Head: wire.Head{Type: "teleport", ID: 300}}
	return []goldenMessage{
		{
			name: "received-unknown-type", about: "a type that is not known: answered with error unsupported, because it has an id",
			message: unknown, body: "\x83\xa4type\xa8teleport\xa2id\xcd\x01\x2c\xa2to\x81\xa1x\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00",
		},
		{
			name: "received-unknown-field", about: "fields that are not known, with nested values: ignored",
			message: &wire.Ping{Head: wire.Head{Type: wire.TypePing, ID: 1}},
			body:    "\x84\xa5since\x82\xa1a\x93\x01\xc0\xc3\xa1b\x81\xa4type\xa4exec\xa4type\xa4ping\xa2id\x01\xa4note\xc4\x01\xff",
		},
		{
			name: "received-order", about: "keys in another order",
			message: &wire.Signal{Head: wire.Head{Type: wire.TypeSignal, ID: 2}, Exec: 1, Signal: "INT"},
			body:    "\x84\xa6signal\xa3INT\xa4exec\x01\xa2id\x02\xa4type\xa6signal",
		},
		{
			name: "received-wide", about: "the widest form of everything: map32, str32, array32, uint64, int64, bin32",
			message: &wire.Exec{
				Head: wire.Head{Type: wire.TypeExec, ID: 1}, Argv: []string{"ls"}, Stdout: 5, TimeoutMS: 6,
			},
			body: "\xdf\x00\x00\x00\x06" +
				"\xdb\x00\x00\x00\x04type" + "\xdb\x00\x00\x00\x04exec" +
				"\xdb\x00\x00\x00\x02id" + "\xcf\x00\x00\x00\x00\x00\x00\x00\x01" +
				"\xdb\x00\x00\x00\x04argv" + "\xdd\x00\x00\x00\x01\xdb\x00\x00\x00\x02ls" +
				"\xdb\x00\x00\x00\x06stdout" + "\xcf\x00\x00\x00\x00\x00\x00\x00\x05" +
				"\xdb\x00\x00\x00\x0atimeout_ms" + "\xd3\x00\x00\x00\x00\x00\x00\x00\x06" +
				"\xdb\x00\x00\x00\x01x" + "\xc6\x00\x00\x00\x01\x00",
		},
		{
			name: "received-zeroes", about: "zero values that a sender may leave out, written out",
			message: &wire.Exec{Head: wire.Head{Type: wire.TypeExec, ID: 1}, Argv: []string{"true"}},
			body: "\x89\xa4type\xa4exec\xa2id\x01\xa4argv\x91\xa4true\xa3env\x90\xa9clear_env\xc2\xa3dir\xa0" +
				"\xa3tty\xc0\xa5stdin\x00\xadon_disconnect\xa0",
		},
	}
}
