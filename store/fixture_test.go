package store

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"flexd/agent/flex"
)

// Files that released programs have written are opened by this one, for ever,
// and read as what they were. FLEXD_FIXTURE=name writes a new one from what
// this program stores: once for a release whose files differ, and never over
// an older one.
func TestFilesOfEveryReleaseAreRead(t *testing.T) {
	if name := os.Getenv("FLEXD_FIXTURE"); name != "" {
		writeFixture(t, filepath.Join("testdata", name))
	}
	files, err := filepath.Glob("testdata/*.db.gz")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			path := state(t)
			in, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			plain, err := gzip.NewReader(in)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := io.ReadAll(plain)
			if err = firstError(err, os.WriteFile(path, raw, 0o600)); err != nil {
				t.Fatal(err)
			}
			was, err := os.ReadFile(file[:len(file)-len(".db.gz")] + ".json")
			if err != nil {
				t.Fatal(err)
			}
			db := mustOpen(t, path)
			if db.Lost() || len(db.Damaged()) != 0 {
				t.Errorf("lost %v, damaged %v", db.Lost(), db.Damaged())
			}
			same(t, was, allRead(t, db))
			commit(t, db, flex.Changes{JournalClose: []flex.DeviceID{"bat"}, Records: []flex.Record{record("open", flex.Completed, t0)},
				Outbox: []flex.Message{{Stream: flex.StreamAck, Body: []byte(`{}`)}}})
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			db = mustOpen(t, path)
			journal, _ := db.Journal(t.Context())
			open, _ := db.Records(t.Context(), RecordQuery{Open: true})
			acks, _ := db.Head(t.Context(), flex.StreamAck, 100)
			if len(journal) != 1 || len(open) != 0 || len(acks) != 3 || acks[2].Seq <= acks[1].Seq || len(db.Damaged()) != 0 {
				t.Errorf("written on: %d entries, %d open, %d messages, damaged %v", len(journal), len(open), len(acks), db.Damaged())
			}
		})
	}
}

