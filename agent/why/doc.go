// Package why remembers for a day what every device was asked to do, and by
// whom: the planner's answers as they change.
//
// In: every plan, as control makes it. Out: the answer in force at any second
// that is kept. It keeps changes only, in memory and, batched, in a file that
// is expendable: losing it costs history and nothing else.
package why
