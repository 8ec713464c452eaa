package agent

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/clock"
	"flexd/agent/commission"
	"flexd/agent/control"
	"flexd/agent/dispatch"
	"flexd/agent/flex"
	"flexd/agent/health"
	"flexd/agent/ingress"
	"flexd/agent/intake"
	"flexd/agent/meter"
	"flexd/agent/preflight"
	"flexd/agent/run"
	"flexd/agent/siblings"
	"flexd/agent/telemetry"
	"flexd/store"
)

// Files of the data folder.
const (
	stateFile   = "state.db"
	seriesFile  = "series.db"
	refusedName = "refused"
)

// Names of settings in the store.
const (
	settingSession = "session"
	settingFloor   = "clock.floor"
)

// Health items of this room.
const (
	codeConfigBroken = "config_broken"
	codeStateLost    = "state_lost"
	codeStateDamaged = "state_damaged"
	codeStateFull    = "state_full"
	codeArchive      = "archive_failed"
	codeBackup       = "backup_failed"
)

// items declares every alarm and notice of the agent; whether a device must
// be commissioned before it is controlled makes the lack of it graver.
func items(commissioning bool) []health.Item {
	own := []health.Item{
		{Code: codeConfigBroken, Severity: health.Alarm, Title: "The configuration is broken"},
		{Code: codeStateUnusable, Severity: health.Alarm, Title: "The state cannot be written"},
		{Code: codeStateLost, Severity: health.Alarm, Title: "The state was lost"},
		{Code: codeStateDamaged, Severity: health.Alarm, Title: "A stored value is damaged"},
		{Code: codeStateFull, Severity: health.Alarm, Title: "The state is nearly full"},
		{Code: codeArchive, Severity: health.Warning, Title: "What is over cannot be archived"},
		{Code: codeWhy, Severity: health.Warning, Title: "The history of reasons cannot be kept"},
		{Code: codeBackup, Severity: health.Warning, Title: "The state cannot be backed up"},
		{Code: run.CodeTaskFailed, Severity: health.Warning, Title: "A part failed and is started again", Calm: time.Minute},
		{Code: allocate.AlarmMeterSign, Severity: health.Alarm, Title: "The site meter moves the wrong way"},
		{Code: allocate.AlarmMeterLost, Severity: health.Alarm, Title: "An asset is controlled without its meter"},
	}
	return slices.Concat(own, sharedItems, intake.Items, ingress.Items, dispatch.Items(), control.Items(), clock.Items(), meter.Items(), commission.Items(commissioning), preflight.Items(), telemetry.Items(), siblings.Items)
}

// openStore opens the state of a data folder.
func (a *Agent) openStore(data string) (*store.DB, error) {
	return store.Open(filepath.Join(data, stateFile), store.Options{Log: a.log, Now: func() time.Time { return time.Now().UTC() }})
}

// number reads a setting that is a counter or a time.
func number(db *store.DB, name string) (uint64, error) {
	raw, ok, err := db.Setting(name)
	if err != nil || !ok || len(raw) != 8 {
		return 0, err
	}
	return binary.BigEndian.Uint64(raw), nil
}

func putNumber(db *store.DB, name string, n uint64) error {
	return db.PutSetting(name, binary.BigEndian.AppendUint64(nil, n))
}

// takeSession counts this start and lifts the clock's floor to the last time
// that was stored.
func (a *Agent) takeSession() error {
	n, err := number(a.db, settingSession)
	if err != nil {
		return fmt.Errorf("cannot read the session number: %w", err)
	}
	a.session = n + 1
	if err := putNumber(a.db, settingSession, a.session); err != nil {
		return fmt.Errorf("cannot store the session number: %w", err)
	}
	floor, err := number(a.db, settingFloor)
	if err != nil {
		return fmt.Errorf("cannot read the clock's floor: %w", err)
	}
	a.wall.Raise(time.Unix(int64(floor), 0))
	return nil
}

// The pace of upkeep. It leaves the first minutes of a start to what waits
// outside.
const (
	upkeepAfter = 5 * time.Minute
	upkeepEvery = time.Hour
	// fullAt is how much of the room for what is new is taken, in percent, when
	// people are told.
	fullAt = 85
)

// upkeep keeps the store small, backed up, and the clock's floor current.
func (a *Agent) upkeep(ctx context.Context) error {
	a.standing()
	for wait := upkeepAfter; ; wait = upkeepEvery {
		if percent, err := a.db.Fill(); err == nil && percent >= fullAt {
			wait = upkeepAfter // what ends, or is delivered, makes room
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		a.maintain(ctx)
	}
}

// standing tells what is wrong with the state, and keeps the clock's floor.
func (a *Agent) standing() {
	a.tellDamaged()
	if a.conf.copied != nil {
		a.health.Raise(codeStateUnusable, "", a.conf.copied.text())
		return
	}
	a.tellFull()
	reached := a.wall.Reached() // never ahead of the true time, whatever the clock shows
	if err := putNumber(a.db, settingFloor, uint64(max(0, reached.Unix()))); err != nil {
		a.log.Warn("cannot store the clock's floor", "error", err)
	}
}

func (a *Agent) maintain(ctx context.Context) {
	if a.standing(); a.conf.copied != nil {
		return
	}
	if _, trust := a.wall.Now(); trust != flex.ClockUntrusted {
		err := a.db.Upkeep(ctx, a.wall.Reached(), store.Keep{Raw: a.conf.cfg.Market.KeepRaw, Unsent: a.conf.cfg.MQTT == nil})
		switch {
		case err == nil:
			a.health.Clear(codeArchive, "")
		case ctx.Err() == nil:
			a.health.Raise(codeArchive, "", err.Error()+": what is over stays in state.db, which fills; look at the disk and at the folder archive beside it")
		}
		a.tellFull()
	}
	if err := a.db.Backup(ctx); err != nil && ctx.Err() == nil {
		a.health.Raise(codeBackup, "", err.Error())
		return
	}
	a.health.Clear(codeBackup, "")
}

// tellFull raises an alarm before the state takes nothing new any more.
func (a *Agent) tellFull() {
	percent, err := a.db.Fill()
	if err != nil || percent < fullAt {
		a.health.Clear(codeStateFull, "")
		return
	}
	a.health.Raise(codeStateFull, "", fmt.Sprintf("%d %% of the room for what is new is taken: beyond it the market is told to come again, while stops and what was accepted go on; "+
		"mostly acknowledgements wait for the broker, or instructions for their end", percent))
}

// tellDamaged raises an alarm for every stored value that could not be read.
func (a *Agent) tellDamaged() {
	for _, d := range a.db.Damaged() {
		a.health.Raise(codeStateDamaged, d.Bucket+" "+d.Key, d.Error+": it was left out, and kept in state.db for support")
	}
}

// hash names a configuration's text.
func hash(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// keepKey has the market's key ready before the first notification comes, and
// keeps it current, so that no notification waits for it.
func (a *Agent) keepKey(ctx context.Context) error {
	const often, seldom = time.Minute, 6 * time.Hour
	for wait := time.Duration(0); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		if wait = seldom; a.market.RefreshKeys(ctx) != nil {
			wait = often // the cached key serves meanwhile; the sync says what is wrong
		}
	}
}
