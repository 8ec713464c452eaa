package sim

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

func TestWritesAreStrict(t *testing.T) {
	p := NewPlant(Config{})
	b := must(p.AddBattery(Battery{Rated: 5000, Capacity: 10_000, SoC: 0.5, Options: Options{PctSF: -2}}))(t)
	d := must(p.AddBattery(Battery{Rated: 5000, Capacity: 10_000, SoC: 0.5, DER: true}))(t)
	start(t, p)
	at := func(dev *Device, model int, name string) uint16 {
		addr, _, ok := dev.Point(model, name)
		if !ok {
			t.Fatalf("no %d.%s", model, name)
		}
		return addr
	}
	for _, row := range []struct {
		name  string
		dev   *Device
		addr  uint16
		words []uint16
		want  byte
	}{
		{"a run of writable points", b, at(b, 123, "WMaxLimPct"), []uint16{5000, 0, 60, 0, 1}, 0},
		{"a read-only point", b, at(b, 103, "W"), []uint16{1}, 2},
		{"a run that ends in a scale factor", b, at(b, 124, "ChaGriSet"), []uint16{0, 1}, 2},
		{"a run with a read-only point inside", b, at(b, 124, "MinRsvPct"), []uint16{50, 1, 1}, 2},
		{"the header of a model", b, at(b, 124, "WChaMax") - 2, []uint16{7}, 2},
		{"before the map", b, 39999, []uint16{1}, 2},
		{"behind the map", b, 40282, []uint16{1}, 2},
		{"over the end of the map", b, 40281, []uint16{1, 1}, 2},
		{"more than 100 per cent", b, at(b, 124, "OutWRte"), []uint16{10001}, 3},
		{"a mode that does not exist", b, at(b, 124, "StorCtl_Mod"), []uint16{4}, 3},
		{"a not-implemented pattern", b, at(b, 124, "OutWRte"), []uint16{0x8000}, 3},
		{"half of a 32-bit point", d, at(d, 704, "WSet"), []uint16{0}, 2},
		{"the second half of a 32-bit point", d, at(d, 704, "WSet") + 1, []uint16{0}, 2},
		{"a whole 32-bit point", d, at(d, 704, "WSet"), []uint16{0xFFFF, 0xFC18}, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			addr, before := row.dev.Registers()
			c := dial(t, row.dev.Addr(), 1)
			if got := c.write(row.addr, row.words...); got != row.want {
				t.Fatalf("exception %d, want %d", got, row.want)
			}
			if row.want != 0 {
				if _, after := row.dev.Registers(); len(after) != len(before) {
					t.Fatal("the map changed its size")
				} else if i := int(row.addr) - int(addr); i >= 0 && i < len(before) && before[i] != after[i] {
					t.Error("a refused write changed a register")
				}
			} else if got := c.read(row.addr, uint16(len(row.words))); got[0] != row.words[0] {
				t.Errorf("reads back %v, want %v", got, row.words)
			}
			w := row.dev.Writes()
			if last := w[len(w)-1]; last.Addr != row.addr || last.Exception != row.want || last.Func != 16 {
				t.Errorf("logged as %+v", last)
			}
		})
	}
}

