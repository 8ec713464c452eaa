package agent_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math"
	"math/big"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// lacking skips a test loudly, or fails it where CI promises that nothing is
// left out.
func lacking(t *testing.T, what string, err error) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is not usable and CI must test with it: scripts/test-deps.sh installs it: %v", what, err)
	}
	t.Skipf("SKIPPED: NOT TESTED with %s: scripts/test-deps.sh installs it: %v", what, err)
}

// seen is a line of the foreign device: a write request or a new power.
type seen struct {
	Write    *uint16  `json:"write"`
	Words    []uint16 `json:"words"`
	Power    *float64 `json:"power"`
	Grid     *float64 `json:"grid"`  // of the meter, + towards the grid
	House    float64  `json:"house"` // what the house draws then
	Reverted bool     `json:"reverted"`
	At       float64  `json:"at"`
}

func (x seen) time() time.Time { return time.UnixMicro(int64(x.At * 1e6)) }

// foreignBattery is testdata/battery.py under Debian's pymodbus.
type foreignBattery struct {
	addr string
	mu   sync.Mutex
	all  []seen
}

// python is Debian's: packages of the distribution are not in other ones.
const python = "/usr/bin/python3"

func newForeignBattery(t *testing.T, more ...string) *foreignBattery {
	t.Helper()
	if out, err := exec.Command(python, "-c", "import pymodbus.server").CombinedOutput(); err != nil {
		lacking(t, "python3-pymodbus", fmt.Errorf("%w: %s", err, out))
	}
	b := &foreignBattery{addr: freePort(t)}
	_, port, _ := net.SplitHostPort(b.addr)
	cmd := exec.Command(python, append([]string{"testdata/battery.py", port}, more...)...)
	var errs logBuffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	var reader sync.WaitGroup
	reader.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var x seen
			if json.Unmarshal(lines.Bytes(), &x) == nil {
				b.mu.Lock()
				b.all = append(b.all, x)
				b.mu.Unlock()
			}
		}
	})
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		reader.Wait()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("battery.py: %s", errs.String())
		}
	})
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", b.addr)
		if err == nil {
			_ = c.Close()
			return b
		}
		if time.Now().After(end) {
			t.Fatalf("battery.py does not listen: %v: %s", err, errs.String())
		}
	}
}

func (b *foreignBattery) writes() []seen {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(b.all), func(x seen) bool { return x.Write == nil })
}

// power is the last one that it told, with its time.
func (b *foreignBattery) power() (float64, time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, x := range slices.Backward(b.all) {
		if x.Power != nil {
			return *x.Power, x.time()
		}
	}
	return math.NaN(), time.Time{}
}

// mosquitto is a broker that demands client certificates, with what is heard
// on it.
func newMosquitto(t *testing.T, e *ear) (yaml string) {
	t.Helper()
	bin := ""
	for _, name := range []string{"mosquitto", "/usr/sbin/mosquitto"} {
		if path, err := exec.LookPath(name); err == nil {
			bin = path
		}
	}
	if bin == "" {
		lacking(t, "mosquitto", exec.ErrNotFound)
	}
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	ca, caKey := certificate(t, file("ca"), "test authority", nil, nil)
	certificate(t, file("broker"), "broker", ca, caKey)
	certificate(t, file("whole"), "whole", ca, caKey)
	certificate(t, file("backend"), "backend", ca, caKey)
	addr := freePort(t)
	_, port, _ := net.SplitHostPort(addr)
	must(t, os.WriteFile(file("acl"), []byte("user backend\ntopic readwrite flexd/v1/#\npattern write flexd/v1/%u/up/#\npattern read flexd/v1/%u/down/#\n"), 0o600))
	conf := []string{"listener " + port + " 127.0.0.1", "cafile " + file("ca.pem"), "certfile " + file("broker.pem"), "keyfile " + file("broker.key"),
		"require_certificate true", "use_identity_as_username true", "allow_anonymous false", "acl_file " + file("acl")}
	if me, err := user.Current(); err == nil {
		conf = append(conf, "user "+me.Username) // as root it would become another user, who cannot read the keys
	}
	must(t, os.WriteFile(file("conf"), []byte(strings.Join(conf, "\n")+"\n"), 0o600))
	cmd := exec.Command(bin, "-c", file("conf"))
	var said logBuffer
	cmd.Stdout, cmd.Stderr = &said, &said
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("mosquitto: %s", said.String())
		}
	})
	pair, err := tls.LoadX509KeyPair(file("backend.pem"), file("backend.key"))
	must(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	o := mqtt.NewClientOptions().AddBroker("ssl://" + addr).SetClientID("backend").SetAutoReconnect(false).
		SetTLSConfig(&tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		c := mqtt.NewClient(o)
		if tok := c.Connect(); tok.WaitTimeout(5*time.Second) && tok.Error() == nil {
			tok := c.Subscribe("flexd/v1/+/up/#", 1, func(_ mqtt.Client, m mqtt.Message) { e.hear(m.Topic(), m.Payload()) })
			if !tok.WaitTimeout(5*time.Second) || tok.Error() != nil {
				t.Fatalf("cannot subscribe: %v", tok.Error())
			}
			t.Cleanup(func() { c.Disconnect(0) })
			break
		} else if time.Now().After(end) {
			t.Fatalf("cannot connect to mosquitto: %v: %s", tok.Error(), said.String())
		}
	}
	return fmt.Sprintf("{broker: %q, ca: %q, cert: %q, key: {file: %q}, telemetry: 5s}", "mqtts://"+addr, file("ca.pem"), file("whole.pem"), file("whole.key"))
}

