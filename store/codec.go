package store

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"go.etcd.io/bbolt"
)

// valueVersion is the version of every value's envelope.
const valueVersion = 1

// envelope is how a value lies in the file.
type envelope struct {
	Version int             `json:"v"`
	Sum     string          `json:"sum,omitempty"` // CRC-32C of key and Value, hexadecimal; absent in files of older releases
	Value   json.RawMessage `json:"value"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sumOf covers the key as well: a value under another's key is as wrong.
func sumOf(key, raw []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, raw)
}

// open reads an envelope and checks what is in it.
func (e *envelope) open(key, raw []byte) error {
	if err := json.Unmarshal(raw, e); err != nil {
		return fmt.Errorf("cannot decode a stored value: %w", err)
	}
	if e.Version != valueVersion {
		return fmt.Errorf("a stored value has version %d, this flexd knows %d", e.Version, valueVersion)
	}
	if e.Sum != "" && e.Sum != fmt.Sprintf("%08x", sumOf(key, e.Value)) {
		return errors.New("a stored value does not match its checksum")
	}
	return nil
}

// intact tells what is wrong with a value as it lies in the file.
func intact(key, raw []byte) error {
	var e envelope
	return e.open(key, raw)
}

func encode(key []byte, v any) ([]byte, error) {
	inner, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("cannot encode a %T: %w", v, err)
	}
	return json.Marshal(envelope{valueVersion, fmt.Sprintf("%08x", sumOf(key, inner)), inner})
}

// decode copies: nothing of the result points into the file.
func decode(key, raw []byte, v any) error {
	var e envelope
	if err := e.open(key, raw); err != nil {
		return err
	}
	if err := json.Unmarshal(e.Value, v); err != nil {
		return fmt.Errorf("cannot decode a stored %T: %w", v, err)
	}
	return nil
}

func seqKey(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func put(tx *bbolt.Tx, bucket []byte, key string, v any) error {
	raw, err := encode([]byte(key), v)
	if err != nil {
		return err
	}
	if key == "" || len(key) > bbolt.MaxKeySize {
		return fmt.Errorf("cannot store a %T under a name of %d bytes", v, len(key))
	}
	return tx.Bucket(bucket).Put([]byte(key), raw)
}

func get[T any](db *DB, bucket []byte, key string) (v T, ok bool, err error) {
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		v, ok, err = value[T](tx, bucket, key)
		return err
	})
	return v, ok && err == nil, err
}

// value is get within a transaction.
func value[T any](tx *bbolt.Tx, bucket []byte, key string) (v T, ok bool, err error) {
	raw := tx.Bucket(bucket).Get([]byte(key))
	if raw == nil {
		return v, false, nil
	}
	err = decode([]byte(key), raw, &v)
	return v, err == nil, err
}

// all lists a bucket in key order, without what cannot be read.
func all[T any](db *DB, bucket []byte) ([]T, error) {
	out := []T{}
	err := db.bolt.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucket).ForEach(func(k, raw []byte) error {
			var v T
			if err := decode(k, raw, &v); err != nil {
				db.skip(bucket, k, err)
				return nil
			}
			out = append(out, v)
			return nil
		})
	})
	return out, err
}

// indexed lists what an index leads to, in its order, without what cannot be
// read. What is in have, by its key, is taken from there.
func indexed[T any](db *DB, index, bucket []byte, have map[string]*T) ([]T, error) {
	out := []T{}
	err := db.bolt.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		return tx.Bucket(index).ForEach(func(k, _ []byte) error {
			if v, known := have[string(k)]; known {
				out = append(out, *v)
				return nil
			}
			var v T
			if err := decode(k, b.Get(k), &v); err != nil {
				db.skip(bucket, k, err)
				return nil
			}
			out = append(out, v)
			return nil
		})
	})
	return out, err
}

// ulids makes ids that sort by time, also within a millisecond.
type ulids struct {
	mu      sync.Mutex
	entropy *ulid.MonotonicEntropy
}

func (u *ulids) next(now time.Time) (string, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.entropy == nil {
		u.entropy = ulid.Monotonic(rand.Reader, 0)
	}
	id, err := ulid.New(ulid.Timestamp(now), u.entropy)
	if err != nil {
		return "", fmt.Errorf("cannot make an id: %w", err)
	}
	return id.String(), nil
}
