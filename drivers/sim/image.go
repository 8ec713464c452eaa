package sim

import (
	"fmt"
	"math"
)

// Base is where on the wire the "SunS" marker stands.
type Base int

// The three places where SunSpec allows a map to begin.
const (
	Base40000 Base = iota
	Base0
	Base50000
)

func (b Base) addr() int {
	switch b {
	case Base0:
		return 0
	case Base50000:
		return 50000
	case Base40000:
	}
	return 40000
}

// cell is what the protocol must know of one register.
type cell struct {
	model    int
	point    int  // index within the image's points
	first    bool // first register of its point
	last     bool
	writable bool
}

// placed is a point at its wire address.
type placed struct {
	point
	model int
	index int // into words
}

// image is the register map of one device. The owner serialises access.
type image struct {
	base   int
	words  []uint16
	cells  []cell
	points []placed
	find   map[ref]int // into points
}

// ref names a point; the first instance of its model.
type ref struct {
	model int
	name  string
}

// newImage lays out the models behind the marker and closes the chain.
func newImage(base Base, ids []int, shortCommon bool) (*image, error) {
	im := &image{base: base.addr(), find: map[ref]int{}}
	im.plain(0x5375, 0x6E53) // "SunS"
	for _, id := range ids {
		m, err := tableOf(id)
		if err != nil {
			return nil, err
		}
		if id == 1 && shortCommon { // without the pad: L=65, as older devices have it
			m.length--
			m.points = m.points[:len(m.points)-1]
		}
		im.plain(uint16(m.id), uint16(m.length))
		for _, p := range m.points {
			im.place(m.id, p)
		}
	}
	im.plain(0xFFFF, 0)
	if im.base+len(im.words) > 65536 {
		return nil, fmt.Errorf("the map does not fit behind base %d", im.base)
	}
	return im, nil
}

// plain adds read-only registers that belong to no point.
func (im *image) plain(words ...uint16) {
	for _, w := range words {
		im.words = append(im.words, w)
		im.cells = append(im.cells, cell{point: -1, first: true, last: true})
	}
}

func (im *image) place(id int, p point) {
	at := len(im.points)
	im.points = append(im.points, placed{p, id, len(im.words)})
	if key := (ref{id, p.name}); im.find[key] == 0 {
		im.find[key] = at + 1
	}
	for i := range p.words {
		im.words = append(im.words, p.absent(i))
		im.cells = append(im.cells, cell{id, at, i == 0, i == p.words-1, p.writable})
	}
}

// at finds a point.
func (im *image) at(id int, name string) (placed, bool) {
	i := im.find[ref{id, name}]
	if i == 0 {
		return placed{}, false
	}
	return im.points[i-1], true
}

// raw is the point's value as an integer, sign extended where it has a sign,
// and whether the point is there and implemented.
func (im *image) raw(id int, name string) (int64, bool) {
	p, ok := im.at(id, name)
	if !ok || p.words > 4 {
		return 0, false
	}
	var v uint64
	absent := true
	for i, w := range im.words[p.index : p.index+p.words] {
		v = v<<16 | uint64(w)
		absent = absent && w == p.absent(i)
	}
	switch p.kind {
	case kindI16, kindSF:
		return int64(int16(v)), !absent
	case kindI32:
		return int64(int32(v)), !absent
	case kindA32, kindA64:
		return int64(v), true // an accumulator at zero is only young
	case kindU16, kindE16, kindB16, kindB32, kindU32, kindU64, kindPad, kindStr:
	}
	return int64(v), !absent
}

// setRaw stores an integer, saturated to what the point can hold.
func (im *image) setRaw(id int, name string, v int64) {
	p, ok := im.at(id, name)
	if !ok || p.kind == kindStr {
		return
	}
	lo, hi := p.bounds()
	u := uint64(max(lo, min(hi, v)))
	for i := p.words - 1; i >= 0; i-- {
		im.words[p.index+i] = uint16(u)
		u >>= 16
	}
}

// bounds are the least and greatest implemented values.
func (p point) bounds() (lo, hi int64) {
	switch p.kind {
	case kindI16, kindSF:
		return -32767, 32767
	case kindI32:
		return -math.MaxInt32, math.MaxInt32
	case kindU64, kindA64:
		return 0, math.MaxInt64
	case kindB32, kindU32:
		return 0, math.MaxUint32 - 1
	case kindA32:
		return 0, math.MaxUint32
	case kindU16, kindE16, kindB16, kindPad, kindStr:
	}
	return 0, math.MaxUint16 - 1
}

// factor is 10 to the point's scale factor; 1 without one.
func (im *image) factor(p placed) float64 {
	if p.scale == "" {
		return 1
	}
	sf, ok := im.raw(p.model, p.scale)
	if !ok {
		return 1
	}
	return math.Pow10(int(sf))
}

// value is the point in its unit.
func (im *image) value(id int, name string) (float64, bool) {
	p, ok := im.at(id, name)
	if !ok {
		return 0, false
	}
	v, ok := im.raw(id, name)
	return float64(v) * im.factor(p), ok
}

// set stores a value given in the point's unit, rounded to the register's grain.
func (im *image) set(id int, name string, v float64) {
	if p, ok := im.at(id, name); ok {
		im.setRaw(id, name, int64(math.Round(v/im.factor(p))))
	}
}

// text stores a string, NUL padded.
func (im *image) text(id int, name, s string) {
	p, ok := im.at(id, name)
	if !ok || p.kind != kindStr {
		return
	}
	bytes := make([]byte, 2*p.words)
	copy(bytes, s)
	for i := range p.words {
		im.words[p.index+i] = uint16(bytes[2*i])<<8 | uint16(bytes[2*i+1])
	}
}

// scaleFactors sets every scale factor of the chain that has no value to zero.
func (im *image) scaleFactors() {
	for _, p := range im.points {
		if p.kind == kindSF && im.words[p.index] == 0x8000 {
			im.words[p.index] = 0
		}
	}
}
