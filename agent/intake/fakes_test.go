package intake

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"flexd/agent/flex"
)

// fakeBook keeps everything in memory, one transaction at a time, and fails
// on demand.
type fakeBook struct {
	mu       sync.Mutex
	notices  map[flex.NotificationID]flex.Notice
	offers   []flex.Offer
	decided  map[uint64]bool
	audit    []flex.Audit
	sights   []flex.Sight
	replies  []flex.Reply
	outbox   []flex.Message
	records  map[flex.InstructionID]flex.Record
	latest   map[flex.InstructionID]int // of offers
	looks    int                        // at offers
	scans    int                        // of the catalogue
	obs      map[flex.ObligationID]flex.Obligation
	assets   map[flex.AssetID]flex.MarketAsset
	comps    map[flex.CompetitionID]flex.Competition
	commits  int
	parts    []string // ids of the offers of each commit, in brackets
	failPut  error
	failNext int           // commits that fail
	noStarts bool          // a commit with anything but stops fails
	gate     chan struct{} // when set, writes wait for it
	slow     time.Duration // of every write
	failRead error
}

func newBook() *fakeBook {
	return &fakeBook{decided: map[uint64]bool{}, records: map[flex.InstructionID]flex.Record{}, latest: map[flex.InstructionID]int{}, notices: map[flex.NotificationID]flex.Notice{}, obs: map[flex.ObligationID]flex.Obligation{},
		assets: map[flex.AssetID]flex.MarketAsset{}, comps: map[flex.CompetitionID]flex.Competition{}}
}

// kept are the offers so far, for a test that looks while others may write.
func (b *fakeBook) kept() []flex.Offer {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.offers)
}

// put changes the book behind everybody's back.
func (b *fakeBook) put(change func(*fakeBook)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(b)
}

