package fleet

import (
	"cmp"
	"encoding/json"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"

	"flexd/agent/flex"
	"flexd/agent/shown"
)

// The streams that are made here and kept in no outbox.
const (
	streamState flex.Stream = "state"
	streamBirth flex.Stream = "birth"
)

// flat makes one flat object: the fields of the body, and the envelope's over
// them. A body that is no object or too big becomes a message that says so: a
// row that cannot be sent must not hold back those behind it for ever.
func (f *Fleet) flat(m flex.Message) []byte {
	fields := map[string]json.RawMessage{}
	if len(m.Body) > 0 {
		if err := json.Unmarshal(m.Body, &fields); err != nil {
			fields = map[string]json.RawMessage{"problem": text("the stored body is not a JSON object")}
		}
	}
	if fields == nil { // the body was null
		fields = map[string]json.RawMessage{}
	}
	f.envelope(m, fields)
	out, err := json.Marshal(fields)
	if err == nil && len(out) <= maxPayload {
		return out
	}
	problem := map[string]json.RawMessage{"problem": text(fmt.Sprintf("the stored body is too large (%d bytes)", len(m.Body)))}
	f.envelope(m, problem)
	if out, err = json.Marshal(problem); err != nil {
		return []byte(`{}`)
	}
	return out
}

// envelope sets the fields that every message has.
func (f *Fleet) envelope(m flex.Message, fields map[string]json.RawMessage) {
	if m.Clock == "" {
		m.Clock = f.cfg.Stamp().Clock
	}
	fields["id"] = text(m.ID)
	fields["epoch"] = text(cmp.Or(m.Epoch, f.cfg.Epoch))
	fields["stream"] = text(string(m.Stream))
	fields["session"] = number(f.cfg.Session)
	fields["at"] = text(m.At.UTC().Format(time.RFC3339Nano))
	fields["clock"] = text(string(m.Clock))
	fields["schema"] = text(m.Schema)
	delete(fields, "seq")
	if m.Seq > 0 {
		fields["seq"] = number(m.Seq)
	}
}

// fresh is a message that no outbox holds: its own id, no number.
func (f *Fleet) fresh(stream flex.Stream, body []byte) flex.Message {
	stamp := f.cfg.Stamp()
	return flex.Message{ID: ulid.Make().String(), Stream: stream, At: stamp.At, Clock: stamp.Clock,
		Schema: string(stream) + "/1", Body: body}
}

// stateMessage is up/state: the word beside what the site says of itself.
func (f *Fleet) stateMessage(word string, body []byte) []byte {
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(body, &fields); err != nil || fields == nil {
		fields = map[string]json.RawMessage{}
	}
	fields["state"] = text(word)
	out, err := json.Marshal(fields)
	if err != nil {
		out = nil
	}
	return f.flat(f.fresh(streamState, out))
}

// marshal gives a value as JSON, an empty object when it cannot be.
func (f *Fleet) marshal(what string, value func() any) []byte {
	if value == nil {
		return []byte(`{}`)
	}
	out, err := shown.Marshal(value())
	if err != nil {
		f.cfg.Log.Error("cannot encode what the site says of itself", "what", what, "error", err)
		return []byte(`{}`)
	}
	return out
}

// text is a JSON string; a string always marshals.
func text(s string) json.RawMessage {
	out, err := json.Marshal(s)
	if err != nil {
		return json.RawMessage(`""`)
	}
	return out
}

func number(n uint64) json.RawMessage { return fmt.Appendf(nil, "%d", n) }
