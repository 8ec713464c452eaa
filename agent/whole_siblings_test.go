package agent_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"flexd/agent/demo"
	"flexd/drivers/sim"
)

// Three sites share a contract, and the market's account of one of them still
// has an older capacity of another's asset: its share is a little off, and all
// three say so until it hears of the new one.
func TestThreeSitesOfOneContractCompareTheirShares(t *testing.T) {
	t.Parallel()
	broker, err := demo.NewBroker(nil)
	must(t, err)
	running, end := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = broker.Run(running) }()
	t.Cleanup(func() { end(); <-done })
	asset := func(i int) string { return fmt.Sprintf("asset-%d", i) }
	account := func(capacity string) []map[string]any {
		return []map[string]any{{"id": asset(0), "active_export_capacity": "0.05"}, {"id": asset(1), "active_export_capacity": capacity}, {"id": asset(2), "active_export_capacity": "0.03"}}
	}
	var sites []*site
	var markets []*strangeMarket
	for i := range 3 {
		m := newStrangeMarket(t)
		m.ob[0]["asset_ids"] = []string{asset(0), asset(1), asset(2)}
		m.asset, m.list = account("0.045"), []map[string]any{}
		if i == 2 {
			m.asset = account("0.04")
		}
		s := newSite(t, siteOptions{batteries: []sim.Battery{aBattery(sim.Options{})}, marketURL: m.URL, terms: "sync: 1s",
			mqtt: fmt.Sprintf("{broker: %q, group: acme}", broker.URL())})
		text, err := os.ReadFile(s.config)
		must(t, err)
		text = bytes.ReplaceAll(text, []byte("{id: whole,"), fmt.Appendf(nil, "{id: site-%d,", i))
		text = bytes.ReplaceAll(text, []byte(assetID), []byte(asset(i)))
		must(t, os.WriteFile(s.config, text, 0o600))
		s.inside()
		sites, markets = append(sites, s), append(markets, m)
	}
	differ := func(s *site) bool { return slices.Contains(alerts(s.shown()), "shares_differ") }
	for i, s := range sites {
		s.await(30*time.Second, fmt.Sprintf("site %d says that the shares differ", i), func() bool { return differ(s) })
	}
	out, _ := sites[0].command("status")
	if !strings.Contains(out, "site-2") || !strings.Contains(out, "contract c-7") {
		t.Errorf("it is told as %s", out)
	}
	markets[2].set(func() { markets[2].asset = account("0.045") })
	for i, s := range sites {
		s.await(20*time.Second, fmt.Sprintf("site %d says that all is well again", i), func() bool { return !differ(s) })
	}
}
