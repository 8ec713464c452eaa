package store

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"flexd/agent/flex"
)

// holdsSuffix names the second copy of the holds: people may stand at a
// battery that is held, so a hold must outlive the state file.
const holdsSuffix = ".holds"

// keepHolds has the holds in the state file and beside it agree when it is
// opened. Where some were lost those beside it count; where they cannot be
// read either, what may have been held is held until a person says otherwise.
func (db *DB) keepHolds(lost bool) error {
	holds, err := db.Holds(context.Background())
	if err != nil {
		return err
	}
	var gone []flex.AssetID // of holds that were lost; "" is everything
	if lost {
		gone = append(gone, "")
	}
	for _, d := range db.aside.all() {
		if d.Bucket == string(bHolds) {
			gone = append(gone, flex.AssetID(strings.TrimPrefix(d.Key, "*")))
		}
	}
	var missing []flex.Hold
	if len(gone) > 0 {
		if missing, err = readHolds(db.path + holdsSuffix); err != nil {
			db.log.Error("holds were lost and their second copy cannot be read", "error", err)
			missing = nil
			for _, asset := range gone {
				missing = append(missing, db.precaution(asset))
			}
		}
	}
	missing = slices.DeleteFunc(missing, func(h flex.Hold) bool {
		return slices.ContainsFunc(holds, func(have flex.Hold) bool { return have.Asset == h.Asset })
	})
	if len(missing) > 0 {
		return db.Commit(context.Background(), flex.Changes{Holds: missing})
	}
	return db.writeHolds()
}

func (db *DB) precaution(asset flex.AssetID) flex.Hold {
	return flex.Hold{Asset: asset, By: "flexd", At: flex.Stamp{At: db.now().UTC(), Clock: flex.ClockHoldover},
		Reason: "the state was damaged, and a hold may have been lost with it: look at the site, then `flexd release`"}
}

// readHolds reads the second copy.
func readHolds(path string) ([]flex.Hold, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var holds []flex.Hold
	return holds, decode(nil, raw, &holds)
}

// writeHolds brings the second copy up to date. It is written after the state
// file: what a cut leaves in it alone is a hold too many, never one too few.
func (db *DB) writeHolds() error {
	db.holds.Lock()
	defer db.holds.Unlock()
	holds, err := db.Holds(context.Background())
	if err != nil {
		return err
	}
	raw, err := encode(nil, holds)
	if err != nil {
		return err
	}
	path := db.path + holdsSuffix
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, raw) {
		return nil
	}
	_, err = writeFile(path+".new", func(w io.Writer) (int64, error) { n, err := w.Write(raw); return int64(n), err })
	if err == nil {
		err = rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("cannot keep the holds beside the state: %w", err)
	}
	return nil
}
