package store

import (
	"time"

	"go.etcd.io/bbolt"

	"flexd/agent/flex"
)

// strip drops the raw text of instructions and replies from before an
// instant. Their hashes stay: a copy kept elsewhere can still be proven to be
// the one that was acted on.
func strip(tx *bbolt.Tx, before time.Time) error {
	undecided := tx.Bucket(bUndecided)
	return firstError(
		rewrite(tx, bReplies, func(_ []byte, r *flex.Reply) bool {
			old := r.At.Before(before) && r.Raw != nil
			r.Raw = nil
			return old
		}),
		rewrite(tx, bOffers, func(seq []byte, o *flex.Offer) bool {
			return undecided.Get(seq) == nil && o.Received.At.Before(before) && stripped(&o.Instruction)
		}),
	)
}

// stripped drops the raw text when its hash is there to stand for it.
func stripped(in *flex.Instruction) bool {
	if in.Raw == nil || in.RawHash == "" {
		return false
	}
	in.Raw = nil
	return true
}

// rewrite stores the values of a bucket that change says it has changed.
func rewrite[T any](tx *bbolt.Tx, bucket []byte, change func(key []byte, v *T) bool) error {
	type pair struct {
		key []byte
		v   T
	}
	var changed []pair
	err := tx.Bucket(bucket).ForEach(func(k, raw []byte) error {
		var v T
		if decode(k, raw, &v) != nil {
			return nil // it is set aside at the next start
		}
		if change(k, &v) {
			changed = append(changed, pair{append([]byte(nil), k...), v})
		}
		return nil
	})
	for _, p := range changed {
		err = firstError(err, put(tx, bucket, string(p.key), p.v))
	}
	return err
}

func pruneReplies(tx *bbolt.Tx, before time.Time) error {
	return collect(tx, bReplies, func(k, _ []byte) (bool, error) { return len(k) < 8 || timeOf(k).Before(before), nil })
}

func pruneUnavailable(tx *bbolt.Tx, before time.Time) error {
	return collect(tx, bUnavailable, func(k, v []byte) (bool, error) {
		var u flex.Unavailability
		err := decode(k, v, &u)
		return u.Window.End.Before(before), err
	})
}
