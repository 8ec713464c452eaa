package agent_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"flexd/agent"
	"flexd/agent/clock"
	"flexd/agent/demo"
	"flexd/agent/flex"
	"flexd/agent/local"
	"flexd/drivers/sim"
)

// assetID is the market's id of what the site has sold.
const assetID = "z8mpC6x"

// contractID is the obligation that every instruction of these tests belongs to.
const contractID = "obl-1"

// site is everything around one flexd: a market, a broker and a plant on
// loopback, and flexd itself, in this process or in one of its own.
type site struct {
	t       *testing.T
	opts    siteOptions
	dir     string
	config  string
	socket  string
	door    string // URL of the webhook
	market  *demo.Market
	broker  *demo.Broker
	ear     *ear
	plant   *sim.Plant
	devices []*sim.Device // the controllable ones, in the order of the options
	log     *logBuffer

	dark func() // market and broker go away for good

	cmd   *exec.Cmd     // flexd as a process
	leave func()        // flexd in this process
	ended chan struct{} // it has gone
	exit  error
	begun time.Time
}

// siteOptions say what stands at the site and what its configuration says.
type siteOptions struct {
	batteries []sim.Battery
	pvs       []sim.PV
	load      float64 // W
	foreign   string  // host:port of a storage device that is not ours
	meter     string  // host:port of a meter that is not ours
	asset     string  // more keys of the asset, such as "control: observe"
	mqtt      string  // instead of the simulated broker
	marketURL string  // instead of the simulated market
	noWebhook bool
	poll      string // default 5m
	noBroker  bool
	capacity  string                   // of the obligation, MW; default 0.01000
	maxPower  string                   // of each device
	terms     string                   // more keys of the market, such as "answers: ask"
	profile   string                   // a market profile of its own, on top of the embedded one
	relay     bool                     // a door for envelopes of relays
	proven    bool                     // commissioning is required
	front     func(addr string) string // what stands before each device
	clock     string                   // the section of that name
	preflight string                   // the section of that name
	window    string                   // "15:04-15:34": the only contract, for exports; default: around the clock, both ways
}

// aBattery is 10 kW and 20 kWh, well charged, controlled through model 124.
func aBattery(o sim.Options) sim.Battery {
	return sim.Battery{Options: o, Rated: 10_000, Capacity: 20_000, SoC: 0.7, Reserve: 0.1, GridCharge: true}
}

// newSite builds and starts the surroundings; flexd is started by inside or
// process.
func newSite(t *testing.T, o siteOptions) *site {
	t.Helper()
	dir, err := os.MkdirTemp("", "flexd-whole-") // short: a socket's path has 107 bytes
	must(t, err)
	s := &site{t: t, opts: o, dir: dir, socket: filepath.Join(dir, "flexd.sock"), ear: &ear{}, log: &logBuffer{}}
	s.plant = sim.NewPlant(sim.Config{Load: func(time.Time) float64 { return o.load }})
	for _, b := range o.batteries {
		d, err := s.plant.AddBattery(b)
		must(t, err)
		s.devices = append(s.devices, d)
	}
	for _, p := range o.pvs {
		d, err := s.plant.AddPV(p)
		must(t, err)
		s.devices = append(s.devices, d)
	}
	grid, err := s.plant.AddMeter(sim.Meter{ImportPositive: true})
	must(t, err)
	s.market, err = demo.NewMarket(demo.MarketConfig{})
	must(t, err)
	s.broker, err = demo.NewBroker(nil)
	must(t, err)
	s.contract()
	s.writeConfig(grid.Addr())
	if !o.noBroker && o.mqtt == "" {
		must(t, s.broker.Subscribe("flexd/v1/whole/up/#", s.ear.hear))
	}
	s.surround()
	return s
}

// surround runs market, broker and plant until the test is over.
func (s *site) surround() {
	outside, dark := context.WithCancel(context.Background())
	ground, end := context.WithCancel(context.Background())
	var wg, away sync.WaitGroup
	away.Go(func() { _ = s.market.Run(outside) })
	away.Go(func() { _ = s.broker.Run(outside) })
	wg.Go(func() { _ = s.plant.Run(ground) })
	s.dark = func() { dark(); away.Wait() }
	s.t.Cleanup(func() {
		s.kill()
		s.dark()
		end()
		wg.Wait()
		if s.t.Failed() {
			s.t.Logf("flexd's log:\n%s\nmessages:\n%s", s.log.String(), s.ear)
		}
		_ = os.RemoveAll(s.dir)
	})
}

