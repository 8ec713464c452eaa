package modbustest

import (
	"errors"
	"net"
	"slices"
	"syscall"
)

// Keeper is who keeps a write that does not arrive yet.
type Keeper int

const (
	// Sender is the kernel of the sender, on a dead link: it goes on sending
	// when the connection was closed, and discards what it keeps when the
	// connection was reset. Nothing else of the connection passes meanwhile.
	Sender Keeper = iota
	// Gateway is a box on the way with a queue of its own, which knows nothing
	// of connections.
	Gateway
)

// held is a request that has not arrived.
type held struct {
	keeper  Keeper
	conn    int
	request []byte
}

// HoldWrite keeps the nth write from now, counted from 1, on its way until
// Deliver. It is not answered.
func (p *Proxy) HoldWrite(n int, k Keeper) {
	p.add(planned{fault: None, holds: true, keeper: k, writes: true, after: n - 1})
}

// Held is the number of requests that are on their way.
func (p *Proxy) Held() int { p.mu.Lock(); defer p.mu.Unlock(); return len(p.held) }

// Deliver lets what is on its way arrive, in the order in which it was sent.
func (p *Proxy) Deliver() { p.deliver(false) }

// DeliverReversed lets it arrive in the opposite order.
func (p *Proxy) DeliverReversed() { p.deliver(true) }

func (p *Proxy) deliver(reversed bool) {
	p.mu.Lock()
	all := p.held
	p.held = nil
	p.mu.Unlock()
	if reversed {
		slices.Reverse(all)
	}
	up, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer up.Close()
	for _, h := range all {
		if _, err := pass(up, h.request); err != nil {
			return
		}
	}
}

// keep files a request that is not to pass, and reports whether it was one.
func (p *Proxy) keep(conn int, request []byte, x planned) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	behind := slices.ContainsFunc(p.held, func(h held) bool { return h.conn == conn && h.keeper == Sender })
	if !behind && !x.holds {
		return false
	}
	k := x.keeper
	if behind {
		k = Sender
	}
	p.held = append(p.held, held{k, conn, request})
	return true
}

// ended does to what is kept what the end of its connection does to it.
func (p *Proxy) ended(conn int, err error) {
	if !errors.Is(err, syscall.ECONNRESET) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = slices.DeleteFunc(p.held, func(h held) bool { return h.conn == conn && h.keeper == Sender })
}