func (b *fakeBook) wait(ctx context.Context) error {
	b.mu.Lock()
	gate, slow := b.gate, b.slow
	b.mu.Unlock()
	time.Sleep(slow)
	if gate == nil {
		return nil
	}
	select {
	case <-gate:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *fakeBook) apply(ch flex.Changes) {
	b.commits++
	part := make([]flex.Instruction, len(ch.Offers))
	for n, o := range ch.Offers {
		part[n] = o.Instruction
	}
	b.parts = append(b.parts, "["+names(part)+"]")
	for _, n := range ch.Notices {
		b.notices[n.ID] = n
	}
	for _, seq := range ch.Decided {
		b.decided[seq] = true
	}
	for _, o := range ch.Offers {
		o.Seq = uint64(len(b.offers) + 1)
		b.latest[o.Instruction.ID] = len(b.offers)
		b.offers = append(b.offers, o)
	}
	for _, o := range ch.Obligations {
		b.obs[o.ID] = o
	}
	for _, a := range ch.Assets {
		b.assets[a.ID] = a
	}
	for _, c := range ch.Competitions {
		b.comps[c.ID] = c
	}
	b.audit = append(b.audit, ch.Audit...)
	b.sights = append(b.sights, ch.Sightings...)
	b.replies = append(b.replies, ch.Replies...)
	b.outbox = append(b.outbox, ch.Outbox...)
}

func (b *fakeBook) PutNotice(ctx context.Context, n flex.Notice, _ []byte, ch flex.Changes) (bool, error) {
	if err := b.wait(ctx); err != nil {
		return false, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failPut != nil {
		return false, b.failPut
	}
	if have, known := b.notices[n.ID]; known {
		have.Seen++
		have.Doors = joinDoors(have.Doors, n.Doors)
		b.notices[n.ID] = have
		return false, nil
	}
	b.notices[n.ID] = n
	b.apply(ch)
	return true, nil
}

func (b *fakeBook) Commit(ctx context.Context, ch flex.Changes) error {
	if err := b.wait(ctx); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failNext > 0 {
		b.failNext--
		return errors.New("disk full")
	}
	if b.noStarts && slices.ContainsFunc(ch.Offers, func(o flex.Offer) bool { return !o.Instruction.IsStop() }) {
		return errors.New("nearly full")
	}
	b.apply(ch)
	return nil
}

func (b *fakeBook) Notice(id flex.NotificationID) (flex.Notice, bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, ok := b.notices[id]
	return n, ok, b.failRead
}

func (b *fakeBook) OpenNotices(context.Context) ([]flex.Notice, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []flex.Notice
	for _, n := range b.notices {
		if n.State == flex.NoticeVerified {
			out = append(out, n)
		}
	}
	return out, b.failRead
}

func (b *fakeBook) LatestOffer(id flex.InstructionID) (flex.Offer, bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.looks++
	if n, ok := b.latest[id]; ok {
		return b.offers[n], true, b.failRead
	}
	return flex.Offer{}, false, b.failRead
}

func (b *fakeBook) Record(_ context.Context, id flex.InstructionID) (flex.Record, bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r, ok := b.records[id]
	return r, ok, b.failRead
}

func values[K comparable, V any](b *fakeBook, m map[K]V) ([]V, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.scans++
	var out []V
	for _, v := range m {
		out = append(out, v)
	}
	return out, b.failRead
}

func (b *fakeBook) Obligations(context.Context) ([]flex.Obligation, error) { return values(b, b.obs) }
func (b *fakeBook) Assets(context.Context) ([]flex.MarketAsset, error)     { return values(b, b.assets) }
func (b *fakeBook) Competitions(context.Context) ([]flex.Competition, error) {
	return values(b, b.comps)
}

func (b *fakeBook) ids() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []string
	for _, o := range b.offers {
		out = append(out, string(o.Instruction.ID)+"/"+o.Instruction.Content)
	}
	return out
}

// open are the offers that are not decided; the last one comes last.
func (b *fakeBook) open() (out []flex.Offer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, o := range b.offers {
		if !b.decided[o.Seq] {
			out = append(out, o)
		}
	}
	return out
}

func (b *fakeBook) acks() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []string
	for _, m := range b.outbox {
		s := string(m.Body)
		_, s, _ = strings.Cut(s, `"state":"`)
		s, _, _ = strings.Cut(s, `"`)
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func (b *fakeBook) state(id flex.NotificationID) flex.NoticeState {
	n, _, _ := b.Notice(id)
	return n.State
}

// fakeMarket verifies by prefix and serves sets of instructions.
type fakeMarket struct {
	mu       sync.Mutex
	sets     map[string][]flex.Instruction // by data_url; "list" for List
	count    int
	keyID    string // of notices
	fail     error
	broken   error // given together with the set
	fetches  []time.Time
	lists    int
	assets   map[flex.AssetID]flex.MarketAsset
	assetErr error
	obs      []flex.Obligation
	obsErr   error
	asked    int
	comps    map[flex.CompetitionID]flex.Competition
	compErr  error
	raw      []byte          // of every list
	hang     map[string]bool // data_urls that never answer
	serve    bool            // a set of one for every data_url that is not known
}

func newMarket() *fakeMarket {
	return &fakeMarket{sets: map[string][]flex.Instruction{}, assets: map[flex.AssetID]flex.MarketAsset{},
		comps: map[flex.CompetitionID]flex.Competition{}}
}

func (m *fakeMarket) Verify(_ context.Context, env flex.Envelope) (flex.Notice, error) {
	body, ok := strings.CutPrefix(string(env.Body), "signed:")
	if !ok {
		return flex.Notice{}, flex.Refuse(flex.ReasonSignatureInvalid, "does not verify")
	}
	sum := sha256.Sum256(env.Body)
	m.mu.Lock()
	defer m.mu.Unlock()
	return flex.Notice{ID: flex.NotificationID(hex.EncodeToString(sum[:])), DataURL: body, Count: m.count, KeyID: m.keyID}, nil
}

func (m *fakeMarket) Fetch(ctx context.Context, url string) ([]flex.Instruction, []byte, error) {
	m.mu.Lock()
	hangs := m.hang[url]
	m.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return nil, nil, &flex.RetryError{After: time.Second, Err: ctx.Err()}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fetches = append(m.fetches, time.Now())
	if m.fail != nil {
		return nil, nil, m.fail
	}
	if set, known := m.sets[url]; known || !m.serve {
		return slices.Clone(set), m.raw, m.broken
	}
	return []flex.Instruction{start("of-"+url, "a")}, []byte(url), m.broken
}

func (m *fakeMarket) List(context.Context, time.Time) ([]flex.Instruction, []byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lists++
	return slices.Clone(m.sets["list"]), m.raw, errors.Join(m.fail, m.broken)
}

func (m *fakeMarket) Asset(_ context.Context, id flex.AssetID) (flex.MarketAsset, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	a, ok := m.assets[id]
	switch {
	case m.assetErr != nil:
		return a, m.assetErr
	case !ok:
		return a, fmt.Errorf("asset %s: not found", id)
	}
	return a, nil
}

func (m *fakeMarket) ObligationAssets(_ context.Context, id flex.ObligationID) ([]flex.MarketAsset, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []flex.MarketAsset
	for _, o := range m.obs {
		if o.ID != id {
			continue
		}
		for _, a := range o.Assets {
			if have, ok := m.assets[a]; ok {
				out = append(out, have)
			}
		}
	}
	return out, m.assetErr
}

func (m *fakeMarket) Obligations(context.Context, time.Time, time.Time) ([]flex.Obligation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	return slices.Clone(m.obs), m.obsErr
}

func (m *fakeMarket) Competition(_ context.Context, id flex.CompetitionID) (flex.Competition, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.comps[id], m.compErr
}

// offer is set for one data_url.
func (m *fakeMarket) offer(url string, ins ...flex.Instruction) {
	m.set(func() { m.sets[url] = ins })
}

func (m *fakeMarket) set(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

func (m *fakeMarket) fetched() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.fetches)
}

// notes records stops and health.
type notes struct {
	mu    sync.Mutex
	stops []flex.Instruction
	items map[string]string
	wakes int
	syncs int
}

func (n *notes) StopNow(in flex.Instruction, _ time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stops = append(n.stops, in)
}
func (n *notes) Raise(code, subject, text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.items[code] = subject + ": " + text
}
func (n *notes) Clear(code, _ string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.items, code)
}
func (n *notes) raised(code string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, ok := n.items[code]
	return ok
}
func (n *notes) text(code string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.items[code]
}
func (n *notes) stopped() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.stops)
}

