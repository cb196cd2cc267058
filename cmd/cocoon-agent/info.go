package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/alecthomas/kong"

	"github.com/cocoonstack/cocoon-agent/client"
)

type infoCommand struct {
	targetFlags

	Timeout time.Duration `short:"W" default:"10s" help:"Time limit for the answer."`
	JSON    bool          `name:"json" help:"Print one JSON object."`
}

// Help is what --help says besides the flags.
func (*infoCommand) Help() string {
	return `"clock offset" is the guest's clock minus the host's, accurate to half the round
trip. Unknown values are omitted; in JSON they are 0 or empty. JSON has times in
seconds, the clock in RFC 3339 and memory in bytes. An agent that supports only
protocol version 1 reports nothing but the round trip. Exit status:

  0  the agent answered
  1  the agent did not answer
  2  invalid command line

  cocoon-agent info --cid 3
  cocoon-agent info --json --target hvsock:///run/vm/v.sock | jq .memory_available`
}

// Run asks and prints.
func (i *infoCommand) Run(k *kong.Context) error {
	if i.Timeout <= 0 {
		return misuse("--timeout %v: want more than 0", i.Timeout)
	}
	url, err := i.url(k)
	if err != nil {
		return err
	}
	c, err := i.dial(context.Background(), url)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), i.Timeout)
	defer cancel()
	info, err := c.Info(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: no answer within %v", url, i.Timeout)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	if i.JSON {
		return printJSON(k.Stdout, info)
	}
	return printInfo(k.Stdout, info)
}

func printInfo(out io.Writer, i *client.Info) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if i.Protocol == int(client.Protocol1) {
		fmt.Fprintf(w, "agent\tprotocol 1 (no further information)\nround trip\t%s\n", milliseconds(i.RoundTrip))
		return w.Flush()
	}
	for _, row := range [][2]string{
		{"agent", fmt.Sprintf("%s, protocol %d", i.Version, i.Protocol)},
		{"hostname", i.Hostname},
		{"system", i.OS},
		{"kernel", strings.TrimSpace(i.Kernel + " " + i.Arch)},
		{"boot id", i.BootID},
		{"resumes", fmt.Sprint(i.Resumes)},
		{"uptime", known(i.Uptime != 0, i.Uptime.Truncate(time.Second))},
		{"CPUs", known(i.CPUs != 0, i.CPUs)},
		{"memory", known(i.MemoryTotal != 0, mebibytes(i.MemoryAvailable)+" of "+mebibytes(i.MemoryTotal)+" available")},
		{"CPU time", known(i.CPUTime != 0, i.CPUTime)},
		{"load", fmt.Sprintf("%.2f %.2f %.2f", i.Load[0], i.Load[1], i.Load[2])},
		{"start", startOf(i)},
		{"agent's execs", execsOf(&i.Agent)},
		{"agent's forwards", forwardsOf(&i.Agent)},
		{"agent's memory", known(i.Agent.RSS != 0, mebibytes(i.Agent.RSS))},
		{"agent's uptime", known(i.Agent.Uptime != 0, i.Agent.Uptime.Truncate(time.Second))},
		{"clock", i.Clock.UTC().Format("2006-01-02 15:04:05.000 MST")},
		{"clock offset", fmt.Sprintf("%+.3f ms ± %s", float64(i.ClockOffset)/float64(time.Millisecond), milliseconds(i.RoundTrip/2))},
	} {
		if row[1] != "" {
			fmt.Fprintf(w, "%s\t%s\n", row[0], printable(row[1]))
		}
	}
	return w.Flush()
}

// startOf says how commands are started.
func startOf(i *client.Info) string {
	if i.StartsStuck == 0 {
		return i.Start
	}
	return fmt.Sprintf("%s, %d stuck", i.Start, i.StartsStuck)
}

