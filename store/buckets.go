package store

// Buckets of state.db, with their keys.
var (
	bMeta         = []byte("meta")                // name
	bInbox        = []byte("inbox")               // notification id → notice
	bOpenNotices  = []byte("inbox.open")          // notification id of a notice that is not fetched
	bRaw          = []byte("inbox.raw")           // notification id → 8 bytes of unix nanoseconds + body
	bOffers       = []byte("instructions")        // 8 bytes of sequence → offer with its fate
	bLatest       = []byte("instructions.latest") // instruction id → sequence of its newest offer
	bUndecided    = []byte("instructions.open")   // sequence of an undecided offer
	bRecords      = []byte("dispatches")          // instruction id → record
	bOpen         = []byte("dispatches.open")     // instruction id of a record that is not final
	bByTime       = []byte("dispatches.time")     // 8 bytes of unix nanoseconds + instruction id
	bTombstones   = []byte("seen")                // instruction id → tombstone
	bPast         = []byte("past")                // "i" + instruction id, or "n" + notification id, of what was archived → what must be remembered of it
	bObligations  = []byte("obligations")         // id
	bAssets       = []byte("assets")              // id
	bCompetitions = []byte("competitions")        // id
	bSightings    = []byte("sightings")           // instruction id → sights, one per revision and door
	bReplies      = []byte("replies")             // 8 bytes of unix nanoseconds + hash → reply
	bUnavailable  = []byte("unavailable")         // id
	bOwed         = []byte("answers.owed")        // instruction id of a record whose answer is not told yet
	bJournal      = []byte("journal")             // device id
	bHolds        = []byte("holds")               // "*" + asset id
	bAudit        = []byte("audit")               // 8 bytes of sequence
	bKeys         = []byte("keys")                // name
	bSettings     = []byte("config")              // name
	bIntervals    = []byte("intervals")           // 2 bytes of minutes + 8 bytes of unix seconds + asset id → run of intervals
	bNominations  = []byte("nominations")         // asset id
	bAside        = []byte("aside")               // bucket + "/" + key of a value that could not be read → that value
	bOutbox       = []byte("outbox")              // stream → bucket of 8 bytes of sequence
)

// allBuckets is made in one go with a new file, and completed on open: adding
// a bucket is an expand-only change.
var allBuckets = [][]byte{bMeta, bInbox, bOpenNotices, bRaw, bOffers, bLatest, bUndecided, bRecords, bOpen, bByTime, bTombstones, bPast,
	bObligations, bAssets, bCompetitions, bSightings, bReplies, bUnavailable, bOwed, bJournal, bHolds, bAudit, bKeys, bSettings, bIntervals, bNominations, bAside, bOutbox}

// The layout. A breaking change raises level, and an older program refuses
// it; an addition that an older program may ignore raises sublevel.
const (
	level    = 1
	sublevel = 1
)

var keyLevel = []byte("level")

// layout is the value of meta/level.
type layout struct {
	Level    int `json:"level"`
	Sublevel int `json:"sublevel"`
	// Buckets are those that the file had when it was last opened: one that is
	// missing was damaged. Empty in files of older releases.
	Buckets []string `json:"buckets,omitempty"`
}
