package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"time"

	"flexd/agent/flex"
)

// Summary is one dispatch as the outside saw it: the market, the plant and
// the agent's own page.
type Summary struct {
	Instruction  string    `json:"instruction"`
	Start        time.Time `json:"start"`
	End          time.Time `json:"end"`
	RequestedW   int64     `json:"requested_w"`
	DeliveredW   int64     `json:"delivered_w"` // true mean power of the battery, ramp left out
	StartErrorMS float64   `json:"start_error_ms"`
	Echo         bool      `json:"echo"`
	Acting       bool      `json:"acting"`
	Delivered    bool      `json:"delivered"`
	Completed    bool      `json:"completed"`
	Released     bool      `json:"released"` // in the devices' registers, not only by the agent's word
}

// Bounds of a dispatch that was right.
const (
	maxStartError = 500 * time.Millisecond
	maxPowerError = 50 // W
)

// Verdict is nil when everything was right, else what was not.
func (s Summary) Verdict() error {
	var wrong []error
	say := func(bad bool, what string, args ...any) {
		if bad {
			wrong = append(wrong, fmt.Errorf(what, args...))
		}
	}
	say(math.Abs(float64(s.DeliveredW-s.RequestedW)) > maxPowerError, "delivered %d W instead of %d W", s.DeliveredW, s.RequestedW)
	say(math.Abs(s.StartErrorMS) > float64(maxStartError/time.Millisecond), "started %.1f ms away from the second", s.StartErrorMS)
	say(!s.Echo, "no echo was proven")
	say(!s.Acting, "no acting was proven")
	say(!s.Delivered, "no delivery was proven")
	say(!s.Completed, "it was never announced as completed")
	say(!s.Released, "a device was not released")
	return errors.Join(wrong...)
}

// Text is the summary for people.
func (s Summary) Text(w io.Writer) {
	yes := map[bool]string{true: "yes", false: "NO"}
	fmt.Fprintf(w, "\nsummary of %s\n  requested    %+d W\n  delivered    %+d W (mean at the plant)\n  start error  %+.1f ms (first write at the plant)\n",
		s.Instruction, s.RequestedW, s.DeliveredW, s.StartErrorMS)
	fmt.Fprintf(w, "  echo %s  acting %s  delivered %s\n  completed %s  released %s\n", yes[s.Echo], yes[s.Acting], yes[s.Delivered], yes[s.Completed], yes[s.Released])
}

// request is what the operator asks for.
type request struct {
	watts int64 // + export
	run   time.Duration
}

// next is the demonstration's next request: 5 kW out, then 1.5 kW in.
func (s *stage) next() request {
	r := request{watts: 5000, run: showRun}
	if s.opts.Once {
		r.run = onceRun
	}
	if s.counter%2 == 1 {
		r.watts = -1500
	}
	return r
}

// dispatch runs one instruction from the notification to the release.
func (s *stage) dispatch(ctx context.Context, r request) (Summary, error) {
	s.counter++
	direction := "export"
	if r.watts < 0 {
		direction = "import"
	}
	capacity := megawatts(flex.Watts(r.watts).Abs())
	start := time.Now().Add(leadTime).Truncate(time.Second).UTC()
	sum := Summary{Instruction: fmt.Sprintf("disp-%d", s.counter), Start: start, End: start.Add(r.run), RequestedW: r.watts}
	s.tale.line("the grid is short: the operator asks for %s MW %s from %s to %s", capacity, direction, start.Format(time.TimeOnly), sum.End.Format(time.TimeOnly))
	seen := make([]int, len(s.actors))
	for i, d := range s.actors {
		seen[i] = len(d.Writes())
	}
	d, err := s.market.Instruct(ctx, Instruction{ID: sum.Instruction, Revision: 1, Type: "start", Obligation: "obl-" + direction, Competition: "comp-1",
		Assets: []string{s.asset}, Capacity: capacity, Direction: direction, Start: start, End: At(sum.End), Status: "issued", Operator: "Demo DNO"})
	if err != nil {
		return sum, fmt.Errorf("the webhook was not accepted: %w", err)
	}
	s.tale.line("notification signed and sent, flexd answered %d after %v", d.Status, d.Took.Round(100*time.Microsecond))
	s.watch(ctx, &sum)
	s.finish(ctx, &sum)
	sum.StartErrorMS = s.startError(start, seen)
	return sum, nil
}