func TestProtocolAnswersAsTheStandardSays(t *testing.T) {
	p := NewPlant(Config{})
	s := must(p.AddServer(ServerConfig{}))(t)
	pv := must(p.AddPV(PV{Rated: 6000, Options: Options{Server: s, Unit: 3}}))(t)
	must(p.AddMeter(Meter{Options: Options{Server: s, Unit: 200}}))(t)
	start(t, p)
	ena, _, _ := pv.Point(123, "WMaxLim_Ena")
	many := make([]byte, 2+4)
	for _, row := range []struct {
		name string
		unit byte
		pdu  []byte
		want []byte
	}{
		{"holding registers", 3, append([]byte{3}, be(40000, 2)...), []byte{3, 4, 'S', 'u', 'n', 'S'}},
		{"input registers", 200, append([]byte{4}, be(40000, 2)...), []byte{4, 4, 'S', 'u', 'n', 'S'}},
		{"a unit that is not there", 1, append([]byte{3}, be(40000, 2)...), []byte{0x83, 11}},
		{"an unknown function", 3, []byte{0x2B, 14, 1, 0}, []byte{0xAB, 1}},
		{"no registers", 3, append([]byte{3}, be(40000, 0)...), []byte{0x83, 3}},
		{"too many registers", 3, append([]byte{3}, be(40000, 126)...), []byte{0x83, 3}},
		{"an address past the end", 3, append([]byte{3}, be(65535, 2)...), []byte{0x83, 2}},
		{"registers outside the map", 3, append([]byte{3}, be(100, 2)...), []byte{0x83, 2}},
		{"one register", 3, append([]byte{6}, be(ena, 1)...), append([]byte{6}, be(ena, 1)...)},
		{"a count that lies", 3, append([]byte{16}, many...), []byte{0x90, 3}},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := dial(t, pv.Addr(), row.unit).do(row.pdu...)
			if err != nil || string(got) != string(row.want) {
				t.Errorf("answered % x (%v), want % x", got, err, row.want)
			}
		})
	}
	t.Run("another protocol ends the connection", func(t *testing.T) {
		c := dial(t, pv.Addr(), 3)
		if _, err := c.c.Write([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.c.Read(make([]byte, 1)); err == nil {
			t.Error("it was answered")
		}
	})
}

func TestFaults(t *testing.T) {
	timeout := func(err error) bool { var n net.Error; return errors.As(err, &n) && n.Timeout() }
	gone := func(err error) bool { return err != nil && !timeout(err) }
	fine := func(err error) bool { return err == nil }
	for _, row := range []struct {
		name     string
		fault    Fault
		err      func(error) bool
		executed bool
		stays    bool // the same connection still works afterwards
	}{
		{"late: executed, answered in time", Fault{Ill: Late, Delay: 20 * time.Millisecond}, fine, true, true},
		{"deaf: not executed, never answered", Fault{Ill: Deaf}, timeout, false, true},
		{"mute: executed, never answered", Fault{Ill: Mute}, timeout, true, true},
		{"reset before", Fault{Ill: Reset}, gone, false, false},
		{"reset after", Fault{Ill: ResetAfter}, gone, true, false},
		{"close after the answer", Fault{Ill: CloseAfter}, fine, true, false},
		{"half an answer", Fault{Ill: Half}, gone, true, false},
		{"another's transaction", Fault{Ill: WrongTransaction}, gone, true, true},
		{"busy", Fault{Ill: Refuse}, fine, false, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := NewPlant(Config{})
			pv := must(p.AddPV(PV{Rated: 6000}))(t)
			start(t, p)
			addr, _, _ := pv.Point(123, "WMaxLimPct")
			c := dial(t, pv.Addr(), 1)
			c.read(40000, 2)
			row.fault.Only, row.fault.Times = Writes, 1
			pv.Server().SetFault(row.fault)
			c.read(40000, 2) // only writes are struck
			c.tid++
			got, err := c.ask(150*time.Millisecond, append([]byte{6}, be(addr, 42)...))
			if !row.err(err) {
				t.Fatalf("answered % x, %v", got, err)
			}
			if row.fault.Ill == Refuse && string(got) != "\x86\x06" {
				t.Errorf("answered % x", got)
			}
			v, _ := pv.Value(123, "WMaxLimPct")
			if row.executed != (v == 42) {
				t.Errorf("WMaxLimPct is %g", v)
			}
			c.tid++
			if _, err = c.ask(2*time.Second, append([]byte{3}, be(40000, 2)...)); row.stays != (err == nil) {
				t.Errorf("afterwards: %v", err)
			}
			if !row.stays {
				eventually(t, "the connection is forgotten", func() bool { return pv.Server().Connections() == 0 })
			}
		})
	}
}

func TestOneConnectionRefusesTheSecond(t *testing.T) {
	p := NewPlant(Config{})
	s := must(p.AddServer(ServerConfig{OneConnection: true}))(t)
	must(p.AddPV(PV{Rated: 6000, Options: Options{Server: s}}))(t)
	start(t, p)
	first := dial(t, s.Addr(), 1)
	first.read(40000, 2)
	second := dial(t, s.Addr(), 1)
	if _, err := second.do(append([]byte{3}, be(40000, 2)...)...); err == nil {
		t.Error("the second connection was served")
	}
	first.read(40000, 2)
	first.c.Close()
	eventually(t, "the first is forgotten", func() bool { return s.Connections() == 0 })
	dial(t, s.Addr(), 1).read(40000, 2)
}

