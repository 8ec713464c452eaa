package drivertest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"flexd/drivers/modbus"
)

// Fault is what happens to a write.
type Fault int

// A lost reply: the write is applied and nobody hears of it. A lost write: it
// is not applied, and the writer cannot know. Unsent: the line was down.
// Refused: the device answers "illegal value".
const (
	NoFault Fault = iota
	LostReply
	LostWrite
	Unsent
	Refused
)

// Model is one model of a bank's image: its id and the registers after the
// length.
type Model struct {
	ID    uint16
	Words []uint16
}

// Bank is a strict device in memory: registers outside its map and writes that
// touch a read-only register are refused with exception 2, as on real ones.
// Its methods may be called from several goroutines.
type Bank struct {
	mu     sync.Mutex
	words  map[uint16]uint16
	rw     map[uint16]bool
	at     map[uint16]uint16 // first instance of a model to its address
	faults map[int]Fault     // by the number of the write to come, from 1
	writes []modbus.Request
	reads  int
	hook   func(b *Bank, addr uint16, values []uint16) []uint16
}

// writable are the registers that the models allow to write, as [from, to]
// offsets from the ID register.
func writable(id uint16) [][2]int {
	switch id {
	case 121:
		return [][2]int{{2, 21}}
	case 123:
		return [][2]int{{2, 22}}
	case 124:
		return [][2]int{{2, 7}, {12, 17}}
	case 702:
		return [][2]int{{26, 44}}
	case 704:
		return [][2]int{{2, 5}, {8, 11}, {14, 19}, {22, 32}, {35, 46}, {49, 52}, {59, 66}}
	case 802:
		return [][2]int{{9, 10}, {19, 20}, {50, 51}}
	}
	return nil
}

// NewBank lays out the models behind the marker at base and ends the chain.
func NewBank(base uint16, models ...Model) *Bank {
	b := &Bank{words: map[uint16]uint16{}, rw: map[uint16]bool{}, at: map[uint16]uint16{}, faults: map[int]Fault{}}
	b.words[base], b.words[base+1] = 0x5375, 0x6E53
	addr := base + 2
	for _, m := range models {
		if _, seen := b.at[m.ID]; !seen {
			b.at[m.ID] = addr
		}
		b.words[addr], b.words[addr+1] = m.ID, uint16(len(m.Words))
		for i, w := range m.Words {
			b.words[addr+2+uint16(i)] = w
		}
		for _, run := range writable(m.ID) {
			for off := run[0]; off <= run[1] && off < len(m.Words)+2; off++ {
				b.rw[addr+uint16(off)] = true
			}
		}
		addr += 2 + uint16(len(m.Words))
	}
	b.words[addr], b.words[addr+1] = 0xFFFF, 0
	return b
}

// Do answers a request as a device would.
func (b *Bank) Do(ctx context.Context, r modbus.Request) (modbus.Response, error) {
	if err := ctx.Err(); err != nil {
		return modbus.Response{}, fmt.Errorf("%w: %w", modbus.ErrNotSent, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	res := modbus.Response{Sent: now, Done: now}
	switch r.Func {
	case modbus.ReadHolding:
		b.reads++
		if r.Count < 1 || r.Count > 125 {
			return modbus.Response{}, fmt.Errorf("%w: %d registers", modbus.ErrInvalid, r.Count)
		}
		for i := range r.Count {
			w, ok := b.words[r.Addr+i]
			if !ok {
				return modbus.Response{}, &modbus.Exception{Func: r.Func, Code: modbus.IllegalAddress}
			}
			res.Words = append(res.Words, w)
		}
		return res, nil
	case modbus.WriteMultiple, modbus.WriteSingle:
		return b.write(r, res)
	}
	return modbus.Response{}, &modbus.Exception{Func: r.Func, Code: modbus.IllegalFunction}
}

func (b *Bank) write(r modbus.Request, res modbus.Response) (modbus.Response, error) {
	r.Values = append([]uint16(nil), r.Values...)
	b.writes = append(b.writes, r)
	n := len(b.writes)
	fault := b.faults[n]
	delete(b.faults, n)
	switch fault {
	case Unsent:
		return modbus.Response{}, modbus.ErrNotSent
	case LostWrite:
		return modbus.Response{}, modbus.ErrUncertain
	case Refused:
		return res, &modbus.Exception{Func: r.Func, Code: modbus.IllegalValue}
	case NoFault, LostReply:
	}
	for i := range r.Values {
		if !b.rw[r.Addr+uint16(i)] {
			return res, &modbus.Exception{Func: r.Func, Code: modbus.IllegalAddress}
		}
	}
	values := r.Values
	if b.hook != nil {
		values = b.hook(b, r.Addr, append([]uint16(nil), values...))
	}
	for i, v := range values {
		b.words[r.Addr+uint16(i)] = v
	}
	if fault == LostReply {
		return modbus.Response{}, modbus.ErrUncertain
	}
	return res, nil
}

// Fault lets something happen to the nth write from now, counted from 1.
func (b *Bank) Fault(n int, f Fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults[len(b.writes)+n] = f
}

// Hook changes what a write leaves in the registers, as devices do that clamp.
func (b *Bank) Hook(f func(b *Bank, addr uint16, values []uint16) []uint16) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hook = f
}

// Writes are the write requests that came, applied or not.
func (b *Bank) Writes() []modbus.Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]modbus.Request(nil), b.writes...)
}

// Reads counts the read requests that came.
func (b *Bank) Reads() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reads
}

// Addr is the address of a point of the first instance of a model.
func (b *Bank) Addr(model uint16, off int) uint16 { return b.at[model] + uint16(off) }

// Has tells whether the bank has the model.
func (b *Bank) Has(model uint16) bool { _, ok := b.at[model]; return ok }

// Get reads a register behind everybody's back.
func (b *Bank) Get(model uint16, off int) uint16 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.words[b.at[model]+uint16(off)]
}

// Set writes registers behind everybody's back.
func (b *Bank) Set(model uint16, off int, words ...uint16) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, w := range words {
		b.words[b.at[model]+uint16(off+i)] = w
	}
}

// Image is the whole map, to be put into a device elsewhere: its first address
// and its registers.
func (b *Bank) Image() (base uint16, words []uint16) {
	b.mu.Lock()
	defer b.mu.Unlock()
	addrs := slices.Sorted(maps.Keys(b.words))
	for _, a := range addrs {
		words = append(words, b.words[a])
	}
	return addrs[0], words
}

// Control copies all writable registers, to compare before and after, but for
// the heartbeat in 802: it counts, it sets nothing.
func (b *Bank) Control() map[uint16]uint16 {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := map[uint16]uint16{}
	for a := range b.rw {
		out[a] = b.words[a]
	}
	if at, ok := b.at[802]; ok {
		delete(out, at+19)
	}
	return out
}
