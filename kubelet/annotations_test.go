//go:build linux

package kubelet_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/kubelet"
)

func TestAnnotationsSayHowCommandsRun(t *testing.T) {
	got := kubelet.Target{Agent: "a", Env: []string{"Z=0"}}
	err := got.Annotate(map[string]string{
		"vm.cocoonstack.io/exec-user":        "www-data:adm",
		"vm.cocoonstack.io/exec-dir":         "/srv",
		"vm.cocoonstack.io/exec-env.B":       "2=3",
		"vm.cocoonstack.io/exec-env.A":       "",
		"vm.cocoonstack.io/exec-clear-env":   "true",
		"vm.cocoonstack.io/exec-timeout":     "1m30s",
		"vm.cocoonstack.io/exec-memory":      "256Mi",
		"vm.cocoonstack.io/exec-pids":        "100",
		"vm.cocoonstack.io/exec-cpu":         "500m",
		"vm.cocoonstack.io/image":            "not ours",
		"kubernetes.io/vm.cocoonstack.io/ex": "neither",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := kubelet.Target{
		Agent: "a", User: "www-data:adm", Dir: "/srv", Env: []string{"Z=0", "A=", "B=2=3"}, ClearEnv: true,
		Timeout: 90 * time.Second, Limits: client.Limits{Memory: 256 << 20, PIDs: 100, CPU: 0.5},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestInvalidAnnotationsChangeNothing(t *testing.T) {
	for key, values := range map[string][]string{
		"user":      {""},
		"dir":       {"", "srv"},
		"env.":      {"x"},
		"env.A=B":   {"x"},
		"clear-env": {"", "yes"},
		"timeout":   {"", "90", "-1s", "0"},
		"memory":    {"", "-1", "0", "lots"},
		"pids":      {"", "-1", "0", "1.5", "99999999999999999999"},
		"cpu":       {"", "0", "1m", "-1"},
		"usr":       {"root"},
		"":          {"x"},
	} {
		for _, value := range values {
			got := kubelet.Target{Agent: "a"}
			name := kubelet.AnnotationExecPrefix + key
			err := got.Annotate(map[string]string{kubelet.AnnotationExecTimeout: "1s", name: value})
			if err == nil || !strings.Contains(err.Error(), "annotation "+name+": ") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s=%q: %v", name, value, err)
			}
			if !reflect.DeepEqual(got, kubelet.Target{Agent: "a"}) {
				t.Errorf("%s=%q: %+v", name, value, got)
			}
		}
	}
	err := (&kubelet.Target{}).Annotate(map[string]string{kubelet.AnnotationExecDir: "x", kubelet.AnnotationExecPIDs: "x"})
	if n := strings.Count(err.Error(), "annotation "); n != 2 {
		t.Errorf("%d are named: %v", n, err)
	}
}
