package modbus_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"flexd/drivers/modbus"
	"flexd/drivers/modbus/modbustest"
)

// fast is a device on a good network: short timeouts keep the tests short.
func fast() modbus.Quirks {
	return modbus.Quirks{
		Timeout:    200 * time.Millisecond,
		Gap:        -1,
		BackoffMin: 5 * time.Millisecond,
		BackoffMax: 20 * time.Millisecond,
	}
}

// start runs an endpoint until the test ends.
func start(t testing.TB, addr string, q modbus.Quirks) *modbus.Endpoint {
	t.Helper()
	e := modbus.NewEndpoint(addr, q, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returned %v, want nil after its context ended", err)
		}
	})
	return e
}

func read(addr, count uint16) modbus.Request {
	return modbus.Request{Unit: 1, Func: modbus.ReadHolding, Addr: addr, Count: count}
}

func write(addr uint16, values ...uint16) modbus.Request {
	return modbus.Request{Unit: 1, Func: modbus.WriteMultiple, Addr: addr, Values: values, Priority: modbus.Write}
}

func stop(addr uint16, values ...uint16) modbus.Request {
	r := write(addr, values...)
	r.Priority = modbus.Stop
	return r
}

// eventually polls a condition about a real socket.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for limit := time.Now().Add(3 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// seed gives every register a value that tells its address, so that words from
// another request are seen.
func seed(s *modbustest.Server) {
	for a := range uint16(50) {
		s.Set(a, 0x4000+a)
	}
}

func checkRead(t *testing.T, e *modbus.Endpoint, addr, count uint16) error {
	t.Helper()
	resp, err := e.Do(t.Context(), read(addr, count))
	if err != nil {
		return err
	}
	want := make([]uint16, count)
	for i := range want {
		want[i] = 0x4000 + addr + uint16(i)
	}
	if !slices.Equal(resp.Words, want) {
		t.Errorf("registers %d+%d read as %x, want %x", addr, count, resp.Words, want)
	}
	return nil
}

var errException = errors.New("any exception")

// The rows are the fault ladder: one fault, what the request that met it
// reports, and how many requests after it may still fail.
var ladder = []struct {
	fault  modbustest.Fault
	read   error // nil: answered
	write  error
	single error
	after  int // further requests that may fail
}{
	{modbustest.Late, modbus.ErrTimeout, modbus.ErrUncertain, modbus.ErrUncertain, 0},
	{modbustest.Split, modbus.ErrTimeout, modbus.ErrUncertain, modbus.ErrUncertain, 0},
	{modbustest.Drip, nil, nil, nil, 0},
	{modbustest.Reset, modbus.ErrLost, modbus.ErrUncertain, modbus.ErrUncertain, 0},
	{modbustest.CloseAfter, nil, nil, nil, 1}, // the next request may cross the close
	{modbustest.CloseBefore, modbus.ErrLost, modbus.ErrUncertain, modbus.ErrUncertain, 0},
	{modbustest.Garbage, modbus.ErrProtocol, modbus.ErrUncertain, modbus.ErrUncertain, 0},
	{modbustest.ZeroLength, modbus.ErrProtocol, modbus.ErrUncertain, modbus.ErrUncertain, 0},
	{modbustest.HugeLength, modbus.ErrProtocol, modbus.ErrUncertain, modbus.ErrUncertain, 0},
	{modbustest.WrongProto, modbus.ErrProtocol, modbus.ErrUncertain, modbus.ErrUncertain, 0},
	{modbustest.Duplicate, nil, nil, nil, 0},
	{modbustest.WrongTxid, modbus.ErrTimeout, modbus.ErrUncertain, modbus.ErrUncertain, 0},
	{modbustest.WrongUnit, modbus.ErrProtocol, modbus.ErrUncertain, modbus.ErrUncertain, 0},
	{modbustest.ShortCount, modbus.ErrProtocol, modbus.ErrUncertain, modbus.ErrUncertain, 0},
	{modbustest.LongCount, modbus.ErrProtocol, modbus.ErrUncertain, modbus.ErrUncertain, 0},
	{modbustest.ZeroCount, modbus.ErrProtocol, modbus.ErrUncertain, modbus.ErrUncertain, 0},
	{modbustest.LyingCount, modbus.ErrProtocol, modbus.ErrUncertain, modbus.ErrUncertain, 0},
	{modbustest.WrongFunc, modbus.ErrProtocol, modbus.ErrUncertain, modbus.ErrUncertain, 0},
	{modbustest.BareException, modbus.ErrProtocol, modbus.ErrUncertain, modbus.ErrUncertain, 0},
	{modbustest.EarlyAnswer, nil, nil, nil, 0},
	{modbustest.Swallow, modbus.ErrTimeout, modbus.ErrUncertain, modbus.ErrUncertain, 0},
	{modbustest.HalfOpen, modbus.ErrTimeout, modbus.ErrUncertain, modbus.ErrUncertain, 1},
	{modbustest.Busy, nil, nil, nil, 0},
	{modbustest.Acknowledge, nil, nil, nil, 0},
	{modbustest.Illegal, errException, errException, errException, 0},
	{modbustest.GatewaySilent, errException, modbus.ErrUncertain, modbus.ErrUncertain, 0},
	{modbustest.Clamp, nil, nil, modbus.ErrUncertain, 0},
	{modbustest.Refuse, errException, errException, errException, 0},
	{modbustest.ResetBefore, modbus.ErrLost, modbus.ErrUncertain, modbus.ErrUncertain, 0},
}

