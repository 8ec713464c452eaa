package agent_test

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// tap stands between flexd and its devices and writes down what passes as a
// capture file, each read as one TCP segment: the wire can be judged by tshark
// where nobody may listen on loopback.
type tap struct {
	capture
	mu   sync.Mutex
	out  *os.File
	wg   sync.WaitGroup
	ends []io.Closer
}

func newTap(t *testing.T) *tap {
	t.Helper()
	needTshark(t)
	p := &tap{capture: capture{t: t, file: filepath.Join(t.TempDir(), "tap.pcap")}}
	out, err := os.Create(p.file)
	must(t, err)
	p.out = out
	// https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html, link type 101: bare IP.
	head := binary.BigEndian.AppendUint32(nil, 0xa1b2c3d4)
	head = append(head, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0)
	head = binary.BigEndian.AppendUint32(head, 65535)
	_, err = out.Write(binary.BigEndian.AppendUint32(head, 101))
	must(t, err)
	t.Cleanup(p.end)
	return p
}

// front is the address by which flexd reaches a device through the tap.
func (p *tap) front(device string) string {
	p.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(p.t, err)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	p.ports = append(p.ports, port)
	p.keep(l)
	p.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.keep(c)
			p.wg.Go(func() { p.pass(c, device) })
		}
	})
	return l.Addr().String()
}

// keep remembers what is to be closed at the end; after it, at once.
func (p *tap) keep(c io.Closer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out == nil {
		_ = c.Close()
		return
	}
	p.ends = append(p.ends, c)
}

// end closes everything, and the file.
func (p *tap) end() {
	p.mu.Lock()
	ends, out := p.ends, p.out
	p.ends, p.out = nil, nil
	p.mu.Unlock()
	for _, c := range ends {
		_ = c.Close()
	}
	p.wg.Wait()
	if out != nil {
		_ = out.Close()
	}
}

// TCP flags.
const (
	tcpFin = 0x01
	tcpSyn = 0x02
	tcpAck = 0x10
)

// talk is one connection in the capture.
type talk struct {
	ports [2]uint16 // of flexd, of the tap
	next  [2]uint32 // sequence numbers
}

// pass joins one connection to its device.
func (p *tap) pass(c net.Conn, device string) {
	defer c.Close()
	k := &talk{}
	for i, a := range []net.Addr{c.RemoteAddr(), c.LocalAddr()} {
		k.ports[i] = uint16(a.(*net.TCPAddr).Port)
	}
	p.note(k, 0, tcpSyn, nil)
	d, err := net.Dial("tcp", device)
	if err != nil {
		return
	}
	defer d.Close()
	p.note(k, 1, tcpSyn|tcpAck, nil)
	p.note(k, 0, tcpAck, nil)
	var back sync.WaitGroup
	back.Go(func() { p.copy(k, 1, d, c) })
	p.copy(k, 0, c, d)
	back.Wait()
}

// copy passes on one direction until it ends.
func (p *tap) copy(k *talk, side int, from, to net.Conn) {
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			p.note(k, side, tcpAck, buf[:n])
			if _, err := to.Write(buf[:n]); err != nil {
				break
			}
		}
		if err != nil {
			p.note(k, side, tcpFin|tcpAck, nil)
			break
		}
	}
	_ = to.Close()
	_ = from.Close()
}

// note writes one segment; checksums are left out.
func (p *tap) note(k *talk, side int, flags byte, body []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out == nil {
		return
	}
	now, size := time.Now(), 40+len(body)
	b := binary.BigEndian.AppendUint32(nil, uint32(now.Unix()))
	b = binary.BigEndian.AppendUint32(b, uint32(now.Nanosecond()/1000))
	b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, uint32(size)), uint32(size))
	b = append(b, 0x45, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(size))
	b = append(b, 0, 0, 0x40, 0, 64, 6, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1)
	b = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, k.ports[side]), k.ports[1-side])
	b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, k.next[side]), k.next[1-side])
	b = append(b, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0)
	_, _ = p.out.Write(append(b, body...))
	k.next[side] += uint32(len(body))
	if flags&(tcpSyn|tcpFin) != 0 {
		k.next[side]++
	}
}
