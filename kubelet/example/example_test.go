//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
)

func TestTargetsAreRead(t *testing.T) {
	got, err := readTargets("targets.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].key() != "default/vm1" || got[1].LogFile != "/var/log/syslog" || len(got[1].Annotations) != 2 {
		t.Errorf("readTargets = %+v, want two", got)
	}
}

func TestTargetsThatMakeNoSenseAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":                              "no targets",
		"targets: [{name: a, agnt: x}]": "agnt",
		"targets: [{name: A, agent: 'unix:///a'}]":                                                      "cannot be a pod's",
		"targets: [{name: a, namespace: a/b, agent: 'unix:///a'}]":                                      "not a valid namespace",
		"targets: [{name: a, agent: 'tcp://a'}]":                                                        "agent: ",
		"targets: [{name: a, agent: 'unix:///a', console: c}]":                                          "console: ",
		"targets: [{name: a, agent: 'unix:///a', logFile: c}]":                                          "logFile: ",
		"targets: [{name: a, agent: 'unix:///a', logFile: /c, logCommand: [d]}]":                        "want one",
		"targets: [{name: a, agent: 'unix:///a', annotations: {vm.cocoonstack.io/exec-usr: x}}]":        "exec-usr",
		"targets: [{name: a, agent: 'unix:///a'}, {name: a, namespace: default, agent: 'unix:///b'}]\n": "twice",
	} {
		file := filepath.Join(t.TempDir(), "targets.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readTargets(file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestOptionsWithoutClientCAAreRefused(t *testing.T) {
	full := []string{"-targets=t", "-cert=c", "-key=k", "-client-ca=a"}
	if _, err := parse(full, io.Discard); err != nil {
		t.Fatal(err)
	}
	for i, missing := range full {
		args := append(append([]string{}, full[:i]...), full[i+1:]...)
		name, _, _ := strings.Cut(missing, "=")
		if _, err := parse(args, io.Discard); err == nil || err.Error() != name+" is missing" {
			t.Errorf("without %s: %v", name, err)
		}
	}
	for _, bad := range []string{"-listen=:10250", "-listen=10250", "-listen=127.0.0.1:0", "-address=host", "-client-name=", "extra"} {
		if _, err := parse(append(append([]string{}, full...), bad), io.Discard); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	var help bytes.Buffer
	if _, err := parse([]string{"-h"}, &help); err == nil || !strings.Contains(help.String(), "-client-ca FILE") {
		t.Errorf("help %q, %v", &help, err)
	}
}

// An authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	a.cert, a.key, a.pem, _ = a.sign(t, "authority")
	return a
}

// sign signs a certificate: by a, or by itself if a has no certificate.
func (a *authority) sign(t *testing.T, name string) (cert *x509.Certificate, key *ecdsa.PrivateKey, certPEM, keyPEM []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert = &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: a.cert == nil, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	parent, by := a.cert, a.key
	if parent == nil {
		parent, by = cert, key
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return cert, key, certPEM, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret})
}

// A server is the example, with a fake cluster.
type server struct {
	*options
	*authority
	cluster *fake.Clientset
	stop    context.CancelFunc
	ended   chan error
}

func startServer(t *testing.T) *server {
	t.Helper()
	s := &server{authority: newAuthority(t), cluster: fake.NewClientset(), ended: make(chan error, 1)}
	dir := t.TempDir()
	write := func(name string, text []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	_, _, cert, key := s.sign(t, "node")
	agent := agenttest.Start(t)
	var err error
	s.options, err = parse([]string{
		"-listen", freeAddress(t), "-client-ca", write("ca", s.pem), "-cert", write("cert", cert), "-key", write("key", key),
		"-targets", write("targets", fmt.Appendf(nil, "targets: [{name: vm, agent: '%s', annotations: {vm.cocoonstack.io/exec-dir: /usr}}]", agent.Target)),
	}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	s.stop = stop
	go func() { s.ended <- serve(ctx, s.cluster, s.options) }()
	t.Cleanup(stop)
	return s
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// exec is what an API server does, with a certificate or none.
func (s *server) exec(t *testing.T, cert, key []byte, pod string, stdout io.Writer, command ...string) error {
	t.Helper()
	at := &url.URL{
		Scheme: "https", Host: s.listen, Path: "/exec/default/" + pod + "/vm",
		RawQuery: url.Values{"command": command, "output": {"1"}}.Encode(),
	}
	e, err := remotecommand.NewSPDYExecutor(&rest.Config{
		Host: s.listen, TLSClientConfig: rest.TLSClientConfig{CAData: s.pem, CertData: cert, KeyData: key},
	}, http.MethodPost, at)
	if err != nil {
		t.Fatal(err)
	}
	return e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: stdout})
}

func TestNodeServesOnlyTheAPIServer(t *testing.T) {
	s := startServer(t)
	_, _, cert, key := s.sign(t, s.clientName)
	var stdout bytes.Buffer
	var err error
	defer func() {
		if err != nil {
			t.Log(err)
		}
	}()
	agenttest.Eventually(t, "the node serves its pod", func() bool {
		err = s.exec(t, cert, key, "vm", &stdout, "pwd")
		return err == nil
	})
	if stdout.String() != "/usr\n" {
		t.Fatalf("the command prints %q, want %q", &stdout, "/usr\n")
	}
	if err := s.exec(t, cert, key, "other", io.Discard, "true"); err == nil || !strings.Contains(err.Error(), "no pod default/other") {
		t.Errorf("another pod: %v", err)
	}

	_, _, otherCert, otherKey := s.sign(t, "somebody")
	_, _, falseCert, falseKey := newAuthority(t).sign(t, s.clientName)
	for who, pair := range map[string][2][]byte{
		"no certificate":             {},
		"another name":               {otherCert, otherKey},
		"another authority's client": {falseCert, falseKey},
	} {
		var stdout bytes.Buffer
		if err := s.exec(t, pair[0], pair[1], "vm", &stdout, "pwd"); err == nil || stdout.Len() > 0 {
			t.Errorf("%s is served: %v, %q", who, err, &stdout)
		}
	}
	if conn, err := tls.Dial("tcp", s.listen, &tls.Config{InsecureSkipVerify: true}); err == nil { //nolint:gosec // nobody is trusted
		_ = conn.SetDeadline(time.Now().Add(agenttest.Patience))
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("a client without a certificate is served")
		}
	}

	s.stop()
	if err := <-s.ended; err != nil {
		t.Error(err)
	}
	if list, err := s.cluster.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) > 0 {
		t.Errorf("nodes are left behind: %v, %v", list, err)
	}
}