func TestEveryFaultIsOnTheLadder(t *testing.T) {
	for _, f := range modbustest.All() {
		if !slices.ContainsFunc(ladder, func(row struct {
			fault               modbustest.Fault
			read, write, single error
			after               int
		}) bool {
			return row.fault == f
		}) {
			t.Errorf("fault %q has no row", f)
		}
	}
}

func TestAfterOneFaultTheNextRequestsSucceed(t *testing.T) {
	for _, row := range ladder {
		single := write(60, 1000)
		single.Func = modbus.WriteSingle
		for _, c := range []struct {
			name    string
			request modbus.Request
			want    error
		}{
			{"read", read(10, 3), row.read},
			{"write", write(60, 1000, 2), row.write},
			{"single write", single, row.single},
		} {
			t.Run(row.fault.String()+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				climb(t, row.fault, c.request, c.want, row.after)
			})
		}
	}
}

// climb is one rung: a good request, the fault, good requests.
func climb(t *testing.T, fault modbustest.Fault, request modbus.Request, want error, after int) {
	s := modbustest.New(t)
	s.Delay = 300 * time.Millisecond
	seed(s)
	e := start(t, s.Addr(), fast())
	if err := checkRead(t, e, 0, 2); err != nil {
		t.Fatalf("before the fault: %v", err)
	}
	s.Next(fault)
	resp, err := e.Do(t.Context(), request)
	checkOutcome(t, request, resp, err, want)
	for i := range 6 {
		err := checkRead(t, e, uint16(i), uint16(i)+1)
		if err != nil && i >= after {
			t.Errorf("request %d after the fault: %v", i+1, err)
		}
	}
	if _, err := e.Do(t.Context(), write(40, 7, 8)); err != nil {
		t.Errorf("write after the fault: %v", err)
	}
	if got := s.Get(40, 2); !slices.Equal(got, []uint16{7, 8}) {
		t.Errorf("the device holds %v after the write, want [7 8]", got)
	}
	eventually(t, "exactly one open connection", func() bool { return s.Open() == 1 })
	if n := e.Stats().Connects; n > 2 {
		t.Errorf("%d connections for one fault, want at most 2", n)
	}
}

func checkOutcome(t *testing.T, r modbus.Request, resp modbus.Response, err, want error) {
	t.Helper()
	var exception *modbus.Exception
	switch {
	case want == errException:
		if !errors.As(err, &exception) || errors.Is(err, modbus.ErrUncertain) || errors.Is(err, modbus.ErrNotSent) {
			t.Errorf("got %v, want an exception alone", err)
		}
	case !errors.Is(err, want):
		t.Errorf("got %v, want %v", err, want)
	case err != nil && resp.Words != nil:
		t.Errorf("got words %x with an error", resp.Words)
	case err == nil && r.Count > 0 && !slices.Equal(resp.Words, []uint16{0x400A, 0x400B, 0x400C}):
		t.Errorf("got words %x", resp.Words)
	}
	if err != nil && r.Count == 0 && want == modbus.ErrUncertain && errors.Is(err, modbus.ErrNotSent) {
		t.Errorf("both uncertain and not sent: %v", err)
	}
}

// What the library alone made of each fault was measured: it lost all later
// calls, took in wrong answers, or misnamed them. Each of those is a rung.
func TestEveryMeasuredFaultOfTheLibraryIsCured(t *testing.T) {
	for _, row := range []struct {
		name   string
		faults []modbustest.Fault
	}{
		{"answer too late, server in order", []modbustest.Fault{modbustest.Late}},
		{"frame split by a pause longer than the timeout", []modbustest.Fault{modbustest.Split}},
		{"one byte at a time", []modbustest.Fault{modbustest.Drip}},
		{"TCP reset", []modbustest.Fault{modbustest.Reset, modbustest.ResetBefore}},
		{"peer closes after an answer", []modbustest.Fault{modbustest.CloseAfter}},
		{"garbage text", []modbustest.Fault{modbustest.Garbage}},
		{"header length 0 and trailing bytes", []modbustest.Fault{modbustest.ZeroLength}},
		{"answer sent twice", []modbustest.Fault{modbustest.Duplicate}},
		{"wrong transaction id once", []modbustest.Fault{modbustest.WrongTxid}},
		{"wrong unit id once", []modbustest.Fault{modbustest.WrongUnit}},
		{"fewer or more bytes than registers", []modbustest.Fault{modbustest.ShortCount, modbustest.LongCount, modbustest.LyingCount}},
		{"byte count 0", []modbustest.Fault{modbustest.ZeroCount}},
		{"function 4 answered to function 3", []modbustest.Fault{modbustest.WrongFunc}},
		{"exception without a code", []modbustest.Fault{modbustest.BareException}},
		{"early answer glued to the one before", []modbustest.Fault{modbustest.EarlyAnswer}},
	} {
		for _, fault := range row.faults {
			t.Run(row.name+"/"+fault.String(), func(t *testing.T) {
				t.Parallel()
				for _, rung := range ladder {
					if rung.fault == fault {
						climb(t, fault, read(10, 3), rung.read, rung.after)
						return
					}
				}
				t.Error("the fault has no rung")
			})
		}
	}
}
