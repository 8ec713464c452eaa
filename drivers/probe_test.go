package drivers_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/drivers"
	"flexd/drivers/drivertest"
	"flexd/drivers/modbus/modbustest"
)

// gate stands between a client and a server and rewrites units, as gateways do.
// A unit of -1 is not answered, one of -2 by a gateway that says so.
func gate(t *testing.T, to string, answer func(asked byte) int) string {
	t.Helper()
	return listen(t, func(c net.Conn) {
		up, err := net.Dial("tcp", to)
		if err != nil {
			return
		}
		defer up.Close()
		for {
			frame, err := frameOf(c)
			if err != nil {
				return
			}
			switch as := answer(frame[6]); as {
			case -1:
				continue
			case -2:
				_, _ = c.Write([]byte{frame[0], frame[1], 0, 0, 0, 3, frame[6], frame[7] | 0x80, 11})
			default:
				if _, err := up.Write(frame); err != nil {
					return
				}
				back, err := frameOf(up)
				if err != nil {
					return
				}
				back[6] = byte(as)
				_, _ = c.Write(back)
			}
		}
	})
}

func frameOf(r io.Reader) ([]byte, error) {
	head := make([]byte, 6)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint16(head[4:]))
	_, err := io.ReadFull(r, body)
	return append(head, body...), err
}

// listen serves every connection until the test ends.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); serve(c) }()
		}
	}()
	return ln.Addr().String()
}

func TestAProbeFindsTheUnitAndSaysTheKey(t *testing.T) {
	t.Parallel()
	s := modbustest.New(t)
	base, words := drivertest.NewBank(40000, drivertest.Common(66, "Maker", "Thing", "SN-1"), drivertest.Inverter(1200, drivertest.Scale{})).Image()
	s.Set(base, words...)
	for _, c := range []struct {
		name   string
		answer func(asked byte) int
		want   []string
	}{
		{"as by the book", func(asked byte) int { return int(asked) }, nil},
		{"another unit in the answer", func(byte) int { return 255 }, []string{"echoes_unit: false"}},
		{"255 alone", only(255, -1), []string{"unit: 255"}},
		{"0 alone, behind a gateway", only(0, -2), []string{"unit: 0"}},
		{"0, answered as 1", func(asked byte) int {
			if asked != 0 {
				return -2
			}
			return 1
		}, []string{"unit: 0", "echoes_unit: false"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			address := gate(t, s.Addr(), c.answer)
			res, err := drivers.Probe(t.Context(), drivers.ProbeConfig{Address: address, Timeout: 200 * time.Millisecond})
			if err != nil || res.Problem != "" || !slices.Equal(res.Settings, c.want) {
				t.Fatalf("%v, %q, settings %v, want %v", err, res.Problem, res.Settings, c.want)
			}
			// What it says makes the device work.
			cfg := drivers.Config{ID: "dev", Driver: drivers.DriverSunSpec, Address: address, Unit: res.Unit, UnitZero: res.Unit == 0,
				AnyUnit: slices.Contains(res.Settings, "echoes_unit: false"), Gap: -1}
			set, err := drivers.Open([]drivers.Config{cfg}, nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(start(t, set.Run))
			if r, err := set.Devices()[0].Read(t.Context()); err != nil || r.Power == nil || *r.Power != 1200 {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

// only answers one unit; the others as said.
func only(unit byte, others int) func(byte) int {
	return func(asked byte) int {
		if asked == unit {
			return int(asked)
		}
		return others
	}
}

// Each way to fail has its words, and "does not answer" is said of silence.
func TestAFailedProbeSaysWhatHappened(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	for _, c := range []struct {
		name, address string
		units         []uint8
		want, not     string
	}{
		{"refused", closed.Addr().String(), nil, "refuses the connection", "answer"},
		{"one unit is silent", listen(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }), []uint8{1}, "does not answer", ""},
		{"all are silent", listen(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }), []uint8{1, 2, 3}, "none of the units 1, 2, 3 answers", ""},
		{"closed", listen(t, func(c net.Conn) { _, _ = frameOf(c) }), []uint8{1}, "ends it", "not answer"},
		{"another protocol", listen(t, func(c net.Conn) {
			_, _ = frameOf(c)
			_, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			_, _ = io.Copy(io.Discard, c)
		}), []uint8{1}, "not in Modbus/TCP", "not answer"},
		{"a gateway", gate(t, modbustest.New(t).Addr(), func(byte) int { return -2 }), []uint8{1}, "a gateway", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			_, err := drivers.Probe(ctx, drivers.ProbeConfig{Address: c.address, Units: c.units, Timeout: 200 * time.Millisecond})
			if err == nil || !strings.Contains(err.Error(), c.want) || c.not != "" && strings.Contains(err.Error(), c.not) {
				t.Errorf("%v, want %q and not %q", err, c.want, c.not)
			}
			if text := flex.Plain(err); !strings.Contains(text, c.want) || strings.ContainsAny(text, "\n") || len(text) > 160 || strings.Contains(text, "function") {
				t.Errorf("a person is told %q", text)
			}
		})
	}
}

// A unit that is silent where others answer is told with those.
func TestASilentUnitIsToldWithThoseThatAnswer(t *testing.T) {
	t.Parallel()
	s, _ := served(t)
	var cfgs []drivers.Config
	address := gate(t, s.Addr(), func(asked byte) int {
		if asked == 3 {
			return -1
		}
		return int(asked)
	})
	for id, unit := range map[string]uint8{"a": 1, "b": 2, "c": 3} {
		cfgs = append(cfgs, drivers.Config{ID: flex.DeviceID(id), Driver: drivers.DriverSunSpec, Role: flex.RoleStorage, Address: address, Unit: unit, Gap: -1, Timeout: 300 * time.Millisecond})
	}
	slices.SortFunc(cfgs, func(a, b drivers.Config) int { return strings.Compare(string(a.ID), string(b.ID)) })
	set, err := drivers.Open(cfgs, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(start(t, set.Run))
	for _, d := range set.Devices()[:2] {
		if _, err := d.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	_, err = set.Devices()[2].Open(t.Context())
	want := "no answer from unit 3; units 1 and 2 answer on this line: `flexd device scan 127.0.0.1`, with flexd stopped, finds the right one"
	if got := flex.Plain(err); got != want {
		t.Errorf("a person is told %q, want %q", got, want)
	}
	if err == nil || err.Error() == want || !strings.Contains(err.Error(), "no answer in time") {
		t.Errorf("the chain is lost: %v", err)
	}
}
