package clock

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"
)

// Bounds of one question.
const (
	findLimit  = 5 * time.Second // to resolve the name
	askLimit   = 2 * time.Second // an answer that took longer may be a second off
	maxAnswers = 16              // packets looked at, forged ones among them
)

// said is one server's answer: the true time at which this machine was
// booted, so that it stays true when the wall clock is stepped meanwhile.
type said struct {
	name    string
	zero    time.Time
	delay   time.Duration // there and back
	stratum int
}

// ask asks one server once. read takes the wall clock and the time since boot.
func ask(ctx context.Context, name, addr string, read func() (at time.Time, since time.Duration)) (said, error) {
	find, found := context.WithTimeout(ctx, findLimit)
	defer found()
	conn, err := (&net.Dialer{}).DialContext(find, "udp", addr)
	if err != nil {
		return said{}, fmt.Errorf("cannot reach it: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	var nonce [8]byte
	_, _ = rand.Read(nonce[:]) // it never fails (crypto/rand)
	key := binary.BigEndian.Uint64(nonce[:])
	if err := conn.SetDeadline(time.Now().Add(askLimit)); err != nil {
		return said{}, fmt.Errorf("cannot bound the question: %w", err)
	}
	at, since := read()
	began := time.Now()
	if _, err := conn.Write(question(key)); err != nil {
		return said{}, fmt.Errorf("cannot ask: %w", err)
	}
	buf := make([]byte, maxPacket)
	for range maxAnswers {
		n, err := conn.Read(buf)
		took := time.Since(began)
		if err != nil {
			return said{}, fmt.Errorf("no answer: %w", err)
		}
		r, err := parseReply(buf[:n], key)
		if errors.Is(err, errForeign) {
			continue
		}
		if err != nil {
			return said{}, err
		}
		// RFC 5905 section 8, with T4 = T1 + took: a step of the wall clock
		// between the two is none of the answer's business.
		offset := (r.received.Sub(at) + r.answers.Sub(at.Add(took))) / 2
		return said{name: name, zero: at.Round(0).Add(offset - since), delay: took - r.answers.Sub(r.received), stratum: r.stratum}, nil
	}
	return said{}, fmt.Errorf("%d packets came, and none answers our question", maxAnswers)
}
