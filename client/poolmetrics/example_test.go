package poolmetrics_test

import (
	"log"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/client/poolmetrics"
)

// A host program serves the metrics of its pool over HTTP.
func Example() {
	pool := client.NewPool(client.PoolConfig{})
	defer pool.Close()
	registry := prometheus.NewRegistry()
	registry.MustRegister(poolmetrics.New(pool))
	http.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	log.Print(http.ListenAndServe("localhost:9100", nil))
}