func TestServerComesBackAtTheSameAddress(t *testing.T) {
	p := NewPlant(Config{})
	pv := must(p.AddPV(PV{Rated: 6000}))(t)
	start(t, p)
	addr := pv.Addr()
	c := dial(t, addr, 1)
	c.read(40000, 2)
	pv.Server().Down()
	if _, err := c.do(append([]byte{3}, be(40000, 2)...)...); err == nil {
		t.Error("answered while down")
	}
	if extra, err := net.Dial("tcp", addr); err == nil {
		if _, err := extra.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Error("accepted while down")
		}
		extra.Close()
	}
	if err := pv.Server().Up(); err != nil {
		t.Fatal(err)
	}
	if pv.Addr() != addr {
		t.Errorf("moved from %s to %s", addr, pv.Addr())
	}
	dial(t, addr, 1).read(40000, 2)
}

func TestAwaitWriteSeesThePastAndTheFuture(t *testing.T) {
	p := NewPlant(Config{})
	pv := must(p.AddPV(PV{Rated: 6000}))(t)
	start(t, p)
	addr, _, _ := pv.Point(123, "WMaxLimPct")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c := dial(t, pv.Addr(), 1)
	c.write(addr, 10)
	written := make(chan error, 1)
	go func() {
		_, err := c.do(append([]byte{6}, be(addr, 20)...)...)
		_, err2 := c.do(append([]byte{6}, be(addr, 30)...)...)
		written <- errors.Join(err, err2)
	}()
	for _, want := range []uint16{10, 30} {
		w, err := pv.AwaitWrite(ctx, 0, func(w Write) bool { return w.Words[0] == want })
		if err != nil || w.Words[0] != want || w.At.IsZero() {
			t.Errorf("waited for %d: %+v, %v", want, w, err)
		}
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
	cancel()
	if _, err := pv.AwaitWrite(ctx, 0, func(Write) bool { return false }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// FuzzRequest feeds arbitrary bytes as header and PDU to a device: it must
// answer something well formed, and never change what may not be written.
func FuzzRequest(f *testing.F) {
	f.Add([]byte{0, 1, 0, 0, 0, 6, 1, 3, 0x9C, 0x40, 0, 4})
	f.Add([]byte{0, 2, 0, 0, 0, 6, 1, 6, 0x9D, 0x2D, 0, 1})
	f.Add([]byte{0, 3, 0, 0, 0, 9, 1, 16, 0x9D, 0x43, 0, 1, 2, 0, 3})
	f.Add([]byte{0, 4, 0, 0, 0, 11, 1, 16, 0x9D, 0x4A, 0, 2, 4, 0xFF, 0xFF, 0, 1})
	f.Add([]byte{0, 5, 0, 0, 0, 2, 1, 0x83})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < headerSize {
			return
		}
		_, unit, size, err := header(b[:headerSize])
		if err != nil || size > len(b)-headerSize {
			return
		}
		p := NewPlant(Config{})
		bat, im, err := newBattery(Battery{Rated: 5000, Capacity: 10_000})
		if err != nil {
			t.Fatal(err)
		}
		d := &Device{plant: p, im: im, physics: bat, timers: map[string]time.Time{}, changed: make(chan struct{})}
		_, before := d.Registers()
		r, exception := parsePDU(unit, b[headerSize:headerSize+size])
		var out []byte
		if exception != 0 {
			out = answer(r, nil, exception)
		} else {
			out = d.serve(r, p.now())
		}
		if len(out) < 2 || len(out) > maxPDU || len(frame(1, unit, out)) != headerSize+len(out) {
			t.Fatalf("answer of %d bytes", len(out))
		}
		_, after := d.Registers()
		for i := range after {
			if after[i] != before[i] && !im.cells[i].writable {
				t.Fatalf("register %d changed", i)
			}
		}
	})
}
