package demo

import (
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"flexd/agent/config"
)

const aSite = `site: {id: harwell-01, timezone: Europe/London, meter: grid, import_limit: 30 kW, export_limit: 20 kW}
market:
  base_url: https://api.example.com
  client_id: abc
  api_key: {file: key}
  operators: [{name: SPEN, signature: require, scheme: ed25519, key_file: /nowhere.pem}]
ingress: {webhook: {listen: ":8443", path: /webhooks/piclo, tls: {cert: /x, key: {credential: k}}}, relay: off}
devices:
  - {id: bat1, driver: map, map: victron-gx, role: storage, address: 192.0.2.22:502, unit: 100, reserve_soc: 20%}
  - {id: pv1, driver: sunspec, role: pv, address: 192.0.2.21:502, max_power: 6 kW}
  - {id: grid, driver: sunspec, role: meter, sign: import_positive, address: 192.0.2.23:502}
assets: [{market_id: z8mpC6x, devices: [bat1], meter: grid, control: observe, max_dispatch: 8 kW}, {market_id: sun, devices: [pv1]}]
require_commissioning: true
`

func TestARehearsalGoesThroughEveryStation(t *testing.T) {
	t.Parallel()
	c, err := config.Parse("site.yaml", []byte(aSite))
	if err != nil {
		t.Fatal(err)
	}
	var story strings.Builder
	sum, err := Rehearse(t.Context(), Shadow{Site: c, Asset: "z8mpC6x", Power: 4000, For: 5 * time.Second, Out: &story, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err, story.String())
	}
	if !sum.Echo || !sum.Delivered || !sum.Completed || !sum.Released || sum.RequestedW != 4000 || sum.DeliveredW < 3900 || sum.DeliveredW > 4100 {
		t.Errorf("%+v\n%s", sum, story.String())
	}
	for _, station := range []string{"verified", "fetched", "admitted", "scheduled", "active", "completed", "TEST"} {
		if !strings.Contains(story.String(), station) {
			t.Errorf("%s is not in the story", station)
		}
	}
}

func TestRehearsalsThatCannotBe(t *testing.T) {
	for name, change := range map[string]func(string) string{
		"another asset":   func(s string) string { return strings.Replace(s, "market_id: z8mpC6x", "market_id: other", 1) },
		"its role is not": func(s string) string { return strings.Replace(s, " role: storage,", "", 1) },
	} {
		c, err := config.Parse("site.yaml", []byte(change(aSite)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Rehearse(t.Context(), Shadow{Site: c, Asset: "z8mpC6x", Power: 1000, For: time.Second, Out: io.Discard, Log: slog.New(slog.DiscardHandler)}); err == nil {
			t.Errorf("%s: it was rehearsed", name)
		}
	}
}
