package modbustest

import "slices"

// Fault is one way to mistreat one request. The request is executed unless
// the fault says otherwise.
type Fault int

// Faults. Delays come from Server.Delay.
const (
	None          Fault = iota
	Late                // answer after Delay; later requests wait behind it
	Split               // half the answer, a pause of Delay, the rest
	Drip                // the answer byte by byte
	Reset               // TCP reset instead of an answer
	CloseAfter          // answer, then close
	CloseBefore         // close instead of an answer
	Garbage             // text instead of an answer
	ZeroLength          // header with length 0 and trailing bytes
	HugeLength          // header with length 0xFFFF
	WrongProto          // protocol id 1
	Duplicate           // the answer twice
	WrongTxid           // another transaction id
	WrongUnit           // another unit id
	ShortCount          // one register less than asked
	LongCount           // one register more than asked
	ZeroCount           // byte count 0 and no data
	LyingCount          // byte count right, data one register short
	WrongFunc           // function 4 for 3 and the reverse, 16 for 6 and the reverse
	BareException       // exception without a code
	EarlyAnswer         // the answer, and glued to it one for the next request
	Swallow             // no answer to this request
	HalfOpen            // no answer on this connection any more, nothing executed
	Busy                // exception 6, not executed
	Acknowledge         // exception 5, not executed
	Illegal             // exception 2, not executed
	GatewaySilent       // exception 11, executed
	Clamp               // a single write is executed and echoed as half its value
	Refuse              // exception 3, not executed
	ResetBefore         // TCP reset, not executed
	faults
)

var names = [faults]string{
	"none", "late", "split", "drip", "reset", "close after", "close before", "garbage",
	"zero length", "huge length", "wrong protocol id", "duplicate", "wrong txid", "wrong unit",
	"short count", "long count", "zero count", "lying count", "wrong function",
	"bare exception", "early answer", "swallow", "half open", "busy", "acknowledge",
	"illegal", "gateway silent", "clamp", "refuse", "reset before",
}

// String names the fault in test output.
func (f Fault) String() string {
	if f < 0 || f >= faults {
		return "unknown"
	}
	return names[f]
}

// All lists every fault but None.
func All() []Fault {
	all := make([]Fault, 0, faults)
	for f := None + 1; f < faults; f++ {
		all = append(all, f)
	}
	return all
}

// OfTheLine lists the faults that say nothing about the request: after them it
// has to come through. Refusals are the device's own word.
func OfTheLine() []Fault {
	return slices.DeleteFunc(All(), func(f Fault) bool { return f == Illegal || f == Refuse || f == Clamp })
}
