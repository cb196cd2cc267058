//go:build linux

package poolmetrics_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/client/agenttest"
	"github.com/cocoonstack/cocoon-agent/client/poolmetrics"
)

func newPool(t *testing.T) *client.Pool {
	t.Helper()
	p := client.NewPool(client.PoolConfig{})
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func run(t *testing.T, p *client.Pool, target string, argv ...string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c, err := p.Get(ctx, target)
	if err != nil {
		return err
	}
	return c.CommandContext(ctx, argv[0], argv[1:]...).Run()
}

func TestMetricsAreWhatThePoolCounts(t *testing.T) {
	vm := agenttest.New(t)
	p := newPool(t)
	for range 3 {
		if err := run(t, p, vm.Target, "true"); err != nil {
			t.Fatal(err)
		}
	}
	_ = run(t, p, vm.Target, "false")
	_ = run(t, p, vm.Target, "no-such-command")
	_ = run(t, p, "unix:///no/such/agent", "true")
	const want = `
# HELP cocoon_pool_commands_total Commands that have ended, by how.
# TYPE cocoon_pool_commands_total counter
cocoon_pool_commands_total{outcome="ended"} 0
cocoon_pool_commands_total{outcome="failed"} 1
cocoon_pool_commands_total{outcome="incomplete"} 0
cocoon_pool_commands_total{outcome="limited"} 0
cocoon_pool_commands_total{outcome="lost"} 0
cocoon_pool_commands_total{outcome="maybe_started"} 0
cocoon_pool_commands_total{outcome="not_started"} 0
cocoon_pool_commands_total{outcome="refused"} 1
cocoon_pool_commands_total{outcome="signaled"} 0
cocoon_pool_commands_total{outcome="succeeded"} 3
cocoon_pool_commands_total{outcome="timed_out"} 0
# HELP cocoon_pool_connections Open connections, by whether commands or requests use them.
# TYPE cocoon_pool_connections gauge
cocoon_pool_connections{use="idle"} 1
cocoon_pool_connections{use="in_use"} 0
# HELP cocoon_pool_dial_failures_total Attempts to connect that have failed.
# TYPE cocoon_pool_dial_failures_total counter
cocoon_pool_dial_failures_total 1
# HELP cocoon_pool_dials_total Attempts to connect.
# TYPE cocoon_pool_dials_total counter
cocoon_pool_dials_total 2
# HELP cocoon_pool_targets Agents that were asked for of late, by what is known of them.
# TYPE cocoon_pool_targets gauge
cocoon_pool_targets{state="connected"} 1
cocoon_pool_targets{state="connecting"} 0
cocoon_pool_targets{state="failing"} 1
cocoon_pool_targets{state="idle"} 0
cocoon_pool_targets{state="silent"} 0
`
	names := []string{
		"cocoon_pool_commands_total", "cocoon_pool_connections", "cocoon_pool_dial_failures_total",
		"cocoon_pool_dials_total", "cocoon_pool_targets",
	}
	if err := testutil.CollectAndCompare(poolmetrics.New(p), strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
}

// Every metric is exposed as Prometheus' rules and its parser have it.
func TestMetricsAreWellFormed(t *testing.T) {
	p := newPool(t)
	problems, err := testutil.CollectAndLint(poolmetrics.New(p))
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Errorf("promlint of %s: %s", problem.Metric, problem.Text)
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(poolmetrics.New(p))
	s := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	defer s.Close()
	response, err := http.Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if len(families) != 14 {
		t.Errorf("%d families, want 14", len(families))
	}
	for name := range families {
		if !strings.HasPrefix(name, "cocoon_pool_") {
			t.Error(name)
		}
	}
}

// How many series there are does not depend on how many targets there are.
func TestTargetsAddNoSeries(t *testing.T) {
	p := newPool(t)
	before := testutil.CollectAndCount(poolmetrics.New(p))
	for n := range 50 {
		_ = run(t, p, fmt.Sprintf("unix:///no/such/agent%d", n), "true")
	}
	if after := testutil.CollectAndCount(poolmetrics.New(p)); after != before || before == 0 {
		t.Errorf("%d series, and with 50 targets %d", before, after)
	}
}

// Two pools of a program are told apart by a label of the program's.
func TestTwoPools(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	for _, name := range []string{"exec", "logs"} {
		prometheus.WrapRegistererWith(prometheus.Labels{"pool": name}, registry).MustRegister(poolmetrics.New(newPool(t)))
	}
	var text bytes.Buffer
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&text, f); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{`cocoon_pool_dials_total{pool="exec"} 0`, `cocoon_pool_dials_total{pool="logs"} 0`} {
		if !strings.Contains(text.String(), want+"\n") {
			t.Errorf("no %s in\n%s", want, &text)
		}
	}
}
