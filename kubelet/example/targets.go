package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path"

	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/kubelet"
)

// A target is a VM, and the pod that it is to be.
type target struct {
	Name      string `json:"name"`      // of the pod
	Namespace string `json:"namespace"` // empty: default
	Agent     string `json:"agent"`     // as client.ParseTarget has it
	Console   string `json:"console"`   // of the VMM: a Unix socket; empty: none

	LogFile    string   `json:"logFile"`    // in the guest
	LogCommand []string `json:"logCommand"` // or this; empty: the journal

	// Annotations the pod begins with, such as vm.cocoonstack.io/exec-user.
	Annotations map[string]string `json:"annotations"`
}

// readTargets reads a file such as targets.yaml.
func readTargets(file string) ([]target, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var list struct {
		Targets []target `json:"targets"`
	}
	if err := yaml.UnmarshalStrict(text, &list); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(list.Targets) == 0 {
		return nil, fmt.Errorf("%s: no targets", file)
	}
	seen := make(map[string]bool)
	for i := range list.Targets {
		t := &list.Targets[i]
		if t.Namespace == "" {
			t.Namespace = "default"
		}
		if err := t.check(); err != nil {
			return nil, fmt.Errorf("%s: target %d (%q): %w", file, i+1, t.Name, err)
		}
		if seen[t.key()] {
			return nil, fmt.Errorf("%s: target %d: %s is there twice", file, i+1, t.key())
		}
		seen[t.key()] = true
	}
	return list.Targets, nil
}

func (t *target) key() string { return t.Namespace + "/" + t.Name }

func (t *target) check() error {
	if len(validation.IsDNS1123Subdomain(t.Name)) > 0 {
		return errors.New("its name cannot be a pod's: want lower-case letters, digits, dots and hyphens")
	}
	if len(validation.IsDNS1123Label(t.Namespace)) > 0 {
		return fmt.Errorf("%q is not a valid namespace", t.Namespace)
	}
	if _, err := client.ParseTarget(t.Agent); err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	if t.Console != "" && !path.IsAbs(t.Console) {
		return fmt.Errorf("console: %q is not an absolute path", t.Console)
	}
	if t.LogFile != "" && t.LogCommand != nil {
		return errors.New("logFile and logCommand: want one of them")
	}
	if t.LogFile != "" && !path.IsAbs(t.LogFile) {
		return fmt.Errorf("logFile: %q is not an absolute path", t.LogFile)
	}
	_, err := t.resolve(t.Annotations)
	return err
}

// resolve says how to reach the VM, as the pod's annotations have it.
func (t *target) resolve(annotations map[string]string) (*kubelet.Target, error) {
	k := &kubelet.Target{Agent: t.Agent, Logs: kubelet.LogJournal()}
	switch {
	case t.LogFile != "":
		k.Logs = kubelet.LogFile(t.LogFile)
	case t.LogCommand != nil:
		k.Logs = kubelet.LogCommand(t.LogCommand, nil)
	}
	if t.Console != "" {
		k.Console = func(ctx context.Context) (io.ReadWriteCloser, error) {
			return new(net.Dialer).DialContext(ctx, "unix", t.Console)
		}
	}
	if err := k.Annotate(annotations); err != nil {
		return nil, err
	}
	return k, nil
}
