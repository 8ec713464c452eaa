package trust

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"time"
)

// setVersion is the form in which key sets are stored.
const setVersion = 1

// keySet is what was published last, and what was published before and is
// still honoured. It is never changed in place.
type keySet struct {
	now   []Key
	old   []oldKey
	at    time.Time // when now was fetched
	asked time.Time // when that fetch began, in this process; zero after a restart
}

type oldKey struct {
	Key
	until time.Time
}

// fresh tells whether the set is younger than ttl. A set from the future
// (the clock was set back) is not.
func (s keySet) fresh(now time.Time, ttl time.Duration) bool {
	age := now.Sub(s.at)
	return len(s.now) > 0 && age >= 0 && age < ttl
}

// usable tells whether the set may stand in while the publisher cannot be
// reached. A clock that runs behind does not make it unusable.
func (s keySet) usable(now time.Time, limit time.Duration) bool {
	return len(s.now) > 0 && now.Sub(s.at) < limit
}

// askedSince tells whether the set was asked for at or after t.
func (s keySet) askedSince(t time.Time) bool {
	return !s.asked.IsZero() && !s.asked.Before(t)
}

// keys lists what is honoured at now, the published ones first.
func (s keySet) keys(now time.Time) []Key {
	out := append(make([]Key, 0, len(s.now)+len(s.old)), s.now...)
	for _, k := range s.old {
		if now.Before(k.until) {
			out = append(out, k.Key)
		}
	}
	return out
}

// replace installs newly published keys; those that went away are honoured
// for grace.
func (s keySet) replace(keys []Key, asked time.Time, grace time.Duration) keySet {
	next := keySet{now: keys, at: asked, asked: asked}
	have := map[string]bool{}
	for _, k := range keys {
		have[k.Thumbprint()] = true
	}
	keep := func(k oldKey) {
		if id := k.Thumbprint(); !have[id] && asked.Before(k.until) && len(next.old) < maxKeys {
			have[id] = true
			next.old = append(next.old, k)
		}
	}
	for _, k := range s.now {
		keep(oldKey{Key: k, until: asked.Add(grace)})
	}
	for _, k := range s.old {
		keep(k)
	}
	return next
}

// differs tells whether other keys are published.
func (s keySet) differs(t keySet) bool {
	if len(s.now) != len(t.now) {
		return true
	}
	for i, k := range s.now {
		if k.ID != t.now[i].ID || k.Thumbprint() != t.now[i].Thumbprint() {
			return true
		}
	}
	return false
}

// storedSet and storedKey are the form in the store.
type storedSet struct {
	Version int         `json:"v"`
	At      time.Time   `json:"at"`
	Keys    []storedKey `json:"keys"`
}

type storedKey struct {
	ID    string    `json:"kid,omitempty"`
	Alg   string    `json:"alg,omitempty"`
	PKIX  []byte    `json:"pkix"`
	Until time.Time `json:"until,omitzero"` // set: no longer published
}

func (s keySet) encode() ([]byte, error) {
	out := storedSet{Version: setVersion, At: s.at.UTC()}
	for _, k := range s.now {
		out.Keys = append(out.Keys, storedKey{ID: k.ID, Alg: k.Alg, PKIX: pkix(k)})
	}
	for _, k := range s.old {
		out.Keys = append(out.Keys, storedKey{ID: k.ID, Alg: k.Alg, PKIX: pkix(k.Key), Until: k.until.UTC()})
	}
	raw, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("encode the key set: %w", err)
	}
	return raw, nil
}

func pkix(k Key) []byte {
	der, err := x509.MarshalPKIXPublicKey(k.Public)
	if err != nil {
		return nil // decodeSet refuses it; every parsed key can be marshalled
	}
	return der
}

func decodeSet(raw []byte) (keySet, error) {
	var in storedSet
	if err := json.Unmarshal(raw, &in); err != nil {
		return keySet{}, fmt.Errorf("decode the key set: %w", err)
	}
	if in.Version != setVersion || len(in.Keys) > 2*maxKeys {
		return keySet{}, fmt.Errorf("decode the key set: version %d with %d keys", in.Version, len(in.Keys))
	}
	s := keySet{at: in.At}
	for _, k := range in.Keys {
		pub, err := x509.ParsePKIXPublicKey(k.PKIX)
		if err == nil {
			err = checkPublic(pub)
		}
		if err != nil {
			return keySet{}, fmt.Errorf("decode the key set: %w", err)
		}
		key := Key{ID: k.ID, Alg: k.Alg, Public: pub}
		if k.Until.IsZero() {
			s.now = append(s.now, key)
		} else {
			s.old = append(s.old, oldKey{Key: key, until: k.Until})
		}
	}
	return s, nil
}
