package modbus_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"flexd/drivers/modbus"
	"flexd/drivers/modbus/modbustest"
)

// Each test here is a rule of the transport, by its name; the single faults
// are on the ladder.

// begun is a server and an endpoint that has talked to it.
func begun(t *testing.T, q modbus.Quirks) (*modbustest.Server, *modbus.Endpoint) {
	t.Helper()
	s := modbustest.New(t)
	s.Delay = 300 * time.Millisecond
	seed(s)
	e := start(t, s.Addr(), q)
	if err := checkRead(t, e, 0, 2); err != nil {
		t.Fatal(err)
	}
	return s, e
}

func TestRuleATimeoutAtAFrameBoundaryKeepsTheSocketAndSkipsTheLateAnswer(t *testing.T) {
	s, e := begun(t, fast())
	s.Next(modbustest.Late)
	if _, err := e.Do(t.Context(), read(1, 1)); !errors.Is(err, modbus.ErrTimeout) {
		t.Fatalf("got %v, want a timeout", err)
	}
	if err := checkRead(t, e, 2, 2); err != nil {
		t.Errorf("the next: %v", err)
	}
	if st := e.Stats(); st.Connects != 1 || st.Late != 1 || st.Timeouts != 1 {
		t.Errorf("%d connections, %d late, %d timeouts, want one of each", st.Connects, st.Late, st.Timeouts)
	}
}

func TestRuleTimeoutsInARowDropTheSocket(t *testing.T) {
	s, e := begun(t, fast())
	s.Next(modbustest.Swallow, modbustest.Swallow)
	for range 2 {
		if _, err := e.Do(t.Context(), read(1, 1)); !errors.Is(err, modbus.ErrTimeout) {
			t.Fatalf("got %v, want a timeout", err)
		}
	}
	if err := checkRead(t, e, 2, 2); err != nil {
		t.Errorf("the next: %v", err)
	}
	if n := s.Accepted(); n != 2 {
		t.Errorf("%d connections, want a second one after two timeouts", n)
	}
}

func TestRuleTheHeaderIsJudgedBeforeTheBodyIsWaitedFor(t *testing.T) {
	for _, f := range []modbustest.Fault{modbustest.HugeLength, modbustest.ZeroLength, modbustest.WrongProto, modbustest.Garbage} {
		t.Run(f.String(), func(t *testing.T) {
			s, e := begun(t, slow())
			s.Next(f)
			began := time.Now()
			if _, err := e.Do(t.Context(), read(1, 1)); !errors.Is(err, modbus.ErrProtocol) {
				t.Errorf("got %v, want a protocol error", err)
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("took %s of a timeout of 10 s", took)
			}
		})
	}
}

func TestRuleTheTimeoutCoversAWholeAnswerHoweverItDrips(t *testing.T) {
	q := fast()
	q.Timeout = 60 * time.Millisecond
	s, e := begun(t, q)
	s.Next(modbustest.Drip) // 2 ms for each of 211 bytes
	began := time.Now()
	if _, err := e.Do(t.Context(), read(0, 101)); !errors.Is(err, modbus.ErrTimeout) || !errors.Is(err, modbus.ErrLost) {
		t.Errorf("got %v, want a timeout inside a frame, which loses the connection", err)
	}
	if took := time.Since(began); took > 300*time.Millisecond {
		t.Errorf("took %s, want the timeout of 60 ms", took)
	}
}

func TestRuleBytesNobodyAskedForDropTheSocketBeforeTheNextRequest(t *testing.T) {
	for _, c := range []struct {
		name  string
		bytes []byte
	}{
		{"text", []byte("hello")},
		{"half a header", []byte{0, 1, 0}},
		{"an answer to a request never made", []byte{0x12, 0x34, 0, 0, 0, 5, 1, 3, 2, 0xBA, 0xD0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, e := begun(t, fast())
			s.Push(c.bytes)
			eventually(t, "the bytes were seen and the socket was changed", func() bool {
				if err := checkRead(t, e, 4, 2); err != nil {
					t.Errorf("read: %v", err)
				}
				return s.Accepted() == 2
			})
		})
	}
}

func TestRuleTransactionsStartAtRandom(t *testing.T) {
	var firsts []uint16
	for range 4 {
		s, _ := begun(t, fast())
		firsts = append(firsts, s.Seen()[0].Txid)
	}
	slices.Sort(firsts)
	if len(slices.Compact(firsts)) == 1 {
		t.Errorf("all four endpoints started from transaction %d", firsts[0])
	}
}

func TestRuleCancellingClosesTheSocketFromOutsideTheRequest(t *testing.T) {
	s, e := begun(t, slow())
	s.Next(modbustest.HalfOpen)
	ctx, cancel := context.WithCancel(t.Context())
	out := pending(ctx, e, read(1, 1))
	eventually(t, "it is on the wire", func() bool { return len(s.Seen()) == 2 })
	began := time.Now()
	cancel()
	if err := <-out; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(began); took > 500*time.Millisecond {
		t.Errorf("the cancel took %s of a timeout of 10 s", took)
	}
}

