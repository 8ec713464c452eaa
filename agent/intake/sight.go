package intake

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"time"

	"flexd/agent/flex"
)

// maxKept is the largest reply of which the text is kept.
const maxKept = 4 << 20

// replyOf keeps what the market sent, as it came; nil when it sent nothing.
func replyOf(id flex.NotificationID, raw []byte, at time.Time) *flex.Reply {
	if len(raw) == 0 {
		return nil
	}
	sum := sha256.Sum256(raw)
	r := &flex.Reply{Hash: hex.EncodeToString(sum[:]), Notification: id, At: at, Bytes: len(raw)}
	if len(raw) > maxKept {
		return r
	}
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestSpeed)
	if err != nil {
		return r // the level is a constant of the library
	}
	if _, err := w.Write(raw); err == nil && w.Close() == nil {
		r.Raw = packed.Bytes()
	}
	return r
}

// sightsOf are the sightings of one instruction that are not stored yet.
func (i *Intake) sightsOf(in flex.Instruction, src source) []flex.Sight {
	var out []flex.Sight
	for _, d := range src.doors {
		s := flex.Sight{Instruction: in.ID, Revision: in.Revision, Sighting: d}
		if !i.sighted.has(sightKey(s)) {
			out = append(out, s)
		}
	}
	return out
}

// unsighted leaves each out that was stored meanwhile.
func (i *Intake) unsighted(list []flex.Sight) []flex.Sight {
	var out []flex.Sight
	twice := map[string]bool{}
	for _, s := range list {
		if key := sightKey(s); !twice[key] && !i.sighted.has(key) {
			twice[key] = true
			out = append(out, s)
		}
	}
	return out
}

func sightKey(s flex.Sight) string {
	return string(s.Instruction) + "\x00" + strconv.FormatInt(s.Revision, 10) + "\x00" + string(s.Door)
}