type fakeClock struct{}

func (fakeClock) Stamp() flex.Stamp {
	return flex.Stamp{At: time.Now().UTC(), Clock: flex.ClockSynced, Boot: "b"}
}

// bench is an intake with everything around it faked.
type rig struct {
	*Intake
	book   *fakeBook
	market *fakeMarket
	notes  *notes
}

func newRig(change func(*Config)) *rig {
	r := &rig{book: newBook(), market: newMarket(), notes: &notes{items: map[string]string{}}}
	r.book.obs["ob1"] = flex.Obligation{ID: "ob1", Competition: "c1", Operator: "SPEN", Assets: []flex.AssetID{"ours"},
		Direction: flex.Export, StartDate: "2000-01-01", EndDate: "2000-12-31", Zone: "UTC"}
	r.book.obs["ob2"] = flex.Obligation{ID: "ob2", Competition: "c2", Assets: []flex.AssetID{"foreign"}, StartDate: "2000-01-01", EndDate: "2000-12-31"}
	r.book.assets["ours"] = flex.MarketAsset{ID: "ours", Export: 10000}
	r.rebuild(change)
	return r
}

// rebuild makes a new intake on the same book, as after a crash.
func (r *rig) rebuild(change func(*Config)) {
	cfg := Config{Verifier: r.market, Fetcher: r.market, Assets: r.market, Book: r.book, Stopper: r.notes, Clock: fakeClock{},
		Health: r.notes, Log: slog.New(slog.DiscardHandler), Ours: []flex.AssetID{"ours", "ours2"},
		Wake:    func() { r.notes.mu.Lock(); r.notes.wakes++; r.notes.mu.Unlock() },
		SyncNow: func() { r.notes.mu.Lock(); r.notes.syncs++; r.notes.mu.Unlock() }}
	if change != nil {
		change(&cfg)
	}
	r.Intake = New(cfg)
}

// start runs the fetch loop until the test ends; stop ends it before.
func (r *rig) start(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.Run(ctx); err != nil {
			t.Errorf("Run = %v", err)
		}
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

func body(url string) flex.Envelope {
	return flex.Envelope{Door: flex.DoorWebhook, Received: time.Now(), Source: "192.0.2.1", Body: []byte("signed:" + url)}
}

func idOf(url string) flex.NotificationID {
	sum := sha256.Sum256([]byte("signed:" + url))
	return flex.NotificationID(hex.EncodeToString(sum[:]))
}

func start(id, content string) flex.Instruction {
	from := time.Now().UTC().Add(time.Minute)
	return flex.Instruction{ID: flex.InstructionID(id), Revision: 1, Kind: flex.KindStart, Obligation: "ob1", Assets: []flex.AssetID{"ours"},
		Capacity: 5000, Direction: flex.Export, Window: flex.Window{Start: from, End: from.Add(time.Hour)}, Content: content}
}

func stop(id string, targets ...flex.InstructionID) flex.Instruction {
	in := start(id, "stop")
	in.Kind, in.Stops = flex.KindStop, targets
	return in
}
