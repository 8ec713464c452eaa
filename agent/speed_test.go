package agent_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/goburrow/modbus"

	"flexd/agent"
	"flexd/agent/demo"
	"flexd/agent/flex"
	"flexd/drivers/sim"
	"flexd/store"
)

// track is an agent with its surroundings, for measuring.
type track struct {
	b      *testing.B
	market *demo.Market
	site   *demo.Site
	count  int
}

// newTrack pauses for gap between two requests to the battery, which is what
// most of the time goes into with real devices.
func newTrack(b *testing.B, gap string) *track {
	b.Helper()
	market, err := demo.NewMarket(demo.MarketConfig{})
	must(b, err)
	broker, err := demo.NewBroker(nil)
	must(b, err)
	site, err := demo.NewSite()
	must(b, err)
	around := demo.AroundOf(b.TempDir(), market, broker, site)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(b, err)
	around.Webhook = "http://" + l.Addr().String() + "/webhooks/piclo"
	must(b, l.Close())
	path, err := around.Write()
	must(b, err)
	text, err := os.ReadFile(path)
	must(b, err)
	must(b, os.WriteFile(path, bytes.Replace(text, []byte("reserve_soc: 20%"), []byte("reserve_soc: 20%, gap: "+gap), 1), 0o600))
	market.Subscribe(around.Webhook)
	market.AddAsset(demo.Asset{ID: demo.AssetName, ActiveExport: "0.01", MaxExport: "0.01"})
	day := time.Now().UTC()
	market.SetObligation(demo.Obligation{ID: "obl", Assets: []string{demo.AssetName}, Capacity: "0.00500", Direction: "export", BankHolidays: "include",
		StartDate: day.AddDate(0, 0, -1).Format(time.DateOnly), EndDate: day.AddDate(0, 0, 2).Format(time.DateOnly), StartTime: "00:00", EndTime: "24:00",
		ServiceDays: []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}})
	a, err := agent.New(path, slog.New(slog.DiscardHandler))
	must(b, err)
	outside, end := context.WithCancel(context.Background())
	inside, leave := context.WithCancel(outside)
	var parts, agents sync.WaitGroup
	parts.Go(func() { _ = market.Run(outside) })
	parts.Go(func() { _ = broker.Run(outside) })
	parts.Go(func() { _ = site.Run(outside) })
	agents.Go(func() { _ = a.Run(inside) })
	b.Cleanup(func() { leave(); agents.Wait(); _ = a.Close(); end(); parts.Wait() })
	<-a.Ready()
	t := &track{b: b, market: market, site: site}
	t.await("the battery to be read", func() bool { return site.Battery.Reads() > 20 })
	return t
}

func (t *track) await(what string, ok func() bool) {
	t.b.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.b.Fatalf("waited too long for %s", what)
		}
		time.Sleep(200 * time.Microsecond)
	}
}

// dispatch sends an instruction and gives the instants of the sending and of
// the first write at the plant; then it stops it and waits for the release.
func (t *track) dispatch(start time.Time) (sent, wrote time.Time) {
	t.count++
	in := demo.Instruction{ID: fmt.Sprintf("i%d", t.count), Revision: 1, Type: "start", Obligation: "obl", Assets: []string{demo.AssetName},
		Capacity: "0.00400", Direction: "export", Start: start, End: demo.At(start.Add(time.Hour))}
	seen := len(t.site.Battery.Writes())
	sent = time.Now()
	if _, err := t.market.Instruct(t.b.Context(), in); err != nil {
		t.b.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.b.Context(), 20*time.Second)
	defer cancel()
	w, err := t.site.Battery.AwaitWrite(ctx, seen, nil)
	must(t.b, err)
	t.await("control", t.site.Battery.Controlled)
	if _, err := t.market.Stop(t.b.Context(), in.ID); err != nil {
		t.b.Fatal(err)
	}
	t.await("the release", func() bool { return !t.site.Battery.Controlled() })
	time.Sleep(500 * time.Millisecond) // the rest of what was found is written back
	return sent, w.At
}

// report prints the middle and the tail.
func report(b *testing.B, name string, all []time.Duration) time.Duration {
	slices.Sort(all)
	p50, p99 := all[len(all)/2], all[len(all)*99/100]
	b.ReportMetric(float64(p50.Microseconds())/1000, name+"-p50-ms")
	b.ReportMetric(float64(p99.Microseconds())/1000, name+"-p99-ms")
	return p50
}

// BenchmarkWebhookToFirstWrite sends instructions whose start has come to a
// site at rest, at any moment between two of its samples, and
// compares with the floor: a bare program that verifies, fetches, keeps it in
// one synced commit, reads what it finds, writes and reads back. Both speak to
// the same market and to plants alike, and both begin when the market signs.
func BenchmarkWebhookToFirstWrite(b *testing.B) {
	for _, gap := range []string{"50ms", "0s"} {
		b.Run("gap="+gap, func(b *testing.B) {
			t := newTrack(b, gap)
			bare := newBare(t)
			var ours, theirs []time.Duration
			for b.Loop() {
				time.Sleep(sampled + rand.N(time.Second)) // at rest: sampled once since the last release
				sent, wrote := t.dispatch(time.Now().Add(-time.Millisecond).UTC())
				ours = append(ours, wrote.Sub(sent))
				theirs = append(theirs, bare.once())
			}
			p50 := report(b, "flexd", ours)
			base := report(b, "floor", theirs)
			b.ReportMetric(float64(p50)/float64(base), "ratio-p50")
		})
	}
}

