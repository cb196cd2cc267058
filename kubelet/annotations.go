package kubelet

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
)

// Annotations of a pod that say how kubectl exec, which has no such options itself,
// runs commands in its VM. They do not protect anything: a user who may set them may
// choose any user of the guest. They act on others, too. A variable such as LD_PRELOAD,
// BASH_ENV or PATH ([AnnotationExecEnv]) loads code into the next command that anybody
// executes in the VM, as that command's user, which is root as a rule. A user who may
// set them can do there what the callers of kubectl exec can.
const (
	AnnotationExecPrefix = "vm.cocoonstack.io/exec-" // any other annotation with this prefix is refused

	AnnotationExecUser     = AnnotationExecPrefix + "user"      // "name", "uid", "name:group" or "uid:gid"
	AnnotationExecDir      = AnnotationExecPrefix + "dir"       // absolute
	AnnotationExecEnv      = AnnotationExecPrefix + "env."      // and a variable's name; its value is the variable's. It can load code: LD_PRELOAD, BASH_ENV
	AnnotationExecClearEnv = AnnotationExecPrefix + "clear-env" // "true": nothing of the agent's environment
	AnnotationExecTimeout  = AnnotationExecPrefix + "timeout"   // as time.ParseDuration has it, such as "90s"
	AnnotationExecMemory   = AnnotationExecPrefix + "memory"    // a quantity of bytes, such as "256Mi"
	AnnotationExecPIDs     = AnnotationExecPrefix + "pids"      // processes and threads
	AnnotationExecCPU      = AnnotationExecPrefix + "cpu"       // a quantity of CPUs, such as "500m"
)

// Annotate sets how commands run from a pod's annotations. Options without an
// annotation stay as they are. If an annotation makes no sense, Annotate changes
// nothing, and its error names every such annotation. It must not be called while t is
// in use.
func (t *Target) Annotate(annotations map[string]string) error {
	changed := *t
	changed.Env = slices.Clone(t.Env)
	var all []error
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		if !strings.HasPrefix(key, AnnotationExecPrefix) {
			continue
		}
		if err := changed.annotate(key, annotations[key]); err != nil {
			all = append(all, fmt.Errorf("annotation %s: %w", key, err))
		}
	}
	if len(all) > 0 {
		return errors.Join(all...)
	}
	*t = changed
	return nil
}

func (t *Target) annotate(key, value string) (err error) {
	if name, ok := strings.CutPrefix(key, AnnotationExecEnv); ok {
		return t.setEnv(name, value)
	}
	switch key {
	case AnnotationExecUser:
		t.User, err = filled(value)
	case AnnotationExecDir:
		if !path.IsAbs(value) {
			err = fmt.Errorf("%q is not an absolute path", value)
		}
		t.Dir = value
	case AnnotationExecClearEnv:
		if t.ClearEnv, err = strconv.ParseBool(value); err != nil {
			err = fmt.Errorf("%q is neither true nor false", value)
		}
	case AnnotationExecTimeout:
		t.Timeout, err = duration(value)
	case AnnotationExecMemory:
		t.Limits.Memory, err = memory(value)
	case AnnotationExecPIDs:
		t.Limits.PIDs, err = count(value)
	case AnnotationExecCPU:
		t.Limits.CPU, err = cpus(value)
	default:
		err = errors.New("there is no such option")
	}
	return err
}

func (t *Target) setEnv(name, value string) error {
	if name == "" || strings.ContainsAny(name, "=\x00") {
		return fmt.Errorf("%q: want the name of a variable", name)
	}
	t.Env = append(t.Env, name+"="+value)
	return nil
}

func filled(value string) (string, error) {
	if value == "" {
		return "", errors.New("it is empty")
	}
	return value, nil
}

func duration(value string) (time.Duration, error) {
	d, err := time.ParseDuration(value)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%q: want a time such as 90s", value)
	}
	return d, nil
}

func memory(value string) (uint64, error) {
	q, err := resource.ParseQuantity(value)
	if err != nil || q.Value() <= 0 {
		return 0, fmt.Errorf("%q: want a number of bytes such as 256Mi", value)
	}
	return uint64(q.Value()), nil
}

func count(value string) (uint64, error) {
	n, err := strconv.ParseUint(value, 10, 63)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q: want a number of processes", value)
	}
	return n, nil
}

func cpus(value string) (float64, error) {
	q, err := resource.ParseQuantity(value)
	if err != nil || q.MilliValue() < 10 { // the agent's least
		return 0, fmt.Errorf("%q: want a number of CPUs such as 500m, of at least 10m", value)
	}
	return q.AsApproximateFloat64(), nil
}
