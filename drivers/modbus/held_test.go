package modbus_test

import (
	"errors"
	"slices"
	"testing"

	"flexd/drivers/modbus"
	"flexd/drivers/modbus/modbustest"
)

// told lists what a server was told to write, in order.
func told(s *modbustest.Server) []uint16 {
	var out []uint16
	for _, q := range s.Seen() {
		out = append(out, q.Values...)
	}
	return out
}

// A write that hangs is given up, a stop is said on the next connection, and
// then what hung comes through, or does not.
func TestAWriteThatHangsAndTheReleaseAfterIt(t *testing.T) {
	for _, c := range []struct {
		name    string
		keeper  modbustest.Keeper
		deliver func(*modbustest.Proxy)
		want    []uint16
	}{
		{"a kernel discards what was reset", modbustest.Sender, (*modbustest.Proxy).Deliver, []uint16{1}},
		{"a gateway does not", modbustest.Gateway, (*modbustest.Proxy).Deliver, []uint16{1, 7, 8}},
		{"a gateway mixes up the order", modbustest.Gateway, (*modbustest.Proxy).DeliverReversed, []uint16{1, 8, 7}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := modbustest.New(t)
			p := modbustest.NewProxy(t, s.Addr())
			e := start(t, p.Addr(), fast())
			if err := checkUp(t, e); err != nil {
				t.Fatal(err)
			}
			p.HoldWrite(1, c.keeper)
			p.HoldWrite(1, c.keeper)
			for _, v := range []uint16{7, 8} {
				if _, err := e.Do(t.Context(), write(40, v)); !errors.Is(err, modbus.ErrUncertain) {
					t.Fatalf("a write that hangs: %v, want uncertain", err)
				}
			}
			eventually(t, "the line is given up", func() bool { return p.Open() == 0 })
			if e.Stats().Breaks == 0 {
				t.Error("nothing tells that something may be on its way")
			}
			if _, err := e.Do(t.Context(), stop(40, 1)); err != nil {
				t.Fatal(err)
			}
			c.deliver(p)
			if got := told(s); !slices.Equal(got, c.want) {
				t.Errorf("the device was told %v, want %v", got, c.want)
			}
		})
	}
}