// startError is how far from the start the last of the devices that were
// written to heard of it, in ms.
func (s *stage) startError(start time.Time, seen []int) (ms float64) {
	for i, d := range s.actors {
		for _, w := range d.Writes()[seen[i]:] {
			if w.Exception == 0 {
				if e := float64(w.At.Sub(start).Microseconds()) / 1000; math.Abs(e) > math.Abs(ms) {
					ms = e
				}
				break
			}
		}
	}
	return ms
}

// watch samples the plant until the window is over and tells what it sees.
func (s *stage) watch(ctx context.Context, sum *Summary) {
	const settle = 3 * time.Second
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	var total float64
	n, told := 0, time.Now()
	for now := time.Now(); now.Before(sum.End.Add(-200 * time.Millisecond)); {
		select {
		case <-ctx.Done():
			return
		case now = <-tick.C:
		}
		power := s.part()
		if now.After(sum.Start.Add(settle)) {
			total += power
			n++
		}
		if now.Sub(told) >= 2*time.Second || now.After(sum.Start) && told.Before(sum.Start) {
			told = now
			s.tale.line("  plant %s %+6.0f W   grid meter %+6.0f W%s", s.asset, power, s.site.Plant.Grid(), s.charge())
		}
	}
	if n > 0 {
		sum.DeliveredW = int64(math.Round(total / float64(n)))
	}
}

// charge is the state of charge of the first battery, for people.
func (s *stage) charge() string {
	for _, d := range s.actors {
		if soc := d.SoC(); soc > 0 {
			return fmt.Sprintf("   SoC %.1f %%", 100*soc)
		}
	}
	return ""
}

// finish waits for the last word, then looks at the agent's own account and
// at the battery's registers.
func (s *stage) finish(ctx context.Context, sum *Summary) {
	limit := sum.End.Add(endLimit)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for time.Now().Before(limit) && !(s.tale.has(sum.Instruction, "completed") && !s.controlled()) {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
	sum.Completed = s.tale.has(sum.Instruction, "completed")
	sum.Released = !s.controlled()
	if err := s.ask(ctx, sum); err != nil {
		s.tale.line("the local page does not answer: %v", err)
	}
	s.tale.line("released: %s is left to itself again, %+.0f W; grid meter %+.0f W", s.asset, s.part(), s.site.Plant.Grid())
}

// account is what the story reads from the local page, as a browser would.
type account struct {
	Status struct {
		Ready bool `json:"ready"`
		Links []struct {
			Name string `json:"name"`
			OK   bool   `json:"ok"`
		} `json:"links"`
		Devices []struct {
			Online bool `json:"online"`
		} `json:"devices"`
	} `json:"status"`
	Obligations  []struct{} `json:"obligations"`
	Instructions []struct {
		ID        string    `json:"id"`
		Echo      time.Time `json:"echo_at"`
		Acting    time.Time `json:"acting_at"`
		Delivered time.Time `json:"delivered_at"`
	} `json:"instructions"`
}

// whole tells whether everything is connected and the contracts are known.
func (a account) whole() bool {
	for _, l := range a.Status.Links {
		if !l.OK {
			return false
		}
	}
	for _, d := range a.Status.Devices {
		if !d.Online {
			return false
		}
	}
	return a.Status.Ready && len(a.Obligations) > 0
}

// connected waits until the agent has found market, broker and devices.
func (s *stage) connected(ctx context.Context) error {
	limit := time.Now().Add(readyLimit)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for time.Now().Before(limit) {
		if a, err := s.read(ctx); err == nil && a.whole() {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return errors.New("the agent did not find market, broker and devices in time; run with --log-level info to see why")
}

// ask reads the proofs of a dispatch.
func (s *stage) ask(ctx context.Context, sum *Summary) error {
	a, err := s.read(ctx)
	if err != nil {
		return err
	}
	for _, in := range a.Instructions {
		if in.ID == sum.Instruction {
			sum.Echo, sum.Acting, sum.Delivered = !in.Echo.IsZero(), !in.Acting.IsZero(), !in.Delivered.IsZero()
		}
	}
	return nil
}

func (s *stage) read(ctx context.Context) (a account, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.around.Page+"/api/state", nil)
	if err != nil {
		return a, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	return a, json.NewDecoder(io.LimitReader(resp.Body, 8<<20)).Decode(&a)
}
