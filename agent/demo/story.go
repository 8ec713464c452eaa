package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"flexd/agent"
	"flexd/agent/flex"
	"flexd/drivers/sim"
)

// Options say how the demonstration runs.
type Options struct {
	Out    io.Writer // the story, line by line
	Log    *slog.Logger
	Once   bool   // one dispatch, then end
	Listen string // host:port of the local page; a taken port is replaced by a free one
}

// Timing of the story.
const (
	leadTime   = 4 * time.Second  // from the notification to the start
	onceRun    = 14 * time.Second // length of a dispatch with Once
	showRun    = 30 * time.Second
	restTime   = 15 * time.Second // between two dispatches
	readyLimit = 10 * time.Second
	endLimit   = 15 * time.Second // from the end of the window to the last word
)

// stage is everything around one running agent.
type stage struct {
	opts    Options
	tale    *tale
	market  *Market
	broker  *Broker
	site    *Site
	around  Around
	config  string         // path of the agent's file
	name    string         // the site's id
	asset   string         // the market's id of what is sold
	actors  []*sim.Device  // the devices of the asset
	part    func() float64 // what the asset gives, W
	counter int
}

// Run tells the story: real agent, simulated surroundings, loopback only. It
// returns when ctx ends, or after one dispatch with Once.
func Run(ctx context.Context, o Options) (sum Summary, err error) {
	dir, err := os.MkdirTemp("", "flexd-demo-")
	if err != nil {
		return sum, fmt.Errorf("cannot make the demo's folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := setStage(o, dir)
	if err != nil {
		return sum, err
	}
	sum, err = s.play(ctx, s.tell)
	return sum, err
}

// play runs the surroundings and the agent, and has a story told of them.
func (s *stage) play(ctx context.Context, tell func(context.Context, <-chan struct{}) (Summary, error)) (sum Summary, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	failed := make(chan error, 4)
	part := func(name string, run func(context.Context) error, ctx context.Context) {
		wg.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				failed <- fmt.Errorf("%s: %w", name, err)
				cancel()
			}
		})
	}
	// The surroundings outlive the agent: it hands the battery back at the end.
	outside, lights := context.WithCancel(context.WithoutCancel(ctx))
	part("market", s.market.Run, outside)
	part("broker", s.broker.Run, outside)
	part("site", s.site.Run, outside)
	defer func() { lights(); wg.Wait() }()

	a, err := agent.New(s.config, s.opts.Log)
	if err != nil {
		return sum, err
	}
	var agentRun sync.WaitGroup
	actx, leave := context.WithCancel(ctx)
	agentRun.Go(func() {
		if err := a.Run(actx); err != nil {
			failed <- fmt.Errorf("agent: %w", err)
			cancel()
		}
	})
	sum, err = tell(ctx, a.Ready())
	leave()
	agentRun.Wait()
	err = errors.Join(err, a.Close())
	if s.controlled() {
		err = errors.Join(err, errors.New("a device is still under control after the agent's end"))
	} else {
		s.tale.line("flexd has ended, every device belongs to its owner again")
	}
	select {
	case f := <-failed:
		err = errors.Join(err, f)
	default:
	}
	return sum, err
}

