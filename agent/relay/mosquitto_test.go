package relay

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"flexd/agent/fleet"
)

// certificates writes a CA, and a server's and two clients' pairs, into dir.
func certificates(t *testing.T, dir string) {
	t.Helper()
	var ca *x509.Certificate
	var caKey *ecdsa.PrivateKey
	for i, name := range []string{"ca", "server", "house-7", "relay"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := &x509.Certificate{SerialNumber: big.NewInt(int64(i + 1)), Subject: pkix.Name{CommonName: name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			IsCA: i == 0, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
		if i == 0 {
			ca, caKey, c.KeyUsage = c, key, x509.KeyUsageCertSign
		}
		der, err := x509.CreateCertificate(rand.Reader, c, ca, &key.PublicKey, caKey)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		for ext, block := range map[string]*pem.Block{".pem": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: raw}} {
			write(t, filepath.Join(dir, name+ext), string(pem.EncodeToMemory(block)))
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// mosquitto is a broker process of one test, with client certificates and the
// access list of the documentation.
type mosquitto struct {
	t    *testing.T
	path string
	dir  string
	addr string
	cmd  *exec.Cmd
}

func newMosquitto(t *testing.T) *mosquitto {
	t.Helper()
	m := &mosquitto{t: t, dir: t.TempDir()}
	for _, name := range []string{"mosquitto", "/usr/sbin/mosquitto"} {
		if path, err := exec.LookPath(name); err == nil {
			m.path = path
			break
		}
	}
	if m.path == "" && os.Getenv("CI") != "" {
		t.Fatal("mosquitto is not installed, and CI must test with it: apt-get install mosquitto")
	} else if m.path == "" {
		t.Skip("NOT TESTED with mosquitto: it is not installed (apt-get install mosquitto)")
	}
	certificates(t, m.dir)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.addr = l.Addr().String()
	_ = l.Close()
	m.allow("user relay\ntopic readwrite flexd/v1/+/down/relay\n")
	_, port, _ := net.SplitHostPort(m.addr)
	conf := []string{"listener " + port + " 127.0.0.1", "cafile " + m.file("ca.pem"), "certfile " + m.file("server.pem"),
		"keyfile " + m.file("server.key"), "require_certificate true", "use_identity_as_username true", "allow_anonymous false",
		"acl_file " + m.file("acl"), "persistence true", "persistence_location " + m.dir + "/", "max_inflight_messages 20",
		"max_queued_messages 10000", "max_packet_size 262144"}
	if me, err := user.Current(); err == nil {
		conf = append(conf, "user "+me.Username)
	}
	write(t, m.file("mosquitto.conf"), strings.Join(conf, "\n")+"\n")
	t.Cleanup(func() { m.stop(syscall.SIGKILL) })
	return m
}

// allow writes the access list: the relay's part is given.
func (m *mosquitto) allow(relay string) {
	write(m.t, m.file("acl"), relay+"pattern write flexd/v1/%u/up/#\npattern read flexd/v1/%u/down/#\n")
}

func (m *mosquitto) file(name string) string { return filepath.Join(m.dir, name) }

func (m *mosquitto) start() {
	m.t.Helper()
	m.cmd = exec.Command(m.path, "-c", m.file("mosquitto.conf"))
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	until(m.t, "mosquitto listens", func() bool {
		c, err := net.DialTimeout("tcp", m.addr, time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

func (m *mosquitto) stop(sig syscall.Signal) {
	if m.cmd != nil {
		_ = m.cmd.Process.Signal(sig)
		_ = m.cmd.Wait()
		m.cmd = nil
	}
}

func (m *mosquitto) relay(t *testing.T, addr string) *Relay {
	t.Helper()
	r, _ := launch(t, settings(t, "mqtts://"+addr, func(c *Config) {
		c.Broker.CA, c.Broker.Cert, c.Broker.Key = Secret{File: m.file("ca.pem")}, Secret{File: m.file("relay.pem")}, Secret{File: m.file("relay.key")}
	}))
	return r
}

func (m *mosquitto) site(t *testing.T, addr string) *site {
	t.Helper()
	return startSite(t, "mqtts://"+addr, "house-7", "", func(c *fleet.Config) {
		c.CAFile, c.CertFile, c.KeyFile = m.file("ca.pem"), m.file("house-7.pem"), m.file("house-7.key")
	})
}

// TestMosquitto runs the whole path over TLS with a foreign broker, two relays
// in parallel, cuts on both sides and a broker that is restarted in the midst
// of the burst: what was answered 202 arrives.
func TestMosquitto(t *testing.T) {
	m := newMosquitto(t)
	m.start()
	up, down := startWire(t, m.addr), startWire(t, m.addr)
	s := m.site(t, down.addr())
	r, other := m.relay(t, up.addr()), m.relay(t, m.addr)
	until(t, "the relays are connected", func() bool { return r.proven() && other.proven() })
	restart := make(chan struct{})
	go func() {
		<-restart
		m.stop(syscall.SIGTERM)
		m.start()
		close(restart)
	}()
	answered, refused := burst(t, r, 1200, func(i int) {
		switch {
		case i == 600:
			restart <- struct{}{}
		case i%250 == 0:
			up.cut()
			down.cut()
		case i%10 == 0:
			body := fmt.Sprintf("other %d", i)
			if status, _, err := send(sender(), other, path, []byte(body), nil); err != nil || status != 202 && status != 503 {
				t.Errorf("the other relay: %d, %v", status, err)
			}
		}
	})
	<-restart
	if len(answered) < 100 || refused == 0 {
		t.Errorf("%d answered, %d refused", len(answered), refused)
	}
	for _, body := range answered {
		until(t, body+" was answered 202 and arrives", func() bool { _, ok := s.has(body); return ok })
	}
	if s.gaps.Load() == 0 {
		t.Error("the site did not poll after its connection was new")
	}
}

// TestMosquittoKilled: a broker that is killed loses what it had acknowledged
// and not written. The site cannot have it back, and polls.
func TestMosquittoKilled(t *testing.T) {
	m := newMosquitto(t)
	m.start()
	s := m.site(t, m.addr)
	r := m.relay(t, m.addr)
	until(t, "the relay is connected", r.proven)
	until(t, "the first poll", func() bool { return s.gaps.Load() == 1 })
	answered, _ := burst(t, r, 300, func(i int) {
		if i == 150 {
			m.stop(syscall.SIGKILL)
			m.start()
		}
	})
	until(t, "the site polls after the kill", func() bool { return s.gaps.Load() >= 2 })
	until(t, "the relay is connected again", r.proven)
	if status, _ := mustPost(t, r, path, "after"); status != 202 {
		t.Errorf("status %d", status)
	}
	until(t, "what comes after arrives", func() bool { _, ok := s.has("after"); return ok })
	lost := 0
	for _, body := range answered {
		if _, ok := s.has(body); !ok {
			lost++
		}
	}
	t.Logf("%d of %d were lost by the broker, for polling to find", lost, len(answered))
}

// TestMosquittoDeniesInSilence: it acknowledges what it drops for want of a
// right, and a 2xx on that would be a lie.
func TestMosquittoDeniesInSilence(t *testing.T) {
	m := newMosquitto(t)
	m.allow("user relay\ntopic read flexd/v1/+/down/relay\n")
	m.start()
	r := m.relay(t, m.addr)
	until(t, "connected", func() bool { up, _, _ := r.link.status(); return up })
	if status, _ := mustPost(t, r, path, "a"); status != 503 {
		t.Errorf("status %d", status)
	}
	m.allow("user relay\ntopic readwrite flexd/v1/+/down/relay\n")
	_ = m.cmd.Process.Signal(syscall.SIGHUP) // reads the list again
	until(t, "the topic is proven", r.proven)
	if status, _ := mustPost(t, r, path, "b"); status != 202 {
		t.Errorf("status %d", status)
	}
}
