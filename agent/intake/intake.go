package intake

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"flexd/agent/flex"
)

// Times of the room.
const (
	firstTimeout  = 5 * time.Second  // one reply of the market, at the first try
	fetchTimeout  = 30 * time.Second // and at every other
	storeTimeout  = 10 * time.Second // one commit, a slow card included
	backoffMin    = time.Second
	backoffMax    = time.Minute
	refetchGap    = 30 * time.Second // a notice that is delivered again
	noticeMaxLife = 24 * time.Hour   // retries, when no window is known
	noticeCap     = 8 * 24 * time.Hour
	listBack      = 48 * time.Hour // how far back a poll looks
	reloadEvery   = 10 * time.Minute
	refusedQuiet  = time.Hour // the refusal notice is cleared after
)

// Bounds of the room.
const (
	fetchers = 16   // replies asked for at a time
	retriers = 4    // of them, those that failed before: what is new never waits behind them
	maxJobs  = 4096 // notices worked on in memory; the rest waits in the store
	// maxSettling bounds the replies that were fetched and wait for the disk.
	maxSettling = 64
)

// Config is what intake needs. All but Direction, Signatures, RefusedDir,
// SyncNow and Waiting are mandatory.
type Config struct {
	Verifier Verifier
	Fetcher  Fetcher
	Assets   AssetSource
	Book     Book
	Stopper  Stopper
	Clock    Clock
	Health   Health
	Log      *slog.Logger
	// Wake tells the dispatch engine that there are offers.
	Wake func()
	// SyncNow asks for the contracts to be synchronised: an obligation is not
	// known.
	SyncNow func()
	// PollNow asks for the market's list: something was not followed. May be nil.
	PollNow func()
	// Waiting are the offers that wait for a reason that can pass.
	Waiting func() []flex.Offer
	// Ours are the assets that this site's configuration lists.
	Ours []flex.AssetID
	// Signatures judges operators' own signatures; nil: none is looked at.
	Signatures Signatures
	// Direction resolves what an instruction leaves open by the market
	// profile's rules; nil: the obligation's, else the competition's.
	Direction func(in flex.Instruction, o flex.Obligation, c flex.Competition) flex.Direction
	// RefusedDir is where bodies that were refused are kept for the first
	// integration; empty: nowhere.
	RefusedDir string
}

// Intake accepts notifications and turns them into offers. It is the task
// "intake".
type Intake struct {
	cfg     Config
	log     *slog.Logger
	ours    map[flex.AssetID]bool
	refused *refusedFolder
	budget  *budget
	wake    chan struct{}
	ready   chan struct{}
	once    sync.Once

	mu        sync.Mutex
	jobs      map[flex.NotificationID]*job
	fetching  int
	retrying  int // of fetching, those that failed before
	settling  int
	overflow  bool // open notices are in the store that are not in jobs
	refusedAt time.Time
	nRefused  int
	forgers   forgers
	stale     bool // what waits is to be matched again whenever it is due
	rematches bool // that is under way
	rematchAt time.Time
	turns     map[uint64]rematching // by Seq

	// admitMu makes "offered before?" and the commit one step, so that two
	// doors never offer the same content twice. Both are one-place channels.
	admitMu chan struct{}
	// pollMu keeps polls from overtaking each other.
	pollMu chan struct{}

	contracts atomic.Bool // they have changed since the last list

	stops    *memory // stops that have acted
	seen     *memory // explicit revisions that were offered
	recorded *memory // instructions for others, in the audit already
	sighted  *memory // contents and doors whose sighting is stored

	// doubts is when each operator's signature could last not be checked.
	doubts map[string]time.Time // under mu
	listMu sync.Mutex
	listed map[flex.InstructionID]*listing // ours, as the market's list shows them
}

// New builds an intake; nothing runs yet.
func New(cfg Config) *Intake {
	i := &Intake{
		cfg:      cfg,
		log:      cfg.Log,
		ours:     make(map[flex.AssetID]bool, len(cfg.Ours)),
		refused:  newRefusedFolder(cfg.RefusedDir),
		budget:   newBudget(),
		wake:     make(chan struct{}, 1),
		ready:    make(chan struct{}),
		admitMu:  make(chan struct{}, 1),
		pollMu:   make(chan struct{}, 1),
		jobs:     map[flex.NotificationID]*job{},
		stops:    newMemory(4096),
		seen:     newMemory(4096),
		recorded: newMemory(16384), // more than one list can show
		sighted:  newMemory(16384), // more than one list can show
		doubts:   map[string]time.Time{},
		listed:   map[flex.InstructionID]*listing{},
	}
	for _, id := range cfg.Ours {
		i.ours[id] = true
	}
	return i
}

// Name is the task's name.
func (i *Intake) Name() string { return "intake" }

// Ready closes once the fetch loop runs.
func (i *Intake) Ready() <-chan struct{} { return i.ready }

// Wake makes the fetch loop look at its notices now.
func (i *Intake) Wake() {
	select {
	case i.wake <- struct{}{}:
	default:
	}
}

// syncNow asks for a synchronisation when somebody listens.
func (i *Intake) syncNow() {
	if i.cfg.SyncNow != nil {
		i.cfg.SyncNow()
	}
}

// detached gives a context for a commit that must not be torn by a caller who
// hangs up, and that ends all the same.
func detached(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
}

// short is an id for a log line.
func short(id flex.NotificationID) string { return string(id[:min(len(id), 12)]) }

// orNow gives t, or the stamp's instant when t is zero.
func orNow(t time.Time, st flex.Stamp) time.Time {
	if t.IsZero() {
		return st.At
	}
	return t.UTC()
}
