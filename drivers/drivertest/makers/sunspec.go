package makers

import "maps"

// model is one SunSpec model: its id, its length and the points that are not
// zero, by offset from the id. Everything else reads as zero.
type model struct {
	id, length uint16
	points     map[uint16][]uint16
}

// chain lays SunSpec models out from base and tells where each begins.
func (b *bank) chain(unit byte, base uint16, models ...model) map[uint16]uint16 {
	at := map[uint16]uint16{}
	b.put(unit, base, 0x5375, 0x6E53)
	next := base + 2
	for _, m := range models {
		if _, seen := at[m.id]; !seen {
			at[m.id] = next
		}
		b.put(unit, next, m.id, m.length)
		b.put(unit, next+2, make([]uint16, m.length)...)
		for off, words := range maps.All(m.points) {
			b.put(unit, next+off, words...)
		}
		next += 2 + m.length
	}
	b.put(unit, next, 0xFFFF, 0)
	return at
}

// common is model 1 with 66 registers.
func common(maker, name, version, serial string, unit byte) model {
	return model{id: 1, length: 66, points: map[uint16][]uint16{
		2: text(maker, 16), 18: text(name, 16), 42: text(version, 8), 50: text(serial, 16), 66: {uint16(unit)}, 67: {0x8000},
	}}
}

// sf is a scale factor as a register.
func sf(exponent int16) uint16 { return uint16(exponent) }