func TestRuleAnswersDoNotShareABuffer(t *testing.T) {
	_, e := begun(t, fast())
	first, err := e.Do(t.Context(), read(10, 3))
	if err != nil {
		t.Fatal(err)
	}
	kept := slices.Clone(first.Words)
	if err := checkRead(t, e, 20, 3); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(first.Words, kept) {
		t.Errorf("the first answer became %x, was %x", first.Words, kept)
	}
}

// Whatever happens to a write, the device sees it once, except where the
// device itself said that it was busy and did not do it.
func TestRuleAWriteIsNeverSentAgainSilently(t *testing.T) {
	for _, f := range modbustest.All() {
		t.Run(f.String(), func(t *testing.T) {
			t.Parallel()
			s, e := begun(t, fast())
			s.Next(f)
			_, err := e.Do(t.Context(), write(30, 5))
			want := 1
			if f == modbustest.Busy || f == modbustest.Acknowledge {
				want = 2
			}
			sent := 0
			for _, q := range s.Seen() {
				if q.Func == modbus.WriteMultiple {
					sent++
				}
			}
			if sent != want {
				t.Errorf("sent %d times, want %d", sent, want)
			}
			if err == nil && s.Get(30, 1)[0] != 5 {
				t.Error("told as applied and not in the device")
			}
		})
	}
}

// Two setpoints after a late read: with the library alone both were applied
// and both reported as failed.
func TestRuleALateReadDoesNotSpoilTheWritesBehindIt(t *testing.T) {
	s, e := begun(t, fast())
	s.Next(modbustest.Late)
	if _, err := e.Do(t.Context(), read(1, 1)); !errors.Is(err, modbus.ErrTimeout) {
		t.Fatalf("got %v, want a timeout", err)
	}
	for v := range uint16(2) {
		if _, err := e.Do(t.Context(), write(30, 100+v)); err != nil {
			t.Errorf("setpoint %d: %v", v+1, err)
		}
	}
	if got := s.Get(30, 1)[0]; got != 101 {
		t.Errorf("the device holds %d, want the second setpoint", got)
	}
}

func TestRuleAnOutageOfASecondCostsNoRequestAfterIt(t *testing.T) {
	s, e := begun(t, fast())
	s.Stop()
	out := time.Now().Add(300 * time.Millisecond)
	for time.Now().Before(out) {
		if err := checkUp(t, e); err == nil {
			t.Fatal("a read of a server that is down succeeded")
		}
	}
	s.Start(t)
	before := s.Accepted()
	failed := 0
	for range 10 {
		if err := checkUp(t, e); err != nil {
			failed++
		}
	}
	if failed > 0 || s.Accepted() != before+1 {
		t.Errorf("%d of 10 reads failed with the server back, on %d connections", failed, s.Accepted()-before)
	}
}

// A device that serves one connection is given up before it is dialled again,
// whatever befell the connection before.
func TestQuirkADeviceOfOneConnectionIsNeverAskedForTwo(t *testing.T) {
	for _, f := range modbustest.All() {
		t.Run(f.String(), func(t *testing.T) {
			t.Parallel()
			s := modbustest.New(t)
			s.Delay, s.MaxConns = 300*time.Millisecond, 1
			seed(s)
			e := start(t, s.Addr(), fast())
			if err := checkRead(t, e, 0, 1); err != nil {
				t.Fatal(err)
			}
			s.Next(f)
			e.Do(t.Context(), write(30, 5))
			eventually(t, "the next setpoint is in the device", func() bool {
				_, err := e.Do(t.Context(), write(30, 6))
				return err == nil
			})
			if got := s.Get(30, 1)[0]; got != 6 {
				t.Errorf("the device holds %d, want 6", got)
			}
			if s.Open() != 1 {
				t.Errorf("%d connections open, want one", s.Open())
			}
		})
	}
}

// An endpoint that hangs is no business of another one.
func TestADeadEndpointStallsNoOther(t *testing.T) {
	dead, err := net.Listen("tcp", "127.0.0.1:0") // accepts in the backlog, never answers
	if err != nil {
		t.Fatal(err)
	}
	defer dead.Close()
	silent := start(t, dead.Addr().String(), slow())
	_, healthy := begun(t, fast())
	ctx, cancel := context.WithCancel(t.Context())
	hanging := pending(ctx, silent, read(0, 1))
	for range 50 {
		began := time.Now()
		if err := checkRead(t, healthy, 0, 2); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 150*time.Millisecond {
			t.Errorf("a read took %s beside a dead endpoint", took)
		}
	}
	cancel()
	if err := <-hanging; err == nil {
		t.Error("the dead one answered")
	}
}

func TestQuirkRegistersInOneRequestAreBounded(t *testing.T) {
	q := fast()
	q.MaxRead, q.MaxWrite = 10, 4
	s, e := begun(t, q)
	for _, c := range []struct {
		name string
		r    modbus.Request
		ok   bool
	}{
		{"as many as may be read", read(0, 10), true},
		{"one more", read(0, 11), false},
		{"as many as may be written", write(60, 1, 2, 3, 4), true},
		{"one more written", write(60, 1, 2, 3, 4, 5), false},
	} {
		before := len(s.Seen())
		_, err := e.Do(t.Context(), c.r)
		if c.ok != (err == nil) || !c.ok && (!errors.Is(err, modbus.ErrInvalid) || len(s.Seen()) != before) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
