// Package intake takes raw notifications from the doors, has them verified,
// keeps them, fetches the instructions they point to until all are there, and
// matches each to this site's obligations and assets.
//
// In: envelopes (Accept), the call to list what was missed (Poll), and the
// market's obligations, competitions and assets (Sync). Out: offers in the
// store, ready for a decision, and stops handed to the board in memory before
// anything is written.
//
//	Accept ─ verify ─┬─ store the notice ──────────── nil: the door says 2xx
//	                 └─ fetch meanwhile ─ stops act ─ (parked until stored)
//	                                              └─ match ─ one commit: offers,
//	                                                 notice fetched, acks ─ wake
//
// It never decides whether an instruction is carried out, never answers the
// market, and never acts on, keeps in the store, or logs anything of a body
// that was not verified beyond its hash and size.
package intake
