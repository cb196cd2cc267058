//go:build linux

package metrics_test

import (
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// page is whose queries are run.
const page = "../../docs/metrics.md"

var (
	queryPattern  = regexp.MustCompile("(?ms)^```promql\n(.*?)\n```$")
	metricPattern = regexp.MustCompile("`((?:cocoon_pool|node|pod|container|resource)_[a-z_]+)[`{]")
)

// Each query of the page is answered from a node's metrics, and each metric that it names
// is there.
func TestQueriesOfThePageAreAnswered(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	n := newNode(t)
	began := time.Now().Add(-time.Minute) // the samples' times lie a minute apart
	s := make(samples)
	n.scrape(t, s, began)
	_ = n.run(t, "web", "true")
	_ = n.run(t, "web", "false")
	_ = n.run(t, "db", "head", "-c", "1000000", "/dev/zero")
	n.scrape(t, s, began.Add(time.Minute))

	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute})
	queries := queryPattern.FindAllStringSubmatch(string(text), -1)
	if len(queries) < 8 {
		t.Fatalf("%d queries on %s", len(queries), page)
	}
	ask := func(query string) promql.Vector {
		t.Helper()
		q, err := engine.NewInstantQuery(t.Context(), s, nil, query, began.Add(time.Minute))
		if err != nil {
			t.Fatalf("%s\n%v", query, err)
		}
		result := q.Exec(t.Context())
		vector, err := result.Vector()
		if err != nil || len(result.Warnings) > 0 {
			t.Errorf("%s\n%v, warnings %v", query, err, result.Warnings)
		}
		t.Logf("%s%v", query, vector)
		return vector
	}
	isAlert := func(query string) bool { return strings.HasPrefix(query, "# alert") }
	for _, q := range queries {
		if got := ask(q[1]); len(got) == 0 != isAlert(q[1]) {
			t.Errorf("%s\n%v, want nothing of an alert, and something of other queries", q[1], got)
		}
	}
	// As if all that alerts are about had happened within the minute.
	s.raise("cocoon_pool_targets", "failing")
	s.raise("cocoon_pool_commands_total", "lost")
	s.raise("cocoon_pool_commands_total", "limited")
	s.raise("resource_scrape_error", "")
	for _, q := range queries {
		if isAlert(q[1]) && len(ask(q[1])) == 0 {
			t.Errorf("%s\nis silent", q[1])
		}
	}
	named := metricPattern.FindAllStringSubmatch(string(text), -1)
	if len(named) < 15 {
		t.Errorf("%d metrics on %s", len(named), page)
	}
	for _, m := range named {
		if !s.has(m[1]) {
			t.Errorf("%s names %s: there is no such metric", page, m[1])
		}
	}
	for name := range s {
		if strings.HasPrefix(name, "cocoon_pool_") && !slices.ContainsFunc(named, func(m []string) bool { return m[1] == name }) {
			t.Errorf("%s does not name %s", page, name)
		}
	}
}

// samples are series by their names. They are a storage.Queryable.
type samples map[string][]*promql.Series

func (s samples) has(name string) bool { return len(s[name]) > 0 }

// scrape adds what the node exposes, as Prometheus would if it scraped it at a time.
func (n *node) scrape(t *testing.T, s samples, at time.Time) {
	t.Helper()
	for _, path := range []string{"/metrics", "/metrics/resource"} {
		r, err := http.NewRequestWithContext(patiently(t), http.MethodGet, n.URL+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		p := expfmt.NewTextParser(model.UTF8Validation)
		families, err := p.TextToMetricFamilies(answer.Body)
		_ = answer.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		for name, f := range families {
			for _, m := range f.GetMetric() {
				s.add(name, m, at)
			}
		}
	}
}

func (s samples) add(name string, m *dto.Metric, at time.Time) {
	b := labels.NewBuilder(labels.FromStrings(labels.MetricName, name))
	for _, l := range m.GetLabel() {
		b.Set(l.GetName(), l.GetValue())
	}
	lset := b.Labels()
	i := slices.IndexFunc(s[name], func(other *promql.Series) bool { return labels.Equal(other.Metric, lset) })
	if i < 0 {
		i = len(s[name])
		s[name] = append(s[name], &promql.Series{Metric: lset})
	}
	series := s[name][i]
	series.Floats = append(series.Floats, promql.FPoint{T: at.UnixMilli(), F: m.GetCounter().GetValue() + m.GetGauge().GetValue()})
}

// raise makes the last value of a series 10 more: of the one that has a label of that value,
// or of all of them.
func (s samples) raise(name, label string) {
	for _, series := range s[name] {
		series.Metric.Range(func(l labels.Label) {
			if l.Value == label || label == "" {
				series.Floats[len(series.Floats)-1].F += 10
			}
		})
	}
}

// Querier returns a querier of all samples, of all times.
func (s samples) Querier(int64, int64) (storage.Querier, error) {
	return &storage.MockQuerier{SelectMockFunction: s.match}, nil
}

func (s samples) match(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	found := &seriesSet{}
	for _, all := range s {
		for _, series := range all {
			unequal := func(m *labels.Matcher) bool { return !m.Matches(series.Metric.Get(m.Name)) }
			if !slices.ContainsFunc(matchers, unequal) {
				found.all = append(found.all, series)
			}
		}
	}
	return found
}

// A seriesSet is a storage.SeriesSet.
type seriesSet struct {
	all []*promql.Series
	at  int // one more than the current one's index
}

func (s *seriesSet) Next() bool {
	s.at++
	return s.at <= len(s.all)
}

func (s *seriesSet) At() storage.Series              { return promql.NewStorageSeries(*s.all[s.at-1]) }
func (*seriesSet) Err() error                        { return nil }
func (*seriesSet) Warnings() annotations.Annotations { return nil }

var _ storage.Queryable = samples(nil)