// setStage builds market, broker and site and points the agent at them.
func setStage(o Options, dir string) (*stage, error) {
	s := &stage{opts: o, tale: &tale{out: o.Out, began: time.Now()}, name: SiteName, asset: AssetName}
	var err error
	if s.market, err = NewMarket(MarketConfig{}); err != nil {
		return nil, err
	}
	if s.broker, err = NewBroker(nil); err != nil {
		return nil, err
	}
	if s.site, err = NewSite(); err != nil {
		return nil, err
	}
	s.actors, s.part = []*sim.Device{s.site.Battery}, s.site.Battery.Power
	s.around = AroundOf(dir, s.market, s.broker, s.site)
	door, err := freePort("127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.around.Webhook = "http://" + door + "/webhooks/piclo"
	if s.around.Page, err = freePort(o.Listen); err != nil {
		return nil, err
	}
	s.market.Subscribe(s.around.Webhook)
	s.contract()
	if s.config, err = s.around.Write(); err != nil {
		return nil, err
	}
	return s, s.listen()
}

// listen hears what the agent says over the broker.
func (s *stage) listen() error { return s.broker.Subscribe("flexd/v1/"+s.name+"/up/#", s.tale.heard) }

// controlled tells whether a device is still in the agent's hands.
func (s *stage) controlled() bool {
	return slices.ContainsFunc(s.actors, (*sim.Device).Controlled)
}

// contract puts the demonstration's battery on the market.
func (s *stage) contract() {
	s.sell(5 * flex.Kilowatt)
	s.market.AddAsset(Asset{ID: AssetName, Ref: "BAT-1", Name: "Battery at the demo site", Status: "operational", Category: "storage", Type: "battery",
		ActiveImport: "0.01000", ActiveExport: "0.01000", MaxImport: "0.01000", MaxExport: "0.01000",
		ResponseTime: "00:00:02", MinRuntime: "00:00:10", MaxRuntime: "02:00:00", RecoveryTime: "00:00:00",
		ImportMeterID: "1200000000001", ExportMeterID: "1200000000002"})
}

// sell puts the asset and obligations for every hour of this week on the
// market.
func (s *stage) sell(power flex.Watts) {
	size := megawatts(power)
	s.market.AddAsset(Asset{ID: s.asset, Ref: s.asset, Name: s.asset, Status: "operational", ActiveImport: size, ActiveExport: size, MaxImport: size, MaxExport: size})
	s.market.SetCompetition(Competition{ID: "comp-1", Name: "Demo reinforcement deferral", Operator: "Demo DNO", ServiceType: "secure"})
	today := time.Now().UTC()
	all := []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}
	for _, d := range []string{"export", "import"} {
		s.market.SetObligation(Obligation{ID: "obl-" + d, Competition: "comp-1", Bid: "bid-" + d, Operator: "Demo DNO", Assets: []string{s.asset},
			Capacity: size, Direction: d, StartDate: today.AddDate(0, 0, -1).Format(time.DateOnly), EndDate: today.AddDate(0, 0, 7).Format(time.DateOnly),
			ServiceDays: all, BankHolidays: "include", StartTime: "00:00", EndTime: "24:00", MaxRuntime: "02:00:00"})
	}
}

// megawatts is a power as the market writes it: MW with five decimals. What is
// finer than 10 W is rounded up.
func megawatts(w flex.Watts) string {
	n := (w + 9) / 10
	return fmt.Sprintf("%d.%05d", n/100_000, n%100_000)
}

// freePort gives the wanted address when it is free, else a free port of the
// same host.
func freePort(want string) (string, error) {
	host, _, err := net.SplitHostPort(want)
	if err != nil {
		return "", fmt.Errorf("--listen %q: write HOST:PORT", want)
	}
	for _, addr := range []string{want, net.JoinHostPort(host, "0")} {
		l, lerr := net.Listen("tcp", addr)
		if lerr != nil {
			err = lerr
			continue
		}
		got := l.Addr().String()
		return got, l.Close()
	}
	return "", fmt.Errorf("no free port on %s: %w", host, err)
}

// ready waits for the agent, and for all that it has to find.
func (s *stage) ready(ctx context.Context, ready <-chan struct{}) error {
	select {
	case <-ready:
	case <-ctx.Done():
		return nil
	case <-time.After(readyLimit):
		return errors.New("the agent was not ready in time")
	}
	return s.connected(ctx)
}

// tell runs dispatch after dispatch.
func (s *stage) tell(ctx context.Context, ready <-chan struct{}) (sum Summary, err error) {
	if err := s.ready(ctx, ready); err != nil || ctx.Err() != nil {
		return sum, err
	}
	s.tale.line("flexd is ready: site %s, battery 10 kW / 20 kWh, PV 6 kW, house load about 1.5 kW", SiteName)
	s.tale.line("live page: http://%s/    commands: flexd status --socket %s/flexd.sock", s.around.Page, s.around.Dir)
	s.tale.line("obligations won: 5 kW export and 5 kW import, every hour of this week, asset %s", AssetName)
	for ctx.Err() == nil {
		if sum, err = s.dispatch(ctx, s.next()); err != nil || s.opts.Once {
			return sum, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(restTime):
		}
	}
	return sum, nil
}
