package store

import "sync/atomic"

// wear counts what the library does not.
type wear struct {
	commits atomic.Uint64
	backups atomic.Int64 // bytes written to backups
}

// Wear is what was written since the state was opened, in bytes of whole pages:
// what a card is worn out by.
type Wear struct {
	State, Backups int64
	Commits        uint64
}

// WearOf counts the pages that the library took for its commits, and one header
// for each.
func WearOf(db *DB) Wear {
	stats, commits := db.bolt.Stats(), db.wear.commits.Load()
	return Wear{State: stats.TxStats.GetPageAlloc() + int64(commits)*pageSize, Backups: db.wear.backups.Load(), Commits: commits}
}