// contract makes the market know the asset and one obligation around the
// clock, which serves both directions.
func (s *site) contract() {
	capacity := s.opts.capacity
	if capacity == "" {
		capacity = "0.01000"
	}
	s.market.AddAsset(demo.Asset{ID: assetID, Name: "what the site sold", Status: "operational",
		ActiveImport: "0.05000", ActiveExport: "0.05000", MaxImport: "0.05000", MaxExport: "0.05000"})
	from, to, around := strings.Cut(s.opts.window, "-")
	directions := []string{"export"}
	if !around {
		from, to, directions = "00:00", "24:00", []string{"export", "import"}
	}
	for _, d := range directions {
		id := contractID
		if d == "import" {
			id += "-import"
		}
		s.market.SetObligation(demo.Obligation{ID: id, Competition: "comp-1", Bid: "bid-" + d, Operator: "SPEN", Assets: []string{assetID},
			Capacity: capacity, Direction: d, StartDate: time.Now().AddDate(0, 0, -2).Format(time.DateOnly), EndDate: time.Now().AddDate(0, 0, 3).Format(time.DateOnly),
			ServiceDays: []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}, BankHolidays: "include", StartTime: from, EndTime: to, MaxRuntime: "04:00:00"})
	}
	s.market.SetCompetition(demo.Competition{ID: "comp-1", Name: "tests", Operator: "SPEN", ServiceType: "secure"})
}

