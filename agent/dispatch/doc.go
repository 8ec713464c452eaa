// Package dispatch decides. It is the only place where an instruction gets
// or changes its state.
//
// In: offers that intake matched to this site, what control has seen of each
// dispatch (flex.Progress), orders of a person at the site, and the clock.
// Out: records with their ladder, one committed transaction per decision with
// audit and acknowledgements in it, and the Board: the in-memory list of what
// control must carry out.
//
// Where the market wants to hear whether we accept, a start runs only once it
// is accepted, by the site's policy or by a person. Answers, a task of its own,
// tells the market what was decided until it has taken it or the deadline has
// passed; a stop needs no answer and ends that too. What a person declared
// unavailable is not promised anew.
//
// The rules are pure: Admit judges an offer, Follow turns what control saw
// into transitions, Resume says what an unfinished record needs after a
// restart, Step keeps everybody to the table of transitions. Engine feeds
// them and commits what they say.
//
// What has begun goes by the time since boot: the Board moves its window with
// every step of the wall clock, gives it to control in a steady time that no
// step moves, and the Engine takes it over into the record.
//
// It must never talk to a device or to the broker, to the market only by
// Answers and away from the Engine's goroutine, and a stop
// must never wait for it: StopNow and Hold act on the Board at once, whatever
// the disk or the Engine do.
package dispatch
