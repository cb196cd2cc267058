// Package poolmetrics is what a client.Pool does, for Prometheus:
//
//	prometheus.MustRegister(poolmetrics.New(pool))
//
// It is a separate module, so that the client does not need Prometheus's libraries. No label
// has a value that a guest or a target chooses: how many series there are does not depend on
// how many VMs there are. The client's Pool.Targets tells of each target, for people.
//
// A program with several pools gives each a registry, or labels:
//
//	prometheus.WrapRegistererWith(prometheus.Labels{"pool": "exec"}, registry).MustRegister(poolmetrics.New(pool))
//
// docs/metrics.md has the metrics, queries and alerts.
package poolmetrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/cocoonstack/cocoon-agent/client"
)

// A family is the metrics of one name.
type family struct {
	desc   *prometheus.Desc
	typ    prometheus.ValueType
	values func(*client.PoolStats) []value
}

type value struct {
	label string // "": the family has none
	n     float64
}

func gauge(name, help string, n func(*client.PoolStats) int) family {
	return family{desc(name, help, ""), prometheus.GaugeValue, func(s *client.PoolStats) []value { return []value{{"", float64(n(s))}} }}
}

func counter(name, help string, n func(*client.PoolStats) uint64) family {
	return family{desc(name, help, ""), prometheus.CounterValue, func(s *client.PoolStats) []value { return []value{{"", float64(n(s))}} }}
}

func desc(name, help, label string) *prometheus.Desc {
	var labels []string
	if label != "" {
		labels = []string{label}
	}
	return prometheus.NewDesc("cocoon_pool_"+name, help, labels, nil)
}

//nolint:gochecknoglobals // a table
var families = []family{
	{
		desc("targets", "Agents that were asked for of late, by what is known of them.", "state"), prometheus.GaugeValue,
		func(s *client.PoolStats) []value {
			return []value{
				{string(client.TargetConnected), float64(s.States.Connected)},
				{string(client.TargetSilent), float64(s.States.Silent)},
				{string(client.TargetConnecting), float64(s.States.Connecting)},
				{string(client.TargetFailing), float64(s.States.Failing)},
				{string(client.TargetIdle), float64(s.States.Idle)},
			}
		},
	},
	{
		desc("connections", "Open connections, by whether commands or requests use them.", "use"), prometheus.GaugeValue,
		func(s *client.PoolStats) []value {
			return []value{{"in_use", float64(s.InUse)}, {"idle", float64(s.Conns - s.InUse)}}
		},
	},
	gauge("dialing", "Attempts to connect that are under way.", func(s *client.PoolStats) int { return s.Dialing }),
	counter("dials_total", "Attempts to connect.", func(s *client.PoolStats) uint64 { return s.Dials }),
	counter("dial_failures_total", "Attempts to connect that have failed.", func(s *client.PoolStats) uint64 { return s.DialErrors }),
	counter("full_total", "Attempts to connect that were not made, because all connections that the pool may have were in use.", func(s *client.PoolStats) uint64 { return s.Full }),
	counter("probes_total", "Pings over connections that were silent.", func(s *client.PoolStats) uint64 { return s.Probes }),
	counter("probe_timeouts_total", "Pings that were not answered in time.", func(s *client.PoolStats) uint64 { return s.ProbeTimeouts }),
	{
		desc("connections_ended_total", "Connections that have ended, by why: idle or replaced, dead after a newer one was answered, "+
			"forgotten with their VM, or lost by the other side's doing.", "reason"), prometheus.CounterValue,
		func(s *client.PoolStats) []value {
			return []value{
				{"evicted", float64(s.Evicted)},
				{"stale", float64(s.Stale)},
				{"forgotten", float64(s.Forgotten)},
				{"lost", float64(s.Lost)},
			}
		},
	},
	counter("retries_total", "Commands and guest connections that were tried again over another connection.", func(s *client.PoolStats) uint64 { return s.Retries }),
	{
		desc("commands_total", "Commands that have ended, by how.", "outcome"), prometheus.CounterValue,
		func(s *client.PoolStats) []value {
			c := &s.Commands
			return []value{
				{"succeeded", float64(c.Succeeded)},
				{"failed", float64(c.Failed)},
				{"signaled", float64(c.Signaled)},
				{"timed_out", float64(c.TimedOut)},
				{"ended", float64(c.Ended)},
				{"incomplete", float64(c.Incomplete)},
				{"lost", float64(c.Lost)},
				{"maybe_started", float64(c.MaybeStarted)},
				{"not_started", float64(c.NotStarted)},
				{"limited", float64(c.Limited)},
				{"refused", float64(c.Refused)},
			}
		},
	},
	counter("received_bytes_total", "Bytes received from agents.", func(s *client.PoolStats) uint64 { return s.ReceivedBytes }),
	counter("sent_bytes_total", "Bytes sent to agents.", func(s *client.PoolStats) uint64 { return s.SentBytes }),
	{
		desc("last_dial_failure_timestamp_seconds", "When an attempt to connect last failed, as Unix time; 0: never.", ""), prometheus.GaugeValue,
		func(s *client.PoolStats) []value {
			if s.LastErrorAt.IsZero() {
				return []value{{"", 0}}
			}
			return []value{{"", float64(s.LastErrorAt.UnixMilli()) / 1000}}
		},
	},
}

type collector struct{ pool *client.Pool }

// New returns a collector of what pool does. A collection takes one snapshot and asks no
// agent.
func New(pool *client.Pool) prometheus.Collector { return collector{pool} }

// Describe sends the descriptions of all metrics.
func (collector) Describe(to chan<- *prometheus.Desc) {
	for _, f := range families {
		to <- f.desc
	}
}

// Collect sends all metrics.
func (c collector) Collect(to chan<- prometheus.Metric) {
	s := c.pool.Stats()
	for _, f := range families {
		for _, v := range f.values(&s) {
			if v.label == "" {
				to <- prometheus.MustNewConstMetric(f.desc, f.typ, v.n)
			} else {
				to <- prometheus.MustNewConstMetric(f.desc, f.typ, v.n, v.label)
			}
		}
	}
}