// writeConfig writes flexd.yaml as a person would.
func (s *site) writeConfig(grid string) {
	s.t.Helper()
	o := s.opts
	poll := "5m"
	if o.poll != "" {
		poll = o.poll
	}
	market := s.market.URL()
	if o.marketURL != "" {
		market = o.marketURL
	}
	key := filepath.Join(s.dir, "market.key")
	must(s.t, os.WriteFile(key, []byte(s.market.APIKey()+"\n"), 0o600))
	lines := []string{
		"site: {id: whole, timezone: Europe/London, meter: grid}",
	}
	terms := ""
	if o.profile != "" {
		profile := filepath.Join(s.dir, "profile.yaml")
		must(s.t, os.WriteFile(profile, []byte(o.profile), 0o600))
		terms += fmt.Sprintf(", profile: %q", profile)
	}
	if o.terms != "" {
		terms += ", " + o.terms
	}
	lines = append(lines, fmt.Sprintf("market: {base_url: %q, client_id: %q, api_key: {file: %q}, poll: %s%s}", market, s.market.ClientID(), key, poll, terms))
	if o.relay {
		lines = append(lines, "ingress: {relay: on}")
	}
	if !o.noWebhook {
		door := freePort(s.t)
		s.door = "http://" + door + "/webhooks/piclo"
		s.market.Subscribe(s.door)
		lines = append(lines, fmt.Sprintf("ingress: {webhook: {listen: %q, path: /webhooks/piclo, tls: off, public_url: %q}}", door, s.door))
	}
	switch {
	case o.mqtt != "":
		lines = append(lines, "mqtt: "+o.mqtt)
	case !o.noBroker:
		lines = append(lines, fmt.Sprintf("mqtt: {broker: %q, telemetry: 5s}", s.broker.URL()))
	}
	lines = append(append(lines, o.sections()...), "devices:")
	var names []string
	add := func(id, role, addr string) {
		names = append(names, id)
		more := ""
		if role != "pv" {
			more = ", reserve_soc: 20%, grid_charge: true"
		}
		if o.maxPower != "" {
			more += ", max_power: " + o.maxPower
		}
		lines = append(lines, fmt.Sprintf("  - {id: %s, driver: sunspec, role: %s, address: %q, unit: 1%s}", id, role, addr, more))
	}
	for i := range o.batteries {
		add(fmt.Sprintf("bat%d", i+1), o.role(i), o.reached(s.devices[i].Addr()))
	}
	for i := range o.pvs {
		add(fmt.Sprintf("pv%d", i+1), "pv", s.devices[len(o.batteries)+i].Addr())
	}
	if o.foreign != "" {
		add("foreign", "storage", o.foreign)
	}
	if o.meter != "" {
		grid = o.meter
	}
	asset := ""
	if o.asset != "" {
		asset = ", " + o.asset
	}
	lines = append(lines,
		fmt.Sprintf("  - {id: grid, driver: sunspec, role: meter, sign: import_positive, address: %q, unit: 1}", grid),
		"assets:", fmt.Sprintf("  - {market_id: %s, devices: [%s], meter: grid%s}", assetID, strings.Join(names, ", "), asset),
		fmt.Sprintf("local: {listen: off, socket: %q}", s.socket),
		fmt.Sprintf("data: %q", filepath.Join(s.dir, "state")))
	s.config = filepath.Join(s.dir, "flexd.yaml")
	must(s.t, os.MkdirAll(filepath.Join(s.dir, "state"), 0o700))
	must(s.t, os.WriteFile(s.config, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
}

// role is that of a battery: with panels behind the same inverter, hybrid.
func (o siteOptions) role(i int) string {
	if o.batteries[i].Sun != nil {
		return "hybrid"
	}
	return "storage"
}

// reached is the address by which flexd reaches a device.
func (o siteOptions) reached(addr string) string {
	if o.front == nil {
		return addr
	}
	return o.front(addr)
}

// sections are those that most tests leave out.
func (o siteOptions) sections() (lines []string) {
	if o.clock != "" {
		lines = append(lines, "clock: "+o.clock)
	}
	if o.preflight != "" {
		lines = append(lines, "preflight: "+o.preflight)
	}
	if o.proven {
		lines = append(lines, "require_commissioning: true")
	}
	return lines
}

// program builds the real flexd once.
var program = sync.OnceValues(func() (string, error) {
	bin := filepath.Join(programDir, "flexd")
	out, err := exec.Command("go", "build", "-o", bin, "flexd/cmd/flexd").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return bin, nil
})

var programDir string

func TestMain(m *testing.M) {
	flag.Parse()
	// These tests wait for windows to pass, they do not compute: more of them
	// at a time than there are processors.
	err := flag.Set("test.parallel", "10")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if programDir, err = os.MkdirTemp("", "flexd-bin-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(programDir)
	os.Exit(code)
}

// inside runs flexd in this process, under the race detector when there is
// one, and waits until it serves.
func (s *site) inside() {
	s.t.Helper()
	s.insideBy(&clock.System{})
	s.serving()
}

// insideBy runs flexd in this process by a clock, and waits for nothing.
func (s *site) insideBy(src clock.Source) {
	s.t.Helper()
	a, err := agent.NewByClock(s.config, slog.New(slog.NewTextHandler(s.log, nil)), src)
	must(s.t, err)
	ctx, leave := context.WithCancel(context.Background())
	ended := make(chan struct{})
	s.begun, s.leave, s.ended = time.Now(), leave, ended
	go func() {
		defer close(ended)
		if s.exit = a.Run(ctx); s.exit == nil {
			s.exit = a.Close()
		}
	}()
}

// process runs the real program and does not wait.
func (s *site) process() {
	s.t.Helper()
	bin, err := program()
	must(s.t, err)
	cmd := exec.Command(bin, "run", "--config", s.config)
	cmd.Stderr = s.log
	s.begun = time.Now()
	must(s.t, cmd.Start())
	s.cmd = cmd
}

// kill is kill -9 for a process; inside, it is an orderly end.
func (s *site) kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Signal(syscall.SIGKILL)
		_ = s.cmd.Wait()
		s.cmd = nil
	}
	if s.leave != nil {
		s.leave()
		<-s.ended
		s.leave = nil
		if s.exit != nil {
			s.t.Errorf("flexd ended with %v", s.exit)
		}
	}
}

// status asks the running flexd over its socket.
func (s *site) status() (local.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return local.Dial(s.socket).Status(ctx)
}

// serving waits until flexd is ready and has found market, broker, devices
// and contracts.
func (s *site) serving() {
	s.t.Helper()
	s.await(time.Minute, "flexd serves", func() bool {
		st, err := s.status()
		if err != nil || !st.Ready {
			return false
		}
		for _, l := range st.Links {
			if !l.OK {
				return false
			}
		}
		for _, d := range st.Devices {
			if !d.Online {
				return false
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		list, err := local.Dial(s.socket).Obligations(ctx, time.Hour)
		return err == nil && len(list) > 0
	})
}

// command runs a flexd command against the running flexd.
func (s *site) command(args ...string) (string, int) {
	s.t.Helper()
	bin, err := program()
	must(s.t, err)
	out, err := exec.Command(bin, append(args, "--socket", s.socket)...).CombinedOutput()
	code := 0
	if err != nil {
		code = -1
		if e, ok := err.(*exec.ExitError); ok {
			code = e.ExitCode()
		}
	}
	return string(out), code
}

// await polls until a condition holds.
func (s *site) await(limit time.Duration, what string, ok func() bool) {
	s.t.Helper()
	for end := time.Now().Add(limit); !ok(); {
		if time.Now().After(end) {
			s.t.Fatalf("not within %v: %s", limit, what)
		}
		time.Sleep(4 * time.Millisecond)
	}
}

// until waits for an instant that the test itself has chosen.
func until(at time.Time) { time.Sleep(time.Until(at)) }

// record is an instruction as flexd shows it.
func (s *site) record(id string) (flex.Record, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	d, err := local.Dial(s.socket).Detail(ctx, flex.InstructionID(id))
	return d.Record, err == nil
}

// ask is a good instruction of this site; end zero: open.
func ask(id, megawatts, direction string, start, end time.Time) demo.Instruction {
	in := demo.Instruction{ID: id, Revision: 1, Type: "start", Obligation: contractID, Competition: "comp-1", Assets: []string{assetID},
		Capacity: megawatts, Direction: direction, Start: start.UTC(), Status: "issued", Operator: "SPEN"}
	if direction == "import" {
		in.Obligation += "-import"
	}
	if !end.IsZero() {
		in.End = demo.At(end.UTC())
	}
	return in
}

// instruct notifies, and the door must take it.
func (s *site) instruct(in ...demo.Instruction) demo.Delivery {
	s.t.Helper()
	d, err := s.market.Instruct(s.t.Context(), in...)
	must(s.t, err)
	return d
}

// second is the whole second at least ahead from now.
func second(ahead time.Duration) time.Time {
	return time.Now().Add(ahead + time.Second - time.Nanosecond).Truncate(time.Second).UTC()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

// logBuffer takes the log of a process or of an agent.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// parse is json.Unmarshal for what must be JSON.
func parse(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
}

func contains(text, word string) bool { return strings.Contains(text, word) }
