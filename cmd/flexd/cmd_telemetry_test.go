package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/agent/health"
	"flexd/agent/telemetry"
	"flexd/store/series"
)

// left is a site whose agent has measured and ended: two devices at three
// instants around the end of summer time.
func left(t *testing.T) (configuration string) {
	t.Helper()
	dir := t.TempDir()
	log := slog.New(slog.DiscardHandler)
	l := telemetry.New(telemetry.Config{Interval: time.Minute, Running: func() bool { return false },
		Open: func() (*series.DB, error) {
			return series.Open(filepath.Join(dir, "series.db"), series.Options{Log: log})
		},
		Stamp: func() flex.Stamp { return flex.Stamp{Clock: flex.ClockSynced} }, Health: health.New(telemetry.Items(), nil), Log: log})
	power, soc := flex.Watts(-1500), flex.Percent(5025)
	for _, at := range []string{"2026-10-25T00:59:59.5Z", "2026-10-25T01:00:00Z", "2026-10-25T01:00:01Z"} {
		when, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		l.Reading(flex.Reading{Device: "bat1", At: when, Power: &power, SoC: &soc})
		l.Reading(flex.Reading{Device: "pv1", At: when})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	configuration = filepath.Join(dir, "flexd.yaml")
	text := fmt.Sprintf(`
site: {id: harwell-01, timezone: Europe/London}
market: {base_url: "https://api.example.com", client_id: abc, api_key: {file: key}}
devices: [{id: bat1, address: "192.0.2.1:502"}]
assets: [{market_id: z8mpC6x, devices: [bat1]}]
data: %s
`, dir)
	if err := os.WriteFile(configuration, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return configuration
}

func TestTelemetryIsExportedWithoutAnAgent(t *testing.T) {
	conf := left(t)
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"all, by the site's clock": {nil, `time,device,power_w,soc_percent
2026-10-25T01:59:59.50+01:00,bat1,-1500,50.25
2026-10-25T01:59:59.50+01:00,pv1,,
2026-10-25T01:00:00.00Z,bat1,-1500,50.25
2026-10-25T01:00:00.00Z,pv1,,
2026-10-25T01:00:01.00Z,bat1,-1500,50.25
2026-10-25T01:00:01.00Z,pv1,,
`},
		"in UTC, of one device": {[]string{"--utc", "--device", "pv1"}, `time,device,power_w,soc_percent
2026-10-25T00:59:59.50Z,pv1,,
2026-10-25T01:00:00.00Z,pv1,,
2026-10-25T01:00:01.00Z,pv1,,
`},
		"a span, as JSON lines": {[]string{"--json", "--from", "2026-10-25T01:00:00Z", "--to", "2026-10-25T01:00:01Z"}, `{"at":"2026-10-25T01:00:00Z","device":"bat1","power_w":-1500,"soc_percent":50.25}
{"at":"2026-10-25T01:00:00Z","device":"pv1","power_w":null,"soc_percent":null}
`},
		"a day of the site": {[]string{"--from", "2026-10-24", "--to", "2026-10-25"}, "time,device,power_w,soc_percent\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, err strings.Builder
			args := append([]string{"telemetry", "export", "--config", conf, "--socket", filepath.Join(t.TempDir(), "none.sock")}, c.args...)
			if code := execute(t.Context(), args, &out, &err); code != exitDone || out.String() != c.want {
				t.Errorf("exit %d, %s\n%s\nwant\n%s", code, err.String(), out.String(), c.want)
			}
			if none := strings.Contains(err.String(), "nothing is kept"); none != (c.want[len(c.want)-2] == 't') {
				t.Errorf("said: %q", err.String())
			}
		})
	}
}
