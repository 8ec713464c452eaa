package fleet

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/listeners"

	"flexd/agent/flex"
)

// authority signs certificates for one test.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	n    int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.sign("ca", &x509.Certificate{Subject: pkix.Name{CommonName: "test authority"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// sign writes name.pem and name.key.
func (a *authority) sign(name string, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	a.n++
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(a.n), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(a.file(file), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return out, key
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) server(name string, ips ...net.IP) {
	a.sign(name, &x509.Certificate{Subject: pkix.Name{CommonName: name}, IPAddresses: ips, DNSNames: []string{name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
}

func (a *authority) client(name string) {
	a.sign(name, &x509.Certificate{Subject: pkix.Name{CommonName: name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
}

// listener demands a client certificate of this authority.
func (a *authority) listener(name string) *tls.Config {
	a.t.Helper()
	pair, err := tls.LoadX509KeyPair(a.file(name+".pem"), a.file(name+".key"))
	if err != nil {
		a.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12}
}

var loopback = net.IPv4(127, 0, 0, 1)

func TestTLSWithClientCertificate(t *testing.T) {
	a, e, m := newAuthority(t), &ear{}, newMemory()
	a.server("right", loopback)
	a.client(site)
	_, addr := start(t, listeners.Config{TLSConfig: a.listener("right")}, e, false)
	m.add(flex.StreamAck, 30)
	cfg := settings(addr, m)
	cfg.Broker, cfg.CAFile = "mqtts://"+addr, a.file("ca.pem")
	cfg.CertFile, cfg.KeyFile = a.file("not-yet.pem"), a.file("not-yet.key")
	f, _ := launch(t, cfg)
	until(t, "a missing file is said", func() bool { return strings.Contains(f.Status().LastError, "client certificate") })
	// Files are read again at each connection.
	for _, ext := range []string{".key", ".pem"} {
		if err := os.Rename(a.file(site+ext), a.file("not-yet"+ext)); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "rows freed", func() bool { return m.left(flex.StreamAck) == 0 })
	inOrder(t, e, "ack", 30)
}

func TestTLSRefusals(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	a.server("right", loopback)
	a.server("broker.example")
	a.client(site)
	other.client(site)
	old := a.listener("right")
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	for name, c := range map[string]struct {
		server        *tls.Config
		ca, cert, key string
		want          string
	}{
		"a server of another name is refused":      {a.listener("broker.example"), a.file("ca.pem"), a.file(site + ".pem"), a.file(site + ".key"), "certificate"},
		"a server of another authority is refused": {a.listener("right"), other.file("ca.pem"), a.file(site + ".pem"), a.file(site + ".key"), "unknown authority"},
		"the system's roots do not know it":        {a.listener("right"), "", a.file(site + ".pem"), a.file(site + ".key"), "certificate"},
		"TLS 1.1 is refused":                       {old, a.file("ca.pem"), a.file(site + ".pem"), a.file(site + ".key"), "version"},
		"a site without certificate stays out":     {a.listener("right"), a.file("ca.pem"), "", "", "cannot connect"},
		"a foreign client certificate stays out":   {a.listener("right"), a.file("ca.pem"), other.file(site + ".pem"), other.file(site + ".key"), "cannot connect"},
		"a certificate without key is said":        {a.listener("right"), a.file("ca.pem"), a.file(site + ".pem"), "", "together"},
		"a CA file without certificate is said":    {a.listener("right"), a.file("ca.key"), "", "", "no certificate in"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory()
			m.add(flex.StreamAck, 1)
			addr := hostile(t, c.server, polite)
			cfg := settings(addr, m)
			cfg.Broker, cfg.CAFile, cfg.CertFile, cfg.KeyFile = "mqtts://"+addr, c.ca, c.cert, c.key
			f, _ := launch(t, cfg)
			untilError(t, f, c.want)
			if m.left(flex.StreamAck) != 1 || f.Status().Connected {
				t.Error("the session came up")
			}
		})
	}
}
