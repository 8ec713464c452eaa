package demo

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"flexd/agent/config"
)

func TestSiteIsAsDescribed(t *testing.T) {
	s, err := NewSite()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Plant.Close()
	now := time.Now()
	for i := range 20 {
		s.Plant.Step(now.Add(time.Duration(i) * time.Second))
		pv, bat, load := s.PV.Power(), s.Battery.Power(), s.Plant.Load()
		if math.Abs(pv-2400) > 50 || math.Abs(load-1500) > 100 {
			t.Fatalf("sun %g W, house %g W", pv, load)
		}
		if math.Abs(pv+bat-load) > 150 || math.Abs(s.Plant.Grid()) > 150 {
			t.Fatalf("the battery does not follow: sun %g, house %g, battery %g, grid %g", pv, load, bat, s.Plant.Grid())
		}
	}
	if soc := s.Battery.SoC(); math.Abs(soc-0.7) > 0.01 {
		t.Errorf("state of charge %g", soc)
	}
	s.Plant.SetLoad(8000)
	s.Battery.SetSoC(0)
	s.Plant.Step(now.Add(time.Minute))
	if shown, _ := s.Grid.Value(203, "W"); s.Plant.Grid() >= 0 || shown <= 0 {
		t.Errorf("importing %g W the meter shows %g", s.Plant.Grid(), shown)
	}
}

func TestConfigurationIsAcceptedByTheAgent(t *testing.T) {
	m, err := NewMarket(MarketConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	s, err := NewSite()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Plant.Close()
	b, err := NewBroker(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}()
	hook, err := FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	around := AroundOf(filepath.Join(t.TempDir(), "it's here"), m, b, s)
	if _, err := around.Write(); err == nil {
		t.Error("written without a webhook")
	}
	around.Webhook = "http://" + hook + "/webhooks/piclo"
	for _, page := range []string{"", "127.0.0.1:0"} {
		around.Page = page
		path, err := around.Write()
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(cfg.Devices) != 3 || len(cfg.Assets) != 1 || cfg.MQTT == nil || cfg.Data != filepath.Join(around.Dir, "state") {
			t.Errorf("%+v", cfg)
		}
	}
	key, err := os.Stat(filepath.Join(around.Dir, "market.key"))
	if err != nil || key.Mode().Perm() != 0o600 {
		t.Error(key, err)
	}
}

func TestBrokerTellsWhatItHears(t *testing.T) {
	b, err := NewBroker(nil)
	if err != nil {
		t.Fatal(err)
	}
	keep(t, b.Run)
	if err := b.Publish("flexd/v1/demo-site/up/state", []byte("kept"), true); err != nil {
		t.Fatal(err)
	}
	type message struct{ topic, text string }
	heard := make(chan message, 10)
	for range 2 { // two listeners, each with its own
		if err := b.Subscribe("flexd/v1/+/up/#", func(topic string, payload []byte) { heard <- message{topic, string(payload)} }); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Publish("flexd/v1/demo-site/up/ack", []byte("new"), false); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	count := map[message]int{}
	for range 4 {
		select {
		case got := <-heard:
			count[got]++
		case <-ctx.Done():
			t.Fatal("heard only", count)
		}
	}
	if count[message{"flexd/v1/demo-site/up/state", "kept"}] != 2 || count[message{"flexd/v1/demo-site/up/ack", "new"}] != 2 {
		t.Error(count)
	}
	if err := b.Subscribe("a/#/b", func(string, []byte) {}); err == nil {
		t.Error("a bad filter is accepted")
	}
}
