// Package store keeps state.db: everything that a site must not forget.
//
// In: decisions as flex.Changes, each committed in one synced transaction.
// Out: typed values; no database type crosses the border, and what is returned
// is the caller's own copy. It decides nothing. Beside its callers it runs one timer,
// which deletes what was sent and found no company, and which Close ends.
//
// Values are versioned JSON, readable with any tool. Keys are ordered by time
// or number, big-endian, so that pages fill in order. The file is small and
// precious; telemetry, which is neither, lives in store/series.
package store
