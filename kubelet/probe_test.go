//go:build linux

package kubelet_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/cocoonstack/cocoon-agent/kubelet"
)

func execProbe(seconds int32, script string) *corev1.Probe {
	return &corev1.Probe{
		TimeoutSeconds: seconds,
		ProbeHandler:   corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: sh(script)}},
	}
}

func TestProbeIsWellIfItsCommandIs(t *testing.T) {
	c := newCluster(t)
	for _, test := range []struct {
		name  string
		probe *corev1.Probe
		well  bool
		why   string
	}{
		{"well", execProbe(30, "echo fine"), true, ""},
		{"ill", execProbe(30, "echo out of order; exit 3"), false, "exit status 3: out of order"},
		{"talkative", execProbe(30, "head -c 20000 /dev/zero | tr '\\0' x; exit 3"), false, "x…"},
		{"not there", execProbe(30, "exec /no/such/program"), false, "exit status 127"},
		{"ping", nil, true, ""},
	} {
		well, why, err := c.Pods.Probe(patiently(t), "default", "vm", "main", test.probe)
		if well != test.well || !strings.Contains(why, test.why) || len(why) > 11<<10 || err != nil {
			t.Errorf("Probe of %s = %v, %.100q, %v, want %v, %q", test.name, well, why, err, test.well, test.why)
		}
	}
	if well, why, err := c.Pods.Probe(patiently(t), "default", "vm", "main", &corev1.Probe{}); well || err == nil {
		t.Errorf("a probe by nothing: %v, %q, %v", well, why, err)
	}
	if well, _, err := c.Pods.Probe(patiently(t), "default", "other", "main", nil); well || err == nil {
		t.Errorf("no such pod: %v, %v", well, err)
	}
}

func TestProbeEndsWithItsTime(t *testing.T) {
	agent, target := ownAgent(t)
	c := newCluster(t)
	c.add("own", &kubelet.Target{Agent: target})
	file := filepath.Join(t.TempDir(), "pids")
	well, why, err := c.Pods.Probe(patiently(t), "default", "own", "main", execProbe(2, strings.ReplaceAll(tree+"wait", "$0", file)))
	if well || why != "no end within 2s" || err != nil {
		t.Errorf("Probe = %v, %q, %v, want no end within 2s", well, why, err)
	}
	for _, pid := range pidsOf(t, file) {
		eventually(t, patience, "process "+pid+" is gone", func() bool { return gone(pid) })
	}

	pause(t, agent)
	for _, probe := range []*corev1.Probe{nil, execProbe(1, "true")} {
		begun := time.Now()
		if well, why, err := c.Pods.Probe(patiently(t), "default", "own", "main", probe); well || why != "no end within 1s" || err != nil {
			t.Errorf("paused: %v, %q, %v", well, why, err)
		}
		if took := time.Since(begun); took < time.Second || took > patience {
			t.Errorf("the probe took %v", took)
		}
	}
}

func TestProbeThatAShutdownEndsIsNotCarriedOut(t *testing.T) {
	c := newCluster(t)
	file := filepath.Join(t.TempDir(), "pids")
	ended := make(chan error, 1)
	go func() {
		well, why, err := c.Pods.Probe(patiently(t), "default", "vm", "main", execProbe(100, "echo $$ >"+file+".new; mv "+file+".new "+file+"; sleep 1000"))
		if well || why != "" {
			t.Errorf("Probe = %v, %q, want false and no reason", well, why)
		}
		ended <- err
	}()
	pidsOf(t, file)
	if err := c.Pods.Shutdown(patiently(t)); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, kubelet.ErrShutdown) {
		t.Errorf("Probe() = %v, want %v", err, kubelet.ErrShutdown)
	}
}