// certificate writes name.pem and name.key, good for both ends of TLS on
// loopback.
func certificate(t *testing.T, name, cn string, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	must(t, err)
	c := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: cn}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	if parent == nil {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage, c.ExtKeyUsage = true, true, x509.KeyUsageCertSign, nil
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	must(t, err)
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	must(t, os.WriteFile(name+".pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(t, os.WriteFile(name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), 0o600))
	out, err := x509.ParseCertificate(der)
	must(t, err)
	return out, key
}

// Devices and broker that nobody here wrote: right watts, on time, refreshed
// by a lease that would lapse, released, every step once. The real program
// runs.
func TestForeignDevicesAndBroker(t *testing.T) {
	t.Parallel()
	e := &ear{}
	bat := newForeignBattery(t)
	s := newSite(t, siteOptions{foreign: bat.addr, mqtt: newMosquitto(t, e)})
	s.ear = e
	s.process()
	s.serving()
	if n := len(bat.writes()); n != 0 {
		t.Fatalf("%d writes without an instruction", n)
	}
	start := second(2 * time.Second)
	end := start.Add(3 * time.Second)
	s.instruct(ask("i1", "0.00333", "export", start, end)) // tenths of a percent of 8 kW: steps of 8 W
	s.await(time.Until(start)+5*time.Second, "watts", func() bool { p, _ := bat.power(); return p != 0 })
	first := bat.writes()[0]
	p, acts := bat.power()
	s.wantStart(first.time().Sub(start))
	t.Logf("pymodbus shows %v W %v after the second", p, acts.Sub(start).Round(time.Millisecond))
	if p > 3330 || p < 3330-8 {
		t.Errorf("it gives %v W, want 3330 W, never more, at most 8 W less", p)
	}
	s.await(time.Until(end)+3*time.Second, "released", func() bool { p, _ := bat.power(); return p == 0 })
	if _, at := bat.power(); at.Before(end.Add(-20*time.Millisecond)) || at.After(end.Add(time.Second)) {
		t.Errorf("released %v after the end", at.Sub(end))
	}
	bat.mu.Lock()
	if slices.ContainsFunc(bat.all, func(x seen) bool { return x.Reverted }) {
		t.Error("it fell back by itself: it was not released")
	}
	bat.mu.Unlock()
	s.await(5*time.Second, "completed", func() bool { return s.ear.has("i1", "completed") })
	s.wantLadder("i1", "admitted", "scheduled", "active", "completed")
	s.ear.wantWhole(t)
	states := e.on("state")
	if len(states) == 0 || states[0].State != "online" || len(e.on("birth")) == 0 {
		t.Errorf("state and birth were announced as %+v", states)
	}
	s.kill()
	s.await(5*time.Second, "the will", func() bool { all := e.on("state"); return all[len(all)-1].State == "offline" })
}
