package fleet

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"flexd/agent/flex"
)

// mosquittoPath finds the broker; a CI run without it fails.
func mosquittoPath(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"mosquitto", "/usr/sbin/mosquitto"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatal("mosquitto is not installed, and CI must test with it: apt-get install mosquitto")
	}
	t.Skip("NOT TESTED with mosquitto: it is not installed (apt-get install mosquitto)")
	return ""
}

// mosquitto is a broker process of one test.
type mosquitto struct {
	t    *testing.T
	path string
	conf string
	addr string
	cmd  *exec.Cmd
}

// newMosquitto prepares a broker with client certificates and an access list
// as in the documentation.
func newMosquitto(t *testing.T, a *authority) *mosquitto {
	t.Helper()
	m := &mosquitto{t: t, path: mosquittoPath(t)}
	m.addr = freeAddr(t)
	acl := "user backend\ntopic readwrite flexd/v1/#\npattern write flexd/v1/%u/up/#\npattern read flexd/v1/%u/down/#\n"
	write(t, a.file("acl"), acl)
	_, port, _ := net.SplitHostPort(m.addr)
	conf := []string{"listener " + port + " 127.0.0.1", "cafile " + a.file("ca.pem"), "certfile " + a.file("right.pem"),
		"keyfile " + a.file("right.key"), "require_certificate true", "use_identity_as_username true", "allow_anonymous false",
		"acl_file " + a.file("acl"), "persistence true", "persistence_location " + a.dir + "/", "max_inflight_messages 20",
		"max_packet_size 262144"}
	if me, err := user.Current(); err == nil {
		conf = append(conf, "user "+me.Username) // as root it would become another user, who cannot read the files
	}
	m.conf = a.file("mosquitto.conf")
	write(t, m.conf, strings.Join(conf, "\n")+"\n")
	t.Cleanup(m.stop)
	return m
}

// freeAddr is one that nobody listens on.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (m *mosquitto) start() {
	m.t.Helper()
	m.cmd = exec.Command(m.path, "-c", m.conf)
	out, err := os.Create(filepath.Join(m.t.TempDir(), "log"))
	if err != nil {
		m.t.Fatal(err)
	}
	defer out.Close()
	m.cmd.Stdout, m.cmd.Stderr = out, out
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	until(m.t, "mosquitto listens, see "+out.Name(), func() bool {
		c, err := net.DialTimeout("tcp", m.addr, time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// stop kills it: what it had not written is gone.
func (m *mosquitto) stop() {
	if m.cmd != nil {
		_ = m.cmd.Process.Kill()
		_ = m.cmd.Wait()
		m.cmd = nil
	}
}

// backend listens to everything, as the fleet's own side would.
func (m *mosquitto) backend(a *authority, e *ear) mqtt.Client {
	m.t.Helper()
	conf, err := (&Fleet{cfg: Config{CAFile: a.file("ca.pem"), CertFile: a.file("backend.pem"), KeyFile: a.file("backend.key")}}).tlsConfig("127.0.0.1")
	if err != nil {
		m.t.Fatal(err)
	}
	o := mqtt.NewClientOptions().AddBroker("ssl://" + m.addr).SetClientID("backend").SetTLSConfig(conf).SetOrderMatters(true).SetAutoReconnect(false)
	c := mqtt.NewClient(o)
	for _, token := range []func() mqtt.Token{c.Connect, func() mqtt.Token {
		return c.Subscribe(Prefix+"#", 1, func(_ mqtt.Client, p mqtt.Message) {
			if strings.Contains(p.Topic(), "/up/") {
				e.hear(p.Topic(), p.Retained(), p.Payload())
			}
		})
	}} {
		if tok := token(); !tok.WaitTimeout(5*time.Second) || tok.Error() != nil {
			m.t.Fatal("backend: ", tok.Error())
		}
	}
	m.t.Cleanup(func() { c.Disconnect(0) })
	return c
}

func TestMosquitto(t *testing.T) {
	a, e, rows := newAuthority(t), &ear{}, newMemory()
	a.server("right", loopback)
	a.client(site)
	a.client("backend")
	m := newMosquitto(t, a)
	m.start()
	back := m.backend(a, e)
	c := relay(t, m.addr)
	cfg := settings("", rows)
	cfg.Broker, cfg.BackendAcks = "mqtts://"+c.l.Addr().String(), true
	cfg.CAFile, cfg.CertFile, cfg.KeyFile = a.file("ca.pem"), a.file(site+".pem"), a.file(site+".key")
	rows.add(flex.StreamAck, 200)
	c.after(9000) // in the midst of the first rows
	f, _ := launch(t, cfg)
	until(t, "all rows", func() bool { return distinct(e.on("ack")) == 200 })
	inOrder(t, e, "ack", 200)
	if n := len(e.on("birth")); n < 2 {
		t.Errorf("%d connections: the cut did not cut", n)
	}
	send := func(last, body string) {
		if tok := back.Publish(Prefix+site+"/down/"+last, 1, false, body); !tok.WaitTimeout(5*time.Second) || tok.Error() != nil {
			t.Fatal(tok.Error())
		}
	}
	send("cmd", `{"id":"c1"}`)
	until(t, "an answer", func() bool {
		return slices.ContainsFunc(e.on("resp"), func(h heard) bool { return h.Request == "c1" && h.Error == "unsupported" })
	})
	send("ack", fmt.Sprintf(`{"stream":"ack","upto":%d}`, 150))
	until(t, "rows freed", func() bool { return rows.left(flex.StreamAck) == 50 })

	m.stop()
	until(t, "seen as down", func() bool { return !f.Status().Connected })
	rows.add(flex.StreamAck, 10)
	after := &ear{}
	m.start()
	back = m.backend(a, after)
	c.cut() // whatever was said before the backend listened is said again
	until(t, "the rest, those without the backend's word again", func() bool { return distinct(after.on("ack")) == 60 })
	send("ack", `{"stream":"ack","upto":210}`)
	until(t, "all freed", func() bool { return rows.left(flex.StreamAck) == 0 })

	_ = c.l.Close()
	c.cut()
	until(t, "the will", func() bool {
		all := after.on("state")
		return len(all) > 0 && all[len(all)-1].State == "offline" && all[len(all)-1].Session == 41
	})
}