func execsOf(a *client.AgentInfo) string {
	if a.Connections == 0 {
		return "" // it does not tell
	}
	return fmt.Sprintf("%d running, %d started, %d failed, on %d connections", a.ExecsRunning, a.ExecsStarted, a.ExecsFailed, a.Connections)
}

func forwardsOf(a *client.AgentInfo) string {
	if a.ForwardsStarted+a.ForwardsFailed == 0 {
		return "" // or it does not tell
	}
	return fmt.Sprintf("%d open, %d made, %d failed", a.ForwardsRunning, a.ForwardsStarted, a.ForwardsFailed)
}

// known returns value for people, or "" if it is not known.
func known(is bool, value any) string {
	if !is {
		return ""
	}
	return fmt.Sprint(value)
}

// printable is text of a guest's that says nothing to the host's terminal, in one line.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, strings.ReplaceAll(text, "\n", "; "))
}

func mebibytes(n uint64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// infoJSON is a contract: names and units stay.
type infoJSON struct {
	Version         string     `json:"version"`
	Protocol        int        `json:"protocol"`
	Hostname        string     `json:"hostname"`
	OS              string     `json:"os"`
	Kernel          string     `json:"kernel"`
	Arch            string     `json:"arch"`
	BootID          string     `json:"boot_id"`
	Resumes         uint64     `json:"resumes"`
	Uptime          float64    `json:"uptime_seconds"`
	CPUs            int        `json:"cpus"`
	CPUTime         float64    `json:"cpu_seconds"`
	MemoryTotal     uint64     `json:"memory_total"`
	MemoryAvailable uint64     `json:"memory_available"`
	Load            [3]float64 `json:"load"`
	Start           string     `json:"start"`
	StartsStuck     uint64     `json:"starts_stuck"`
	Clock           time.Time  `json:"clock"`
	ClockOffset     float64    `json:"clock_offset_seconds"`
	RoundTrip       float64    `json:"round_trip_seconds"`
	Agent           agentJSON  `json:"agent"`
}

type agentJSON struct {
	Uptime       float64 `json:"uptime_seconds"`
	RSS          uint64  `json:"rss"`
	Connections  uint64  `json:"connections"`
	Refused      uint64  `json:"refused"`
	ExecsStarted uint64  `json:"execs_started"`
	ExecsFailed  uint64  `json:"execs_failed"`
	ExecsRunning uint64  `json:"execs_running"`

	ForwardsStarted uint64 `json:"forwards_started"`
	ForwardsFailed  uint64 `json:"forwards_failed"`
	ForwardsRunning uint64 `json:"forwards_running"`

	StdinBytes  uint64 `json:"stdin_bytes"`
	StdoutBytes uint64 `json:"stdout_bytes"`
	StderrBytes uint64 `json:"stderr_bytes"`
	CgroupsKept uint64 `json:"cgroups_kept"`
	RecordsKept uint64 `json:"records_kept"`
	RingMemory  uint64 `json:"ring_memory"`
}

func printJSON(out io.Writer, i *client.Info) error {
	a := &i.Agent
	return writeJSON(out, infoJSON{
		i.Version, i.Protocol, i.Hostname, i.OS, i.Kernel, i.Arch, i.BootID, i.Resumes, i.Uptime.Seconds(), i.CPUs, i.CPUTime.Seconds(),
		i.MemoryTotal, i.MemoryAvailable, i.Load, i.Start, i.StartsStuck, i.Clock.UTC(), i.ClockOffset.Seconds(), i.RoundTrip.Seconds(),
		agentJSON{
			a.Uptime.Seconds(), a.RSS, a.Connections, a.Refused, a.ExecsStarted, a.ExecsFailed, a.ExecsRunning,
			a.ForwardsStarted, a.ForwardsFailed, a.ForwardsRunning,
			a.StdinBytes, a.StdoutBytes, a.StderrBytes, a.CgroupsKept, a.RecordsKept, a.RingMemory,
		},
	})
}
