package config

import (
	"fmt"
	"strings"
	"testing"

	"flexd/agent/flex"
)

// The annotated reference has every key; all of it must fit a rehearsal.
func TestShadowReplacesWhatIsOutside(t *testing.T) {
	c, err := Parse("reference.yaml", []byte(Reference()))
	if err != nil {
		t.Fatal(err)
	}
	s := Surroundings{Market: "http://127.0.0.1:1", Client: "c", KeyFile: "/k", Listen: "127.0.0.1:2", Path: "/hook", Broker: "mqtt://127.0.0.1:3",
		Page: "127.0.0.1:4", Socket: "/s", Data: "/d", Devices: map[flex.DeviceID]string{}}
	for i, d := range c.Devices {
		s.Devices[d.ID] = fmt.Sprintf("127.0.0.1:%d", 50+i)
	}
	text, err := Shadow(c, s)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse("rehearsal.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	if got.Market.BaseURL != s.Market || len(got.Market.Operators) != 0 || got.MQTT.Broker != s.Broker || got.MQTT.CA != (Secret{}) || got.Data != "/d" ||
		got.Ingress.Relay != nil || !got.Ingress.Webhook.Plain || got.RequireCommissioning {
		t.Errorf("%s", text)
	}
	for i, d := range got.Devices {
		if was := c.Devices[i]; d.Address != s.Devices[d.ID] || d.Driver != "sunspec" || d.Unit != 1 || d.Role != was.Role || d.Reserve != was.Reserve || d.MaxPower != was.MaxPower {
			t.Errorf("%+v", d)
		}
	}
	for _, outside := range []string{"192.168", "example", "/etc/"} {
		if strings.Contains(stripped(string(text)), outside) {
			t.Errorf("%s is still in it:\n%s", outside, text)
		}
	}
	if c.Assets[0].Baseline == nil || got.Assets[0].Baseline != nil {
		t.Error("it is held against a past that simulated parts do not have")
	}
	delete(s.Devices, "bat1")
	if _, err := Shadow(c, s); err == nil {
		t.Error("a real device is left in it")
	}
}

// stripped is the text without its comments.
func stripped(text string) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		lines[i], _, _ = strings.Cut(l, "#")
	}
	return strings.Join(lines, "\n")
}
