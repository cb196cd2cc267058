package kubelet

import (
	"crypto/tls"
	"errors"
	"time"

	"github.com/virtual-kubelet/virtual-kubelet/node/nodeutil"
)

// StreamTimeout is the kubelet's own time-out for streams over which nothing goes.
// virtual-kubelet's 30 seconds end a kubectl port-forward that nobody uses just then.
const StreamTimeout = 4 * time.Hour

var _ nodeutil.NodeOpt = Configure

// Configure secures a node's server. Make it the last option of nodeutil.NewNode: a
// caller of the server is root in all VMs. Configure makes the server ask its callers
// for a certificate that one of TLSConfig.ClientCAs has signed. It sets the two
// time-outs of streams to [StreamTimeout] if they are not set. It returns an error for
// a configuration that lets in anybody who finds the port: without TLSConfig, a
// certificate to serve with, or ClientCAs. It does not choose among the authority's
// clients: TLSConfig.VerifyConnection can.
func Configure(c *nodeutil.NodeConfig) error {
	t := c.TLSConfig
	switch {
	case t == nil:
		return errors.New("kubelet: no TLSConfig: use nodeutil.WithTLSConfig, with a certificate and the authority of the API server's client certificate")
	case t.GetConfigForClient != nil:
		return errors.New("kubelet: TLSConfig.GetConfigForClient is set: whom that lets in cannot be seen")
	case len(t.Certificates) == 0 && t.GetCertificate == nil:
		return errors.New("kubelet: TLSConfig has no certificate to serve with: use nodeutil.WithKeyPairFromPath")
	case t.ClientCAs == nil:
		return errors.New("kubelet: TLSConfig has no ClientCAs: use nodeutil.WithCAFromPath, with the authority of the API server's client certificate")
	}
	t = t.Clone()
	t.ClientAuth = tls.RequireAndVerifyClientCert
	c.TLSConfig = t
	if c.StreamIdleTimeout == 0 {
		c.StreamIdleTimeout = StreamTimeout
	}
	if c.StreamCreationTimeout == 0 {
		c.StreamCreationTimeout = StreamTimeout
	}
	return nil
}
