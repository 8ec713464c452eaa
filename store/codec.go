package store

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
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
	Value   json.RawMessage `json:"value"`
}

func encode(v any) ([]byte, error) {
	inner, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("cannot encode a %T: %w", v, err)
	}
	return json.Marshal(envelope{valueVersion, inner})
}

// decode copies: nothing of the result points into the file.
func decode(raw []byte, v any) error {
	var e envelope
	if err := json.Unmarshal(raw, &e); err != nil {
		return fmt.Errorf("cannot decode a stored value: %w", err)
	}
	if e.Version != valueVersion {
		return fmt.Errorf("a stored value has version %d, this flexd knows %d", e.Version, valueVersion)
	}
	if err := json.Unmarshal(e.Value, v); err != nil {
		return fmt.Errorf("cannot decode a stored %T: %w", v, err)
	}
	return nil
}

func seqKey(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func put(tx *bbolt.Tx, bucket []byte, key string, v any) error {
	raw, err := encode(v)
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
	err = decode(raw, &v)
	return v, err == nil, err
}

// all lists a bucket in key order.
func all[T any](db *DB, bucket []byte) ([]T, error) {
	out := []T{}
	err := db.bolt.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucket).ForEach(func(_, raw []byte) error {
			var v T
			if err := decode(raw, &v); err != nil {
				return err
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
