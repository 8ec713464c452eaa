package fleet

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"flexd/agent/flex"
	"flexd/agent/health"
	"flexd/agent/telemetry"
	"flexd/store/series"
)

// outage is what 20 devices at 1 Hz leave behind in 72 hours without a broker.
func outage(t *testing.T, batches int) *telemetry.Log {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	path := filepath.Join(t.TempDir(), "series.db")
	l := telemetry.New(telemetry.Config{Interval: time.Hour, Fleet: true, Running: func() bool { return false }, Log: log,
		Open:   func() (*series.DB, error) { return series.Open(path, series.Options{Log: log}) },
		Stamp:  func() flex.Stamp { return flex.Stamp{At: time.Now(), Clock: flex.ClockSynced} },
		Health: health.New(telemetry.Items(), nil)})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for n := range batches {
		for s := range 60 {
			for d := range 20 {
				p, soc := flex.Watts(rand.IntN(3000)), flex.Percent(5000+n%1000)
				l.Reading(flex.Reading{Device: flex.DeviceID(fmt.Sprintf("inverter-%02d", d)), At: at.Add(time.Duration(s) * time.Second), Power: &p, SoC: &soc})
			}
		}
		at = at.Add(time.Minute)
		want := l.Newest() + 1
		l.Boundary() // the end of a minute
		for l.Newest() < want {
			time.Sleep(50 * time.Microsecond)
		}
	}
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// drain has a site send all of an outage to a broker, with a backend listening,
// and tells how long that took.
func drain(t *testing.T, cfg Config, listen func(func(topic string, payload []byte)), batches int) time.Duration {
	t.Helper()
	l := outage(t, batches)
	var mu sync.Mutex
	seen, order := map[uint64]bool{}, []uint64{}
	listen(func(_ string, payload []byte) {
		e := &ear{}
		e.hear(Prefix+site+"/up/tele", false, payload)
		h := e.all[0]
		mu.Lock()
		defer mu.Unlock()
		if h.Stream == "tele" && !seen[h.Seq] {
			seen[h.Seq] = true
			order = append(order, h.Seq)
		}
	})
	cfg.Series = l
	begun := time.Now()
	f := New(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		mu.Lock()
		n := len(seen)
		mu.Unlock()
		if n == batches && l.Waiting() == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d batches, %d wait: %+v", n, batches, l.Waiting(), f.Status())
		}
	}
	took := time.Since(begun)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for i, n := range order {
		if n != uint64(batches-i) {
			t.Fatalf("the %dth is %d: not the newest first", i, n)
		}
	}
	return took
}

// days are 72 hours of batches when asked for, else a part that is enough to
// see that all arrive in order.
func days() int {
	if os.Getenv("FLEXD_LONG") != "" {
		return 72 * 60
	}
	return 300
}

func TestAnOutageIsDrainedToMosquitto(t *testing.T) {
	a := newAuthority(t)
	a.server("right", loopback)
	a.client(site)
	a.client("backend")
	m := newMosquitto(t, a)
	m.start()
	cfg := settings("", newMemory())
	cfg.Broker = "mqtts://" + m.addr
	cfg.CAFile, cfg.CertFile, cfg.KeyFile = a.file("ca.pem"), a.file(site+".pem"), a.file(site+".key")
	batches := days()
	took := drain(t, cfg, func(hear func(string, []byte)) {
		conf, err := (&Fleet{cfg: Config{CAFile: a.file("ca.pem"), CertFile: a.file("backend.pem"), KeyFile: a.file("backend.key")}}).tlsConfig("127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		listenTo(t, mqtt.NewClientOptions().AddBroker("ssl://"+m.addr).SetTLSConfig(conf), hear)
	}, batches)
	t.Logf("%d batches of 20 devices to mosquitto in %v", batches, took)
	if limit := time.Minute * time.Duration(batches) / (72 * 60); took > max(limit, 15*time.Second) {
		t.Errorf("%v for %d batches, want %v", took, batches, limit)
	}
}

// listenTo subscribes a backend.
func listenTo(t *testing.T, o *mqtt.ClientOptions, hear func(string, []byte)) {
	t.Helper()
	c := mqtt.NewClient(o.SetClientID("backend").SetOrderMatters(true).SetAutoReconnect(false))
	for _, token := range []func() mqtt.Token{c.Connect, func() mqtt.Token {
		return c.Subscribe(Prefix+"#", 1, func(_ mqtt.Client, p mqtt.Message) { hear(p.Topic(), p.Payload()) })
	}} {
		if tok := token(); !tok.WaitTimeout(5*time.Second) || tok.Error() != nil {
			t.Fatal("backend: ", tok.Error())
		}
	}
	t.Cleanup(func() { c.Disconnect(0) })
}

// natsConf is a server that speaks MQTT; it keeps sessions with JetStream.
const natsConf = `
server_name: t
listen: 127.0.0.1:-1
jetstream { store_dir: %q, max_mem: 256M, max_file: 1G }
mqtt { listen: %q }
`

func TestAnOutageIsDrainedToNATS(t *testing.T) {
	path, err := exec.LookPath("nats-server")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("nats-server is not installed, and CI must test with it: apt-get install nats-server")
		}
		t.Skip("NOT TESTED with NATS: nats-server is not installed (apt-get install nats-server)")
	}
	dir, addr := t.TempDir(), freeAddr(t)
	conf := filepath.Join(dir, "nats.conf")
	write(t, conf, fmt.Sprintf(natsConf, dir, addr))
	m := &mosquitto{t: t, path: path, conf: conf, addr: addr}
	t.Cleanup(m.stop)
	m.start()
	batches := days()
	cfg := settings(addr, newMemory())
	took := drain(t, cfg, func(hear func(string, []byte)) {
		listenTo(t, mqtt.NewClientOptions().AddBroker("tcp://"+addr), hear)
	}, batches)
	t.Logf("%d batches of 20 devices to NATS in %v", batches, took)
	if limit := time.Minute * time.Duration(batches) / (72 * 60); took > max(limit, 15*time.Second) {
		t.Errorf("%v for %d batches, want %v", took, batches, limit)
	}
}
