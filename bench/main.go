//go:build linux

// Command bench measures the agent against what it competes with, in one run on
// one machine: docs/performance.md says what and how. `make bench` builds it
// and what it needs, and runs it.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cocoonstack/cocoon-agent/bench/internal/lab"
	"github.com/cocoonstack/cocoon-agent/bench/internal/report"
	"github.com/cocoonstack/cocoon-agent/bench/internal/row"
)

// longest is how long a run may take.
const longest = 30 * time.Minute

// hostSource is what is built in the other revision's checkout.
//
//go:embed host/main.go
var hostSource string

type options struct {
	agent, peer  string
	host         string
	openSSH      string
	rows         string
	quick, smoke bool
	vsock        bool
	out          string
	document     string
	strict, gate bool
	against      string
	build        string
}

func main() {
	var o options
	flag.StringVar(&o.agent, "agent", "bin/cocoon-agent", "`program` under test")
	flag.StringVar(&o.peer, "peer", "bin/bench-peer", "`program` of bench/peer")
	flag.StringVar(&o.host, "host", "bin/bench-host", "`program` of bench/host")
	flag.StringVar(&o.openSSH, "openssh", "", "`directory` that bench/openssh.sh has unpacked OpenSSH in; empty: the installed one")
	flag.StringVar(&o.rows, "rows", "", "comma-separated `names` of the rows to measure; all: "+names(row.All)+
		"; with -against: "+names(row.Comparisons))
	flag.BoolVar(&o.quick, "quick", false, "fewer samples, in about a minute")
	flag.BoolVar(&o.smoke, "smoke", false, "hardly any samples: whether everything runs, in seconds")
	flag.BoolVar(&o.vsock, "vsock", false, "over AF_VSOCK loopback; in a guest only")
	flag.StringVar(&o.out, "out", "", "`directory` for results.json, results.md and charts")
	flag.StringVar(&o.document, "doc", "", "Markdown `file` to put results and charts into")
	flag.BoolVar(&o.strict, "strict", false, "exit status 1 if a goal is not met")
	flag.BoolVar(&o.gate, "gate", false,
		"with -against: few samples; exit status 1 if CPU time is more than 1.25 times the base's")
	flag.StringVar(&o.against, "against", "",
		"compare agent and client with those of the revision that is checked out in `dir`, or built there by -build; or another agent, a program")
	flag.StringVar(&o.build, "build", "",
		"with -against: build the programs of that revision in `directory`, for a guest without a compiler, and measure nothing")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func names(rows []row.Row) string {
	var out []string
	for _, r := range rows {
		out = append(out, r.Name)
	}
	return strings.Join(out, ",")
}

func run(o options) error {
	all := row.All
	if o.against != "" {
		all = row.Comparisons
	}
	chosen, err := choose(all, o.rows)
	if err != nil {
		return err
	}
	if (o.gate || o.build != "") && o.against == "" {
		return errors.New("-gate and -build need -against")
	}
	if o.against != "" && o.document != "" {
		return errors.New("-doc is for a run without -against: the document has the goals' rows")
	}
	if o.vsock && lab.InGuest() == "" {
		return errors.New("-vsock is for a guest: here AF_VSOCK is the machine's own (make bench-uml, make bench-qemu)")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	if o.build != "" {
		_, err := lab.BuildRevision(ctx, o.against, o.build, hostSource)
		return err
	}
	dir, err := os.MkdirTemp("", "bench") // a Unix socket's path is short
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b, err := newBench(ctx, o, dir)
	if err != nil {
		return err
	}
	r, err := measureAll(ctx, b, chosen)
	if err != nil {
		return err
	}
	return o.publish(r)
}

func choose(all []row.Row, list string) ([]row.Row, error) {
	if list == "" {
		return all, nil
	}
	var chosen []row.Row
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(all, func(r row.Row) bool { return r.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("no row %q; there are %s", name, names(all))
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

func newBench(ctx context.Context, o options, dir string) (*row.Bench, error) {
	l := &lab.Lab{Dir: dir, Vsock: o.vsock}
	var err error
	if l.Agent, err = filepath.Abs(o.agent); err != nil {
		return nil, err
	}
	if o.openSSH != "" {
		if l.OpenSSH, err = filepath.Abs(o.openSSH); err != nil {
			return nil, err
		}
	}
	if l.Peer, err = filepath.Abs(o.peer); err != nil {
		return nil, err
	}
	size := row.Full
	switch {
	case o.smoke:
		size = row.Smoke
	case o.quick:
		size = row.Quick
	case o.gate:
		size = row.Gate
	}
	b := &row.Bench{Lab: l, Size: size}
	if o.against != "" {
		err = o.compare(ctx, b)
	}
	return b, err
}

// compare fills in the two sides. They may be the same commit.
func (o options) compare(ctx context.Context, b *row.Bench) error {
	host, err := filepath.Abs(o.host)
	if err != nil {
		return err
	}
	b.Head = lab.Build{Name: "head " + version(ctx, b.Lab.Agent), Agent: b.Lab.Agent, Host: host}
	at, err := os.Stat(o.against)
	if err != nil {
		return err
	}
	base, built := lab.Built(o.against)
	switch {
	case built:
		base.Name = version(ctx, base.Agent)
	case at.IsDir():
		base, err = lab.BuildRevision(ctx, o.against, b.Lab.Dir, hostSource)
	default: // another agent with the client of this tree
		base = lab.Build{Agent: o.against, Host: host, Name: version(ctx, o.against)}
	}
	base.Name = "base " + base.Name
	b.Base = &base
	return err
}

func measureAll(ctx context.Context, b *row.Bench, rows []row.Row) (*report.Report, error) {
	r := &report.Report{
		Agent: version(ctx, b.Lab.Agent), Date: time.Now().UTC().Format(time.DateOnly),
		Machine: report.ThisMachine(), Socket: "a Unix socket", Plan: b.Size.Name,
	}
	if b.Lab.Vsock {
		r.Socket = "AF_VSOCK loopback in " + lab.InGuest()
	}
	if b.Base != nil {
		r.Against = b.Base.Name
	} else if ssh, err := b.Lab.StartSSH(ctx); err != nil {
		r.Skipped = append(r.Skipped, "OpenSSH: "+err.Error())
		fmt.Fprintln(os.Stderr, "bench: without OpenSSH:", err)
	} else {
		b.SSH = ssh
		defer ssh.Stop()
	}
	for _, one := range rows {
		begun := time.Now()
		fmt.Fprintf(os.Stderr, "bench: %s", one.Name)
		measured, err := one.Measure(b, ctx)
		fmt.Fprintf(os.Stderr, ": %.0f s\n", time.Since(begun).Seconds())
		switch {
		case errors.Is(err, row.ErrSkipped):
			r.Skipped = append(r.Skipped, one.Name+": "+err.Error())
		case err != nil:
			return nil, fmt.Errorf("%s: %w", one.Name, err)
		default:
			r.Rows = append(r.Rows, measured)
		}
	}
	return r, nil
}

// version is the first word that says what is under test.
func version(ctx context.Context, agent string) string {
	out, err := exec.CommandContext(ctx, agent, "version").Output()
	fields := strings.Fields(string(out))
	if err != nil || len(fields) < 2 {
		return "of unknown version"
	}
	return fields[1]
}

func (o options) publish(r *report.Report) error {
	_, err := fmt.Fprint(os.Stdout, r.Markdown())
	if o.out != "" {
		err = errors.Join(err, r.WriteFiles(o.out))
	}
	if o.document != "" {
		err = errors.Join(err, r.Update(o.document))
	}
	if missed := r.Missed(); o.strict && len(missed) > 0 {
		err = errors.Join(err, fmt.Errorf("%d goals are not met", len(missed)))
	}
	if past := r.PastGate(); o.gate && len(past) > 0 {
		err = errors.Join(err, fmt.Errorf("%d figures are past the gate: %s is %.2f × that of the base, and may be %.2f ×",
			len(past), past[0].What, past[0].Got.Median, past[0].Gate))
	}
	return err
}
