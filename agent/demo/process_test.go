package demo_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"flexd/agent/demo"
	"flexd/drivers/sim"
)

var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "flexd-test-")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "flexd")
	out, err := exec.Command("go", "build", "-o", bin, "flexd/cmd/flexd").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return bin, nil
})

// world is the outside of one flexd process.
type world struct {
	t       *testing.T
	market  *demo.Market
	plant   *sim.Plant
	battery *sim.Device
	config  string
	outside context.CancelFunc // ends market and broker
	log     *bytes.Buffer
	cmd     *exec.Cmd
	start   time.Time
}

func newWorld(t *testing.T, battery sim.Battery) *world {
	t.Helper()
	w := &world{t: t, log: &bytes.Buffer{}, plant: sim.NewPlant(sim.Config{Load: func(time.Time) float64 { return 1000 }})}
	var err error
	if w.market, err = demo.NewMarket(demo.MarketConfig{}); err != nil {
		t.Fatal(err)
	}
	broker, err := demo.NewBroker(nil)
	if err != nil {
		t.Fatal(err)
	}
	pv, err := w.plant.AddPV(sim.PV{Rated: 6000})
	if err != nil {
		t.Fatal(err)
	}
	if w.battery, err = w.plant.AddBattery(battery); err != nil {
		t.Fatal(err)
	}
	grid, err := w.plant.AddMeter(sim.Meter{ImportPositive: true})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	around := demo.AroundOf(t.TempDir(), w.market, broker, &demo.Site{Plant: w.plant, PV: pv, Battery: w.battery, Grid: grid})
	around.Webhook = "http://" + l.Addr().String() + "/webhooks/piclo"
	_ = l.Close()
	if w.config, err = around.Write(); err != nil {
		t.Fatal(err)
	}
	w.market.Subscribe(around.Webhook)
	w.market.AddAsset(demo.Asset{ID: demo.AssetName, ActiveImport: "0.01", ActiveExport: "0.01", MaxImport: "0.01", MaxExport: "0.01"})
	w.market.SetObligation(demo.Obligation{ID: "obl", Operator: "SPEN", Assets: []string{demo.AssetName}, Capacity: "0.00500", Direction: "export",
		StartDate: time.Now().AddDate(0, 0, -1).Format(time.DateOnly), EndDate: time.Now().AddDate(0, 0, 2).Format(time.DateOnly),
		ServiceDays: []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}, BankHolidays: "include", StartTime: "00:00", EndTime: "24:00"})
	outside, cancel := context.WithCancel(context.Background())
	w.outside = cancel
	site, end := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = w.market.Run(outside) })
	wg.Go(func() { _ = broker.Run(outside) })
	wg.Go(func() { _ = w.plant.Run(site) })
	t.Cleanup(func() {
		w.kill()
		cancel()
		end()
		wg.Wait()
		if t.Failed() {
			t.Logf("flexd's log:\n%s", w.log)
		}
	})
	return w
}

// run starts the real program.
func (w *world) run() {
	w.t.Helper()
	bin, err := program()
	if err != nil {
		w.t.Fatal(err)
	}
	w.cmd = exec.Command(bin, "run", "--config", w.config)
	w.cmd.Stderr = w.log
	w.start = time.Now()
	if err := w.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
}

// kill is kill -9.
func (w *world) kill() {
	if w.cmd != nil {
		_ = w.cmd.Process.Signal(syscall.SIGKILL)
		_ = w.cmd.Wait()
		w.cmd = nil
	}
}

// await polls until a condition holds.
func (w *world) await(limit time.Duration, what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(limit); !ok(); {
		if time.Now().After(end) {
			w.t.Fatalf("not within %v: %s", limit, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// instruct sends an instruction until the door takes it.
func (w *world) instruct(id string, start, end time.Time) {
	w.t.Helper()
	w.await(20*time.Second, "the door takes a notification", func() bool {
		_, err := w.market.Instruct(w.t.Context(), demo.Instruction{ID: id, Revision: 1, Type: "start", Obligation: "obl", Assets: []string{demo.AssetName},
			Capacity: "0.00400", Direction: "export", Start: start, End: demo.At(end), Status: "issued", Operator: "SPEN"})
		return err == nil
	})
}

func whole(at time.Time) time.Time { return at.Truncate(time.Second).Add(time.Second).UTC() }

func TestADeviceThatNeverRevertsIsReleasedAfterAKill(t *testing.T) {
	w := newWorld(t, sim.Battery{Rated: 10_000, Capacity: 20_000, SoC: 0.7, Options: sim.Options{NeverReverts: true}})
	w.run()
	start := whole(time.Now().Add(2 * time.Second))
	w.instruct("i1", start, start.Add(4*time.Second))
	w.await(10*time.Second, "the battery delivers", func() bool { return w.battery.Power() > 3990 })
	w.kill()
	w.outside() // market and broker are gone for good
	time.Sleep(time.Until(start.Add(4500 * time.Millisecond)))
	if !w.battery.Controlled() {
		t.Fatal("the battery fell back although it never does")
	}
	w.run()
	w.await(5*time.Second, "released after the start", func() bool { return !w.battery.Controlled() })
	t.Logf("released %v after the start of the process", time.Since(w.start).Round(time.Millisecond))
}

func TestAKillInTheMiddleIsTakenUpAgain(t *testing.T) {
	w := newWorld(t, sim.Battery{Rated: 10_000, Capacity: 20_000, SoC: 0.7})
	w.run()
	start := whole(time.Now().Add(2 * time.Second))
	end := start.Add(8 * time.Second)
	w.instruct("i1", start, end)
	w.await(10*time.Second, "the battery delivers", func() bool { return w.battery.Power() > 3990 })
	time.Sleep(time.Until(start.Add(1500 * time.Millisecond))) // what was told is in the journal by now
	w.kill()
	before := len(w.battery.Writes())
	w.run()
	w.await(5*time.Second, "told again", func() bool { return len(w.battery.Writes()) > before })
	t.Logf("told again %v after the start of the process", time.Since(w.start).Round(time.Millisecond))
	if p := w.battery.Power(); p < 3900 || !w.battery.Controlled() {
		t.Errorf("the watts fell to %.0f", p)
	}
	w.await(time.Until(end)+3*time.Second, "released at the end", func() bool { return !w.battery.Controlled() })
	if late := time.Since(end); late < -100*time.Millisecond || late > 2*time.Second {
		t.Errorf("released %v from the end", late)
	}
}

func TestAnOrderlyStopReleases(t *testing.T) {
	w := newWorld(t, sim.Battery{Rated: 10_000, Capacity: 20_000, SoC: 0.7, Options: sim.Options{NeverReverts: true}})
	w.run()
	start := whole(time.Now().Add(time.Second))
	w.instruct("i1", start, start.Add(time.Minute))
	w.await(10*time.Second, "the battery delivers", func() bool { return w.battery.Power() > 3990 })
	_ = w.cmd.Process.Signal(syscall.SIGTERM)
	if err := w.cmd.Wait(); err != nil {
		t.Errorf("ended with %v", err)
	}
	w.cmd = nil
	if w.battery.Controlled() {
		t.Error("still controlled after an orderly end")
	}
}
