package kubelet_test

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/virtual-kubelet/virtual-kubelet/node/nodeutil"

	"github.com/cocoonstack/cocoon-agent/kubelet"
)

func TestConfigureSetsClientAuthAndTimeouts(t *testing.T) {
	given := &tls.Config{MinVersion: tls.VersionTLS12, ClientAuth: tls.RequestClientCert, Certificates: make([]tls.Certificate, 1), ClientCAs: x509.NewCertPool()}
	c := nodeutil.NodeConfig{TLSConfig: given, StreamIdleTimeout: time.Minute}
	if err := kubelet.Configure(&c); err != nil {
		t.Fatal(err)
	}
	if c.TLSConfig.ClientAuth != tls.RequireAndVerifyClientCert || given.ClientAuth != tls.RequestClientCert {
		t.Errorf("ClientAuth %v, and the caller's own %v", c.TLSConfig.ClientAuth, given.ClientAuth)
	}
	if c.StreamIdleTimeout != time.Minute || c.StreamCreationTimeout != kubelet.StreamTimeout {
		t.Errorf("time-outs %v, %v", c.StreamIdleTimeout, c.StreamCreationTimeout)
	}
}

func TestConfigureRefusesWhatIsOpen(t *testing.T) {
	for want, config := range map[string]*tls.Config{
		"no TLSConfig":       nil,
		"no certificate":     {MinVersion: tls.VersionTLS12, ClientCAs: x509.NewCertPool()},
		"no ClientCAs":       {MinVersion: tls.VersionTLS12, Certificates: make([]tls.Certificate, 1)},
		"GetConfigForClient": {MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, nil }}, //nolint:nilnil // it is not called
	} {
		if err := kubelet.Configure(&nodeutil.NodeConfig{TLSConfig: config}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Configure() = %v, want %q", err, want)
		}
	}
}
