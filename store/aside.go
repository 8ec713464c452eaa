package store

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"go.etcd.io/bbolt"

	"flexd/agent/flex"
)

// Damaged names a value that could not be read. It is kept as it is under its
// bucket's name and its key in the bucket "aside".
type Damaged struct {
	Bucket string `json:"bucket"`
	Key    string `json:"key"`
	Error  string `json:"error"`
}

// asideList is what was set aside, and what could not be read since.
type asideList struct {
	mu   sync.Mutex
	list []Damaged
}

func (a *asideList) add(d Damaged) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.list) >= mostDamaged || slices.ContainsFunc(a.list, func(have Damaged) bool { return have.Bucket == d.Bucket && have.Key == d.Key }) {
		return false
	}
	a.list = append(a.list, d)
	return true
}

func (a *asideList) all() []Damaged {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.list)
}

// mostDamaged bounds what is listed; the rest is in the log.
const mostDamaged = 100

// meant reads a value as what it should be, where one that is well formed and
// not understood must not wait until somebody looks for it.
var meant = map[string]func(key, raw []byte) error{
	string(bJournal): func(key, raw []byte) error { return decode(key, raw, new(flex.JournalEntry)) },
	string(bPast):    pastIntact,
	string(bHolds):   func(key, raw []byte) error { return decode(key, raw, new(flex.Hold)) },
}

// sound tells what is wrong with a value of a bucket.
func sound(bucket, key, raw []byte) error {
	if read := meant[string(bucket)]; read != nil {
		return read(key, raw)
	}
	return intact(key, raw)
}

// journal tells whether a device may be under a control that nobody remembers.
func (a *asideList) journal() bool {
	return slices.ContainsFunc(a.all(), func(d Damaged) bool { return d.Bucket == string(bJournal) })
}

// skip leaves a value out of a list that it would have made unreadable, and
// says so once.
func (db *DB) skip(bucket, key []byte, err error) {
	if db.aside.add(Damaged{Bucket: string(bucket), Key: string(key), Error: err.Error()}) {
		db.log.Error("a stored value cannot be read and is left out", "bucket", string(bucket), "key", fmt.Sprintf("%q", key), "error", err)
	}
}

// plain buckets hold no enveloped values: indexes, bodies, and bytes of others.
var plain = [][]byte{bRaw, bOpenNotices, bLatest, bUndecided, bOpen, bByTime, bOwed, bKeys, bSettings, bIntervals, bAside}

// setAside takes every value out of the way that is not what was written, one
// by one, so that the rest can be read.
func setAside(b *bbolt.DB, found *asideList, log *slog.Logger) error {
	type place struct {
		path [][]byte
		raw  []byte
	}
	var bad []place
	var visit func(path [][]byte, b *bbolt.Bucket) error
	visit = func(path [][]byte, b *bbolt.Bucket) error {
		return b.ForEach(func(k, v []byte) error {
			if v == nil {
				return visit(append(slices.Clone(path), slices.Clone(k)), b.Bucket(k))
			}
			if err := sound(path[0], k, v); err != nil {
				bad = append(bad, place{append(slices.Clone(path), slices.Clone(k)), slices.Clone(v)})
				if found.add(Damaged{Bucket: string(path[0]), Key: string(k), Error: err.Error()}) {
					log.Error("a stored value is damaged and was set aside", "bucket", string(path[0]), "key", fmt.Sprintf("%q", k), "error", err)
				}
			}
			return nil
		})
	}
	err := b.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			if slices.ContainsFunc(plain, func(p []byte) bool { return string(p) == string(name) }) {
				return nil
			}
			return visit([][]byte{slices.Clone(name)}, b)
		})
	})
	if err != nil || len(bad) == 0 {
		return err
	}
	return b.Update(func(tx *bbolt.Tx) error {
		for _, p := range bad {
			in := tx.Bucket(p.path[0])
			name := slices.Clone(p.path[0])
			for _, k := range p.path[1 : len(p.path)-1] {
				in = in.Bucket(k)
				name = append(append(name, '/'), k...)
			}
			key := p.path[len(p.path)-1]
			name = append(append(name, '/'), key[:min(len(key), 512)]...) // a damaged key may have any length
			if err := firstError(tx.Bucket(bAside).Put(name, p.raw), in.Delete(key)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Damaged lists the values that were set aside when the file was opened, and
// those that could not be read since.
func (db *DB) Damaged() []Damaged { return db.aside.all() }
