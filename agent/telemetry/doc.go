// Package telemetry keeps what devices measure, and offers it to the fleet.
//
// In: readings, one at a time, from control. Out: batches, one an interval,
// numbered, as messages for the fleet and as samples for an export. Nothing
// here decides anything, and whoever gives a reading waits for memory alone.
//
// A batch stays in memory while the fleet acknowledges what it is sent, and
// goes to series.db packed, ten minutes of them in one commit: a card is worn
// out by commits. It goes there at once while the fleet does not acknowledge,
// while a dispatch runs, and at a dispatch's ends. A power cut or a kill costs
// what is in memory, which the numbers do not hide: what follows is of a new
// epoch.
//
// What is kept does not depend on what was sent. The ring of the file alone
// decides: its oldest rows make room for new ones. Each consumer has a cursor,
// the numbers that it has not taken yet.
//
// It imports store/series, whose rows and numbers it works with.
package telemetry
