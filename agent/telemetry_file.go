package agent

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"flexd/agent/flex"
	"flexd/agent/telemetry"
	"flexd/store/series"
)

var errCopied = errors.New("the state cannot be written")

// buildTelemetry begins to keep what is measured, whether there is a fleet or
// not.
func (a *Agent) buildTelemetry() {
	interval, m := time.Minute, a.conf.cfg.MQTT
	if m != nil {
		interval = m.Telemetry
	}
	a.tele = telemetry.New(telemetry.Config{Interval: interval, Open: a.openTelemetry, Fleet: m != nil, Running: a.dispatching,
		Stamp: a.wall.Stamp, Wake: a.announce, Health: a.health, Log: a.log})
}

// openTelemetry opens the file. It is of this run, and goes on with the numbers
// of the run before if that left it in good order.
func (a *Agent) openTelemetry() (*series.DB, error) {
	if a.conf.copied != nil {
		return nil, errCopied
	}
	run := func(session uint64) string { return fmt.Sprintf("%s/%d", a.db.Epoch(), session) }
	return series.Open(filepath.Join(a.conf.cfg.Data, seriesFile), series.Options{Log: a.log, Run: run(a.session), Last: run(a.session - 1)})
}

// dispatching tells whether a dispatch runs now.
func (a *Agent) dispatching() bool {
	now, _ := a.wall.Now()
	for _, d := range a.board.Present() {
		if d.Window.Contains(now) {
			return true
		}
	}
	return false
}

// boundary tells whether a change begins or ends a dispatch.
func boundary(c flex.Changes) bool {
	for _, r := range c.Records {
		if r.State == flex.Active || r.State.Final() {
			return true
		}
	}
	return false
}
