package sim

import "time"

// Ill is a way in which a device misbehaves.
type Ill int

// The ills. Well is the absence of one.
const (
	Well Ill = iota
	// Late executes at once and answers after Delay.
	Late
	// Deaf neither executes nor answers; the connection stays.
	Deaf
	// Mute executes and never answers.
	Mute
	// Reset executes nothing and resets the connection.
	Reset
	// ResetAfter executes and resets the connection instead of answering.
	ResetAfter
	// CloseAfter answers and closes the connection.
	CloseAfter
	// Refuse answers with the exception Code and executes nothing.
	Refuse
	// Half executes, sends half of the answer and closes.
	Half
	// WrongTransaction executes and answers under another transaction id.
	WrongTransaction
	// Short executes and answers a read with one register too few.
	Short
)

// Only restricts a fault to some requests.
type Only int

// The requests a fault may be restricted to.
const (
	All Only = iota
	Reads
	Writes
)

// Fault is what is wrong with a server, and for how long.
type Fault struct {
	Ill   Ill
	Delay time.Duration // Late
	Code  byte          // Refuse; 0 means 6, busy
	Only  Only
	Unit  byte // 0: every unit
	// Times is how many requests it strikes; 0: until it is replaced.
	Times int
}

// strikes tells whether the fault concerns the request.
func (f Fault) strikes(unit byte, write bool) bool {
	if f.Ill == Well || f.Unit != 0 && f.Unit != unit {
		return false
	}
	switch f.Only {
	case Reads:
		return !write
	case Writes:
		return write
	case All:
	}
	return true
}
