package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// serverTLS is for a port that is a root shell in every VM to whoever may
// connect: a client must show a certificate of ours. There is no way to do without.
// Other clients of a cluster may have certificates of the same authority: so the
// name counts, too.
func (o *options) serverTLS() (*tls.Config, error) {
	own, err := tls.LoadX509KeyPair(o.cert, o.key)
	if err != nil {
		return nil, fmt.Errorf("-cert, -key: %w", err)
	}
	pem, err := os.ReadFile(o.clientCA)
	if err != nil {
		return nil, fmt.Errorf("-client-ca: %w", err)
	}
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("-client-ca: no certificate in %s", o.clientCA)
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{own},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    authorities,
		VerifyConnection: func(s tls.ConnectionState) error { // of resumed sessions, too
			if len(s.VerifiedChains) == 0 {
				return errors.New("no client certificate")
			}
			if name := s.PeerCertificates[0].Subject.CommonName; name != o.clientName {
				return fmt.Errorf("the client is %q, and not %q", name, o.clientName)
			}
			return nil
		},
	}, nil
}
