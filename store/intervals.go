package store

import (
	"context"
	"encoding/binary"
	"time"

	"go.etcd.io/bbolt"

	"flexd/agent/flex"
)

// settingMeter is what is measured of intervals that are not over.
const settingMeter = "meter.open"

// keepFrom is the shortest step that is kept like contracts and records.
const keepFrom = 15 * time.Minute

// runOf is the time that one stored run of intervals spans: short enough to be
// written anew with each of its steps.
func runOf(step time.Duration) time.Duration {
	if step < keepFrom {
		return time.Hour
	}
	return 24 * time.Hour
}

func intervalKey(step time.Duration, start time.Time, id flex.AssetID) []byte {
	key := binary.BigEndian.AppendUint16(nil, uint16(step/time.Minute))
	key = binary.BigEndian.AppendUint64(key, uint64(start.Unix()))
	return append(key, id...)
}

// intervalTime is the start of the run that a key names.
func intervalTime(k []byte) (step time.Duration, start time.Time) {
	return time.Duration(binary.BigEndian.Uint16(k)) * time.Minute, time.Unix(int64(binary.BigEndian.Uint64(k[2:])), 0).UTC()
}

// PutIntervals keeps what was measured, by asset, in one transaction with what
// is measured of intervals that are not over. An interval that is kept already
// and known better stays.
func (db *DB) PutIntervals(ctx context.Context, rows map[flex.AssetID][]flex.Interval, open []byte) error {
	return db.update(ctx, incoming, func(tx *bbolt.Tx) error {
		for id, list := range rows {
			if err := putIntervals(tx, id, list); err != nil {
				return err
			}
		}
		return tx.Bucket(bSettings).Put([]byte(settingMeter), open)
	})
}

func putIntervals(tx *bbolt.Tx, id flex.AssetID, list []flex.Interval) error {
	runs := map[string]*flex.Intervals{}
	for _, i := range list {
		start := i.Start.Truncate(runOf(i.Step))
		key := string(intervalKey(i.Step, start, id))
		if runs[key] == nil {
			run, _, err := value[flex.Intervals](tx, bIntervals, key)
			if err != nil {
				return err
			}
			run.Asset, run.Start, run.Step = id, start, i.Step
			runs[key] = &run
		}
		runs[key].Put(i)
	}
	for key, run := range runs {
		if err := put(tx, bIntervals, key, run); err != nil {
			return err
		}
	}
	return nil
}

// OpenIntervals is what was measured of intervals that were not over, as it
// was given to PutIntervals.
func (db *DB) OpenIntervals() ([]byte, bool, error) { return db.bytes(bSettings, settingMeter) }

// Intervals lists what is kept of one asset and step, of intervals that begin
// in [from, to), oldest first.
func (db *DB) Intervals(ctx context.Context, id flex.AssetID, step time.Duration, from, to time.Time) ([]flex.Interval, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	out := []flex.Interval{}
	if from.Unix() < 0 {
		from = time.Unix(0, 0)
	}
	err := db.bolt.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bIntervals).Cursor()
		for k, raw := c.Seek(intervalKey(step, from.Truncate(runOf(step)), "")); k != nil; k, raw = c.Next() {
			if s, start := intervalTime(k); s != step || !start.Before(to) {
				return nil
			}
			if string(k[10:]) != string(id) {
				continue
			}
			var run flex.Intervals
			if err := decode(k, raw, &run); err != nil {
				db.skip(bIntervals, k, err)
				continue
			}
			for _, i := range run.List() {
				if !i.Start.Before(from) && i.Start.Before(to) {
					out = append(out, i)
				}
			}
		}
		return nil
	})
	return out, err
}

// Nomination is the declared baseline of an asset.
func (db *DB) Nomination(_ context.Context, id flex.AssetID) (flex.Nomination, bool, error) {
	return get[flex.Nomination](db, bNominations, string(id))
}

func applyNominations(tx *bbolt.Tx, c flex.Changes) error {
	for _, n := range c.Nominations {
		if len(n.Pieces) == 0 {
			if err := tx.Bucket(bNominations).Delete([]byte(n.Asset)); err != nil {
				return err
			}
			continue
		}
		if err := put(tx, bNominations, string(n.Asset), n); err != nil {
			return err
		}
	}
	return nil
}