// allRead is everything that the store reads, as JSON.
func allRead(t *testing.T, db *DB) []byte {
	t.Helper()
	ctx := t.Context()
	all := map[string]any{}
	keep := func(name string) func(v any, err error) {
		return func(v any, err error) {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			all[name] = v
		}
	}
	byID := func(name string, get func() (any, bool, error)) {
		v, ok, err := get()
		keep(name)(map[string]any{"found": ok, "is": v}, err)
	}
	keep("journal")(erased(db.Journal(ctx)))
	keep("holds")(erased(db.Holds(ctx)))
	keep("open")(erased(db.Records(ctx, RecordQuery{Open: true})))
	keep("owed")(erased(db.Records(ctx, RecordQuery{Owed: true})))
	keep("records")(erased(db.Records(ctx, RecordQuery{})))
	keep("undecided")(erased(db.Undecided(ctx, nil)))
	keep("notices")(erased(db.OpenNotices(ctx)))
	keep("acks")(erased(db.Head(ctx, flex.StreamAck, 100)))
	keep("events")(erased(db.Head(ctx, flex.StreamEvent, 100)))
	keep("intervals")(erased(db.Intervals(ctx, "a", 15*time.Minute, t0.Add(-day), t0.Add(day))))
	keep("obligations")(erased(db.Obligations(ctx)))
	keep("assets")(erased(db.Assets(ctx)))
	keep("competitions")(erased(db.Competitions(ctx)))
	keep("unavailable")(erased(db.Unavailable(ctx)))
	keep("replies")(erased(db.Replies(ctx, 10)))
	keep("sights")(erased(db.Sights(ctx, "open")))
	keep("audit")(erased(db.Audit(ctx, time.Time{}, 0)))
	byID("tombstone", func() (any, bool, error) { v, ok, err := db.Tombstone(ctx, "stopped"); return v, ok, err })
	byID("old offer", func() (any, bool, error) { v, ok, err := db.LatestOffer("old"); return v, ok, err })
	byID("old notice", func() (any, bool, error) { v, ok, err := db.remembered(pastNotification("nold")); return v.At, ok, err })
	byID("nomination", func() (any, bool, error) { v, ok, err := db.Nomination(ctx, "a"); return v, ok, err })
	byID("raw", func() (any, bool, error) { v, ok, err := db.Raw("nopen"); return v, ok, err })
	byID("setting", func() (any, bool, error) { v, ok, err := db.Setting("config.good"); return v, ok, err })
	byID("keys", func() (any, bool, error) { v, ok, err := db.Keys("market"); return v, ok, err })
	byID("measured", func() (any, bool, error) { v, ok, err := db.OpenIntervals(); return v, ok, err })
	raw, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func erased[T any](v T, err error) (any, error) { return v, err }

// same tells where what was stored is not read as it was; what a newer program
// adds is no difference.
func same(t *testing.T, was, is []byte) {
	t.Helper()
	var a, b any
	if err := firstError(json.Unmarshal(was, &a), json.Unmarshal(is, &b)); err != nil {
		t.Fatal(err)
	}
	within(t, "", a, b)
}

func within(t *testing.T, at string, was, is any) {
	t.Helper()
	switch was := was.(type) {
	case map[string]any:
		have, _ := is.(map[string]any)
		for k, v := range was {
			within(t, at+"/"+k, v, have[k])
		}
	case []any:
		have, _ := is.([]any)
		if len(have) != len(was) {
			t.Errorf("%s: %d of %d are read", at, len(have), len(was))
			return
		}
		for i, v := range was {
			within(t, fmt.Sprintf("%s/%d", at, i), v, have[i])
		}
	default:
		if was != is {
			t.Errorf("%s: was %v, is read as %v", at, was, is)
		}
	}
}

// writeFixture stores one of each, and what is read of it.
func writeFixture(t *testing.T, name string) {
	t.Helper()
	path := state(t)
	db := mustOpen(t, path)
	life(t, db, "old", t0.Add(-30*day))
	deliver(t, db)
	tend(t, db, t0)
	stamp := flex.Stamp{At: t0, Clock: flex.ClockSynced, Boot: "b", Since: time.Hour}
	n := flex.Notice{ID: "nopen", State: flex.NoticeVerified, Received: t0, DataURL: "https://market.example/open", Count: 1, KeyID: "k", Door: flex.DoorWebhook}
	if _, err := db.PutNotice(t.Context(), n, []byte("eyJ..."), flex.Changes{}); err != nil {
		t.Fatal(err)
	}
	in := flex.Instruction{ID: "open", Kind: flex.KindStart, Revision: 2, HasRevision: true, Obligation: "ob", Assets: []flex.AssetID{"a"}, Capacity: 4000, Direction: flex.Export,
		Content: "content", Raw: []byte(`{"id":"open"}`), Window: flex.Window{Start: t0, End: t0.Add(time.Hour)}}
	open := record("open", flex.Active, t0)
	open.Instruction, open.Window, open.FirstWrite, open.EchoAt = in, in.Window, t0, t0.Add(time.Second)
	open.Shares, open.Conditions = []flex.AssetShare{{Asset: "a", Power: 4000}}, []flex.Condition{flex.Partial}
	owed := record("owed", flex.Refused, t0)
	owed.Answer = &flex.Answer{Word: flex.Reject, Due: t0.Add(time.Hour)}
	found := flex.Snapshot{Device: "bat", At: t0, Endpoint: "192.168.10.22:502", Unit: 1, Serial: "s1", Map: "sunspec 124", Registers: []flex.Register{{Addr: 40259, Words: []uint16{0, 100}, Name: "124.StorCtl_Mod"}}}
	commit(t, db, flex.Changes{Offers: []flex.Offer{{Instruction: in, Received: stamp, Notification: "nopen", Ours: []flex.AssetID{"a"}}}, Records: []flex.Record{open, owed, record("done", flex.Completed, t0)}, Decided: []uint64{1},
		Tombstones:  []flex.Tombstone{{ID: "stopped", By: "s", At: stamp, Reason: flex.ReasonStatus}},
		JournalOpen: []flex.JournalEntry{{Device: "bat", Snapshot: found, Opened: stamp, For: []flex.InstructionID{"open"}, Intent: []flex.Register{{Addr: 40259, Words: []uint16{3}}}, Detail: []byte(`{"target":{"device":"bat","order":"set","power":4000}}`)}, {Device: "pv", Snapshot: found, Opened: stamp, Released: stamp}},
		Holds:       []flex.Hold{hold("a"), hold("")},
		Sightings:   []flex.Sight{{Instruction: "open", Revision: 2, Sighting: flex.Sighting{Door: flex.DoorPoll, At: t0}}}, Replies: []flex.Reply{{Hash: "h", At: t0, Raw: []byte("[]")}},
		Obligations: []flex.Obligation{{ID: "ob", Assets: []flex.AssetID{"a"}, Capacity: 10_000, SyncedAt: t0}}, Assets: []flex.MarketAsset{{ID: "a", Export: 10_000}}, Competitions: []flex.Competition{{ID: "c"}},
		Unavailable: []flex.Unavailability{{ID: "u", Asset: "a"}}, Nominations: []flex.Nomination{{Asset: "a", Pieces: []flex.Stated{{Start: t0, Step: time.Hour}}}},
		Audit: []flex.Audit{{At: stamp, What: "dispatch.active", Subject: "open", Text: "x"}},
		Outbox: []flex.Message{{Stream: flex.StreamAck, At: t0, Schema: "ack/1", Body: []byte(`{"state":"active"}`)}, {Stream: flex.StreamAck, At: t0, Schema: "ack/1", Body: []byte(`{"state":"partial"}`)},
			{Stream: flex.StreamEvent, At: t0, Schema: "event/1", Body: []byte(`{"code":"c","subject":"s"}`)}}})
	waits := in
	waits.ID = "waits"
	commit(t, db, flex.Changes{Offers: []flex.Offer{{Instruction: waits, Received: stamp}}})
	err := firstError(db.PutSetting("config.good", []byte("site: {id: x}")), db.PutKeys("market", []byte("-----BEGIN PUBLIC KEY-----")),
		db.PutIntervals(t.Context(), map[flex.AssetID][]flex.Interval{"a": {{Start: t0, Step: 15 * time.Minute, Quality: flex.QualityPower}}}, []byte(`{"open":1}`)))
	if err != nil {
		t.Fatal(err)
	}
	read := allRead(t, db)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.OpenFile(name+".db.gz", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	z, _ := gzip.NewWriterLevel(out, gzip.BestCompression)
	_, err = z.Write(raw)
	if err = firstError(err, z.Close(), out.Close(), os.WriteFile(name+".json", append(read, '\n'), 0o644)); err != nil {
		t.Fatal(err)
	}
}
