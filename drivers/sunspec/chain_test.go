package sunspec

import (
	"context"
	"errors"
	"strings"
	"testing"

	"flexd/drivers/modbus"
)

// memory map for the walk: words from an address, the rest is refused.
type memoryMap map[uint16]uint16

func (m memoryMap) put(at uint16, words ...uint16) memoryMap {
	for i, w := range words {
		m[at+uint16(i)] = w
	}
	return m
}

func (m memoryMap) read(_ context.Context, addr, count uint16) ([]uint16, error) {
	var out []uint16
	for i := range count {
		w, ok := m[addr+i]
		if !ok {
			return nil, &modbus.Exception{Func: 3, Code: modbus.IllegalAddress}
		}
		out = append(out, w)
	}
	return out, nil
}

func TestTheChainIsWalked(t *testing.T) {
	marker := []uint16{markerHigh, markerLow}
	at := func(base uint16, rest ...uint16) memoryMap {
		return memoryMap{}.put(base, append(append([]uint16{}, marker...), rest...)...)
	}
	for _, c := range []struct {
		name string
		m    memoryMap
		want string // the chain, or part of the error
	}{
		{"at 40000", at(40000, 1, 66).put(40070, chainEnd, 0), "base 40000: 1"},
		{"at 50000 with a short model 1", at(50000, 1, 65).put(50069, 103, 50).put(50121, chainEnd, 0), "base 50000: 1 103"},
		{"at 0", at(0, 1, 66).put(70, chainEnd, 0), "base 0: 1"},
		{"past vendor models, and instances are counted", at(40000, 1, 66).put(40070, 64001, 3).put(40075, 1, 65).put(40142, 203, 105).put(40249, chainEnd, 0), "base 40000: 1 64001 1#2 203"},
		{"40000 answers without the marker", at(0, 1, 66).put(70, chainEnd, 0).put(40000, 1, 2, 3, 4), "base 0: 1"},
		{"an end that is not there", at(40000, 1, 66), "base 40000: 1"},
		{"nowhere", memoryMap{}, "no SunSpec map"},
		{"zeros in place of the end", at(40000, 1, 66).put(40070, 103, 50).put(40122, 0, 0, 0, 0), "base 40000: 1 103"},
		{"zeros after the marker", at(40000, 0, 0), "length 0"},
		{"one register up", at(40001, 1, 66).put(40071, chainEnd, 0), "base 40001: 1"},
		{"one register down", at(39999, 1, 66).put(40069, chainEnd, 0), "base 39999: 1"},
		{"one register up, and the whole space is readable", at(1, 1, 66).put(71, chainEnd, 0).put(0, 0), "base 1: 1"},
		{"one register up from 50000", at(50001, 1, 66).put(50071, chainEnd, 0).put(40000, 1, 2, 3, 4, 5), "base 50001: 1"},
		{"a length of 0", at(40000, 1, 0), "length 0"},
		{"beyond the last register", at(50000, 1, 66).put(50070, 9, 20000), "beyond register 65535"},
		{"an empty chain", at(40000, chainEnd, 0), "empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			chain, err := walk(t.Context(), c.m.read)
			got := chain.String()
			if err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, c.want) || err == nil && got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestAChainWithoutEndIsLeft(t *testing.T) {
	reads := 0
	_, err := walk(t.Context(), func(context.Context, uint16, uint16) ([]uint16, error) {
		reads++
		return []uint16{markerHigh, markerLow, 7, 1}[4-map[bool]int{true: 4, false: 2}[reads == 1]:], nil
	})
	if err == nil || reads > maxModels+1 {
		t.Errorf("%d reads, %v", reads, err)
	}
}

func TestALostLineIsNotAMissingMap(t *testing.T) {
	_, err := walk(t.Context(), func(context.Context, uint16, uint16) ([]uint16, error) { return nil, modbus.ErrTimeout })
	if errors.Is(err, ErrNoMap) || !errors.Is(err, modbus.ErrTimeout) {
		t.Error(err)
	}
}

func TestASecondModel1BeginsADevice(t *testing.T) {
	c := Chain{Models: []Model{{ID: 1, Addr: 2}, {ID: 103, Addr: 70}, {ID: 1, Addr: 122}, {ID: 203, Addr: 190}}}
	for _, want := range []struct{ of, common uint16 }{{103, 2}, {203, 122}} {
		m, _ := c.find(want.of)
		if got, ok := c.common(m); !ok || got.Addr != want.common {
			t.Errorf("model %d belongs to %+v", want.of, got)
		}
	}
}

func FuzzChain(f *testing.F) {
	f.Add(uint16(40000), []byte{0x53, 0x75, 0x6E, 0x53, 0, 1, 0, 1, 0, 0, 0xFF, 0xFF, 0, 0})
	f.Add(uint16(0), []byte{0x53, 0x75, 0x6E, 0x53, 0, 1, 0xFF, 0xFF})
	f.Add(uint16(50000), []byte{0x53, 0x75, 0x6E, 0x53, 0, 1, 0, 0})
	f.Fuzz(func(t *testing.T, base uint16, raw []byte) {
		m := memoryMap{}
		for i := 0; i+1 < len(raw); i += 2 {
			m[base+uint16(i/2)] = uint16(raw[i])<<8 | uint16(raw[i+1])
		}
		c, err := walk(t.Context(), m.read)
		if len(c.Models) > maxModels {
			t.Errorf("%d models", len(c.Models))
		}
		last := -1
		for _, model := range c.Models {
			if int(model.Addr) <= last || int(model.Addr)+2+int(model.Len) > addressSpace {
				t.Errorf("model %+v", model)
			}
			last = int(model.Addr)
		}
		if err == nil && len(c.Models) == 0 {
			t.Error("a chain of nothing")
		}
	})
}