// sampled is longer than the time between two samples of a device.
const sampled = 1200 * time.Millisecond

// BenchmarkStart schedules starts on the second and measures how far from it
// the first write reaches the plant.
func BenchmarkStart(b *testing.B) {
	t := newTrack(b, "50ms")
	var off []time.Duration
	for b.Loop() {
		start := time.Now().Truncate(time.Second).Add(2 * time.Second).UTC()
		_, wrote := t.dispatch(start)
		off = append(off, wrote.Sub(start).Abs())
	}
	report(b, "start-error", off)
}

// bare is the least a program can do with a webhook and keep its promise.
type bare struct {
	db    *store.DB
	t     *track
	key   any
	token string
	bus   modbus.Client
	addr  uint16
}

func newBare(t *track) *bare {
	p := &bare{t: t}
	var err error
	p.db, err = store.Open(filepath.Join(t.b.TempDir(), "state.db"), store.Options{Log: slog.New(slog.DiscardHandler), Now: time.Now})
	must(t.b, err)
	t.b.Cleanup(func() { _ = p.db.Close() })
	resp, err := http.Post(t.market.URL()+"/authtoken/v1/", "application/json",
		jsonBody(map[string]string{"client_id": t.market.ClientID(), "api_key": t.market.APIKey()}))
	must(t.b, err)
	defer resp.Body.Close()
	var auth struct {
		Token string `json:"token"`
	}
	must(t.b, json.NewDecoder(resp.Body).Decode(&auth))
	p.token = auth.Token
	block, _ := pem.Decode(p.get(t.market.URL() + "/webhook/v1/public-key/"))
	p.key, err = x509.ParsePKIXPublicKey(block.Bytes)
	must(t.b, err)
	// A plant of its own, so that the two do not wait for one another.
	plant := sim.NewPlant(sim.Config{})
	bat, err := plant.AddBattery(sim.Battery{Rated: 10_000, Capacity: 20_000, SoC: 0.5})
	must(t.b, err)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = plant.Run(ctx) })
	t.b.Cleanup(func() { cancel(); wg.Wait() })
	p.addr, _, _ = bat.Point(124, "OutWRte")
	h := modbus.NewTCPClientHandler(bat.Addr())
	h.SlaveId = 1
	p.bus = modbus.NewClient(h)
	t.b.Cleanup(func() { _ = h.Close() })
	return p
}

func (p *bare) get(url string) []byte {
	req, err := http.NewRequestWithContext(p.t.b.Context(), http.MethodGet, url, nil)
	must(p.t.b, err)
	req.Header.Set("Authorization", "Bearer "+p.token)
	resp, err := http.DefaultClient.Do(req)
	must(p.t.b, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(p.t.b, err)
	return body
}

// once verifies a notification, fetches what it points to, keeps it, and tells
// the device. The time ends where flexd's does, at the write.
func (p *bare) once() time.Duration {
	began := time.Now()
	d, err := p.t.market.Publish(p.t.b.Context(), demo.Notice{IDs: []string{fmt.Sprintf("i%d", p.t.count)}, Drop: true})
	must(p.t.b, err)
	jws, err := jose.ParseSignedCompact(d.Token, []jose.SignatureAlgorithm{jose.RS256})
	must(p.t.b, err)
	payload, err := jws.Verify(p.key)
	must(p.t.b, err)
	var note struct {
		URL string `json:"data_url"`
	}
	must(p.t.b, json.Unmarshal(payload, &note))
	var got []struct {
		ID string `json:"id"`
	}
	must(p.t.b, json.Unmarshal(p.get(note.URL), &got))
	must(p.t.b, p.db.Commit(p.t.b.Context(), flex.Changes{Notices: []flex.Notice{{ID: flex.NotificationID(fmt.Sprint("n", p.t.count)), DataURL: note.URL}},
		Offers: []flex.Offer{{Instruction: flex.Instruction{ID: flex.InstructionID(fmt.Sprint("i", p.t.count))}}}}))
	_, err = p.bus.ReadHoldingRegisters(p.addr, 2)
	must(p.t.b, err)
	_, err = p.bus.WriteMultipleRegisters(p.addr, 2, []byte{0, 0, 0, 0})
	must(p.t.b, err)
	took := time.Since(began)
	_, err = p.bus.ReadHoldingRegisters(p.addr, 2)
	must(p.t.b, err)
	return took
}

func jsonBody(v any) io.Reader {
	r, w := io.Pipe()
	go func() { w.CloseWithError(json.NewEncoder(w).Encode(v)) }()
	return r
}
