package regmap

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// checker collects what is wrong with a map, with its line.
type checker struct {
	file     string
	tree     *yaml.Node
	problems Problems
}

var (
	someLine     = regexp.MustCompile(`line (\d+): ?`)
	unknownField = regexp.MustCompile(`field (\S+) not found in type \S+`)
	wrongKind    = regexp.MustCompile(`cannot unmarshal !!(\w+)(.*) into \S+`)
)

func lineOf(s string) int {
	if f := someLine.FindStringSubmatch(s); f != nil {
		n, _ := strconv.Atoi(f[1])
		return max(1, n)
	}
	return 1
}

func (c *checker) sorted() Problems {
	slices.SortStableFunc(c.problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	return c.problems
}

func (c *checker) add(line int, what, remedy string) {
	if len(c.problems) < 100 {
		c.problems = append(c.problems, Problem{File: c.file, Line: line, What: what, Remedy: remedy})
	}
}

// typed puts one of the decoder's messages into the words of the file.
func (c *checker) typed(s string) {
	line := lineOf(s)
	s = someLine.ReplaceAllString(s, "")
	s = unknownField.ReplaceAllString(s, "unknown key $1")
	c.add(line, wrongKind.ReplaceAllString(s, "a value of the kind $1$2 does not belong here"), "")
}

// at is the line of a path of keys and indices, or that of the nearest parent.
func (c *checker) at(path ...any) int {
	n, line := c.tree, 1
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		n = n.Content[0]
	}
	for _, part := range path {
		var next *yaml.Node
		switch key := part.(type) {
		case string:
			for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
				if n.Content[i].Value == key {
					line, next = n.Content[i].Line, n.Content[i+1]
				}
			}
		case int:
			if n.Kind == yaml.SequenceNode && key < len(n.Content) {
				next = n.Content[key]
				line = next.Line
			}
		}
		if next == nil {
			return line
		}
		n = next
	}
	return line
}

func (c *checker) check(m *Map) {
	need := func(ok bool, key, remedy string) {
		if !ok {
			c.add(c.at(key), key+" is missing", remedy)
		}
	}
	need(m.Name != "", "map", "give it a name of a-z, 0-9 and -")
	need(m.Title != "", "title", "say in one line which devices it is for")
	need(m.Status != "", "status", "unverified, until a commissioning record of a real device exists")
	need(len(m.Sources) > 0, "sources", "say where each fact comes from")
	need(len(m.Role) > 0, "role", "storage, pv, hybrid or meter")
	need(len(m.Points) > 0, "points", "list the registers")
	if m.Name != "" && !nameWord.MatchString(m.Name) {
		c.add(c.at("map"), fmt.Sprintf("%q is not a map name", m.Name), "use a-z, 0-9 and -")
	}
	c.line(m)
	for name, p := range m.Points {
		if p == nil {
			c.add(c.at("points", name), name+" is empty", "give at and type")
			delete(m.Points, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.Points)) {
		c.point(m, name)
	}
	c.overlaps(m)
	if by := m.WordsBy; by != nil {
		if p := c.readable(m, by.Point, "words_by"); p != nil && p.size() != 1 || len(by.LowFirst) == 0 || len(by.HighFirst) == 0 {
			c.add(c.at("words_by"), "one register tells the order by its value", "give point, low_first and high_first")
		}
	}
	for i, k := range m.Identity {
		c.checkOf(m, k, "identity", i)
	}
	for i, k := range m.Need {
		c.checkOf(m, k, "need", i)
		if k.Hint == "" {
			c.add(c.at("need", i), "a precondition needs a hint", "say what a person has to switch on, and where")
		}
	}
	if m.Firmware != nil {
		c.readable(m, m.Firmware.Point, "firmware", "point")
	}
	c.measure(m)
	for _, name := range slices.Sorted(maps.Keys(m.Control)) {
		c.method(m, name)
	}
	if slices.Contains(m.Role, "meter") && (len(m.Control) > 0 || len(m.Role) > 1) {
		c.add(c.at("control"), "a meter is not controlled", "remove control, and every other role")
	}
}

var nameWord = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`)

func (c *checker) line(m *Map) {
	within := func(v, lo, hi int, key string) {
		if v < lo || v > hi {
			c.add(c.at("line", key), fmt.Sprintf("%s is %d", key, v), fmt.Sprintf("choose from %d to %d", lo, hi))
		}
	}
	within(m.Line.Port, 1, 65535, "port")
	within(m.Line.Unit, 1, 255, "unit")
	within(m.Line.MaxRead, 1, 125, "max_read")
	within(m.Line.Bridge, 0, 120, "bridge")
	within(m.Line.MaxWrite, 1, 123, "max_write")
	if m.Line.Write != 6 && m.Line.Write != 16 {
		c.add(c.at("line", "write"), fmt.Sprintf("function code %d does not write registers", m.Line.Write), "choose 6 or 16")
	}
}

// point checks one point by itself.
func (c *checker) point(m *Map, name string) {
	p := m.Points[name]
	bad := func(key, what, remedy string) { c.add(c.at("points", name, key), name+": "+what, remedy) }
	for _, s := range p.From {
		if _, ok := m.Sources[s]; !ok {
			bad("from", fmt.Sprintf("%q is none of the sources", s), "give sources as SHORT-NAME: text, and cite them by their short name")
		}
	}
	if len(p.Choose) > 0 {
		c.choice(m, p)
		return
	}
	switch {
	case p.Type == "":
		bad("type", "the type is missing", "u16, s16, u32, s32, u64, s64, f32 or str")
	case p.Type == Str && (p.Len < 1 || p.Len > 64):
		bad("len", "a str has 1 to 64 registers", "give len")
	case p.size() > m.Line.MaxRead:
		bad("type", "it has more registers than one request may read", "raise line.max_read")
	case p.At.model == 0 && p.At.wire+p.size() > 1<<16:
		bad("at", "it ends beyond register 65535", "")
	}
	if p.Func != 3 && p.Func != 4 {
		bad("read", fmt.Sprintf("function code %d does not read registers", p.Func), "choose 3 or 4")
	}
	if p.writable() && (p.Func == 4 || p.Type == Str) {
		bad("access", "input registers and text cannot be written", "")
	}
	if p.writable() && m.Line.Write == 6 && p.size() != 1 {
		bad("type", "function code 6 writes one register, this point has more", "")
	}
	if p.SF != "" {
		if f := m.Points[p.SF]; f == nil || f.Type != S16 || !f.readable() {
			bad("sf", fmt.Sprintf("%q is no readable point of type s16", p.SF), "name the point of the scale factor")
		}
	}
	if p.Avoid != nil && !p.writable() {
		bad("avoid", "what is not written need not be avoided", "remove avoid")
	}
	if p.UnitID < 0 || p.UnitID > 255 {
		bad("unit_id", "a unit id is 1 to 255", "")
	}
	for _, k := range p.Valid {
		c.readable(m, k.Point, "points", name, "valid")
	}
	if dir := p.Direction; dir != nil {
		if at := c.readable(m, dir.Point, "points", name, "direction"); at != nil && (at.Type == Str || at.Type == F32) || dir.Plus == nil && dir.Minus == nil {
			bad("direction", "a direction is told by bits of a whole number", "give point, plus and minus")
		}
	}
	if (p.Moves || p.Permission != "") && !p.writable() {
		bad("access", "what is only read neither needs a permission nor is kept from being compared", "")
	}
}

// choice checks a point that is one of several others.
func (c *checker) choice(m *Map, p *Point) {
	bad := func(what, remedy string) { c.add(c.at("points", p.name, "choose"), p.name+": "+what, remedy) }
	if p.Type != "" || p.Access != readOnly || p.At != (address{}) || p.Direction != nil || p.Permission != "" || p.Moves {
		bad("a point that is chosen has no register of its own and is not written", "leave only choose, optional, from, doubt and note")
	}
	for _, k := range p.Choose {
		if q := c.readable(m, k.Use, "points", p.name, "choose"); q != nil && len(q.Choose) > 0 {
			bad("what is chosen is chosen again", "name a point with a register")
		}
		for _, check := range k.If {
			c.checkOf(m, check, "points", p.name, "choose")
		}
	}
}

// overlaps finds points that are written and share a register.
func (c *checker) overlaps(m *Map) {
	names := m.Writable()
	for i, a := range names {
		for _, b := range names[i+1:] {
			p, q := m.Points[a], m.Points[b]
			if p.At.model == q.At.model && p.UnitID == q.UnitID && p.At.wire < q.At.wire+q.size() && q.At.wire < p.At.wire+p.size() {
				c.add(c.at("points", b, "at"), fmt.Sprintf("%s and %s share a register and are both written", a, b), "")
			}
		}
	}
}

// readable insists on a point that can be read.
func (c *checker) readable(m *Map, name string, path ...any) *Point {
	p := m.Points[name]
	switch {
	case p == nil:
		c.add(c.at(path...), fmt.Sprintf("%q is no point of this map", name), nearest(name, slices.Sorted(maps.Keys(m.Points))))
	case !p.readable():
		c.add(c.at(path...), fmt.Sprintf("%s cannot be read", name), "")
	}
	return p
}

func (c *checker) checkOf(m *Map, k Check, path ...any) {
	p := c.readable(m, k.Point, append(path, "point")...)
	if p != nil && len(p.Choose) > 0 {
		c.add(c.at(path...), k.Point+" is chosen among others", "compare the point that is chosen")
	}
	if len(k.In)+len(k.Not)+len(k.Has) == 0 && k.Min == nil && k.Max == nil && k.There == nil {
		c.add(c.at(path...), "compares with nothing", "give in, not, min, max, has or there")
	}
	if p != nil && k.There == nil && (p.Type == Str) != (len(k.Has) > 0) {
		c.add(c.at(path...), "text is compared with has, numbers with in, not and min", "")
	}
}

func (c *checker) measure(m *Map) {
	for key, list := range map[string]terms{"power": m.Measure.Power, "battery": m.Measure.Battery, "pv": m.Measure.PV, "grid": m.Measure.Grid, "soc": m.Measure.SoC,
		"limit": m.Measure.Limit, "max_power": m.Measure.MaxPower, "frequency": m.Measure.Frequency, "exported": m.Measure.Exported, "imported": m.Measure.Imported} {
		for _, t := range list {
			c.readable(m, strings.TrimPrefix(t, "-"), "measure", key)
		}
	}
	for key, name := range map[string]string{"status": m.Measure.Status, "serial": m.Measure.Serial, "model": m.Measure.Model, "version": m.Measure.Version} {
		if name != "" {
			c.readable(m, name, "measure", key)
		}
	}
	if len(m.Measure.Power) == 0 && len(m.Measure.Battery) == 0 {
		c.add(c.at("measure"), "no power is measured", "delivery is judged by watts: give measure.power")
	}
	for key, list := range map[string]operands{"power": m.Rating.Power, "charge": m.Rating.Charge, "discharge": m.Rating.Discharge, "energy": m.Rating.Energy} {
		for _, o := range list {
			c.operand(m, o, "rating", key)
		}
	}
}

// operand allows a number or a readable point.
func (c *checker) operand(m *Map, o operand, path ...any) {
	switch {
	case o.word != "":
		c.add(c.at(path...), fmt.Sprintf("%q is only known while a setpoint is written", o.word), "give a number or a point")
	case o.point != "":
		c.readable(m, o.point, path...)
	case o.set && o.num < 0:
		c.add(c.at(path...), "is negative", "give the magnitude")
	}
}

// method checks one way of control as a whole.
func (c *checker) method(m *Map, name string) {
	me, path := m.Control[name], []any{"control", name}
	here := func(more ...any) int { return c.at(append(slices.Clone(path), more...)...) }
	if name != "set" && name != "cap" {
		c.add(here(), fmt.Sprintf("%q is no way of control", name), "choose set or cap")
		return
	}
	if me == nil {
		c.add(here(), "is empty", "")
		return
	}
	if me.Of == "" {
		me.Of = ofAC
	}
	if name == "cap" && me.Of != ofAC {
		c.add(here("of"), "a cap is on the AC power", "")
	}
	if me.Of == ofInverter && (len(m.Measure.Power) == 0 || len(m.Measure.Battery) == 0) {
		c.add(here("of"), "a setpoint of the inverter needs measure.power and measure.battery", "")
	}
	if me.Of == ofGrid && len(m.Measure.Grid) == 0 {
		c.add(here("of"), "a setpoint of the grid exchange needs measure.grid", "")
	}
	if len(me.Write) == 0 {
		c.add(here(), "has no write sequence", "")
	}
	if len(me.Release) == 0 {
		c.add(here(), "has no release sequence", "every control must be given back")
	}
	for key, steps := range map[string][]Step{"release": me.Release, "boot": me.Boot} {
		if len(steps) > 0 && !slices.ContainsFunc(steps, func(s Step) bool { return !s.Optional }) {
			c.add(here(key), "nothing in it has to succeed", "only steps that a device may refuse are optional")
		}
	}
	if blind := !slices.ContainsFunc(me.Write, func(s Step) bool { return s.Echo == echoEqual }); len(me.Active) == 0 && !blind {
		c.add(here(), "does not say when control is in force", "give active: the points that tell")
	}
	for _, seq := range []struct {
		key   string
		steps []Step
	}{{"arm", me.Arm}, {"write", me.Write}, {"engage", me.Engage}, {"release", me.Release}, {"boot", me.Boot}} {
		for i, s := range seq.steps {
			c.step(m, s, seq.key, append(slices.Clone(path), seq.key, i))
		}
	}
	if name == "set" && len(me.Boot) == 0 && restores(me.Release) {
		c.add(here("release"), "restores what was found, and after a lost journal nobody knows what that was", "give boot: a sequence of constants that frees the device")
	}
	for i, k := range me.Active {
		c.checkOf(m, k, append(slices.Clone(path), "active", i)...)
	}
	for i, k := range me.Acting {
		c.checkOf(m, k, append(slices.Clone(path), "acting", i)...)
	}
	c.fallback(me, here)
	for _, name := range me.Fallback.Keeps {
		c.readable(m, name, append(slices.Clone(path), "fallback")...)
	}
	c.bars(m, me, here, path)
	for key, list := range map[string]operands{"charge": me.Max.Charge, "discharge": me.Max.Discharge, "power": me.Max.Power} {
		for _, o := range list {
			c.operand(m, o, append(slices.Clone(path), "max", key)...)
		}
	}
}

// bars checks what stands against an order.
func (c *checker) bars(m *Map, me *Method, here func(...any) int, path []any) {
	for i, bar := range me.Unless {
		if len(bar.If) == 0 || bar.Hint == "" {
			c.add(here("unless", i), "what bars an order needs checks and a hint", "say what holds then, and why it bars the order")
		}
		for _, k := range bar.If {
			c.checkOf(m, k, append(slices.Clone(path), "unless", i)...)
		}
	}
	if h := me.Harvest; h != nil {
		if len(h.Free) == 0 || h.Band <= 0 || len(m.Measure.PV) == 0 || me.Of != ofBattery {
			c.add(here("harvest"), "is for a setpoint of a battery beside PV that is measured", "give free and band, and measure.pv")
		}
		for _, k := range h.Free {
			c.checkOf(m, k, append(slices.Clone(path), "harvest")...)
		}
	}
}

// fallback checks what happens when nobody writes any more.
func (c *checker) fallback(me *Method, here func(...any) int) {
	f := me.Fallback
	switch {
	case f.After.word == "" && !f.After.timed():
		c.add(here("fallback"), "does not say what happens when nobody writes any more", "give fallback: {after: 60s, to: …}, never, or unknown")
	case f.To == "" && f.After.word != unsure:
		c.add(here("fallback"), "does not say to what the device falls back, or what stays", "give to")
	case f.After.timed() && me.refreshOf() > f.After.d/2:
		c.add(here("refresh"), fmt.Sprintf("%v is more than half of the fall-back time of %v", me.refreshOf(), f.After.d), "")
	case me.refreshOf() < time.Second:
		c.add(here("refresh"), "is shorter than a second", "")
	}
}

// step checks one request of a sequence.
func (c *checker) step(m *Map, s Step, seq string, path []any) {
	if len(s.Points) == 0 || len(s.Points) != len(s.Values) {
		c.add(c.at(path...), "needs one value for each point", "")
		return
	}
	for _, k := range s.If {
		c.checkOf(m, k, append(slices.Clone(path), "if")...)
	}
	next := -1
	for i, name := range s.Points {
		p := m.Points[name]
		if p == nil {
			c.add(c.at(path...), fmt.Sprintf("%q is no point of this map", name), nearest(name, m.Writable()))
			return
		}
		if !p.writable() {
			c.add(c.at(path...), name+" is read only", "give it access: rw, if the source says so")
		}
		if next >= 0 && (p.At.wire != next || p.At.model != m.Points[s.Points[0]].At.model || p.UnitID != m.Points[s.Points[0]].UnitID) {
			c.add(c.at(path...), name+" does not follow the point before it", "one request writes neighbours only")
		}
		next = p.At.wire + p.size()
		if seq == "write" && p.Memory == persistent && (s.Values[i].moves() || s.Values[i].point != "") {
			c.add(c.at(path...), name+" is persistent and would wear out by a changing setpoint", "use a volatile register, or put it into arm")
		}
		if s.Values[i].word == wordFound && !p.readable() {
			c.add(c.at(path...), name+" cannot be read, so what was found is not known", "give a constant")
		}
		if s.Values[i].word == wordFound && (seq == "boot" || p.Moves) {
			c.add(c.at(path...), "what was found is not known, or moved since", "give a constant")
		}
		if p.Permission != "" && (seq == "release" || seq == "boot") && s.Values[i].word != wordFound && (s.Values[i].num != 0 || s.Values[i].point != "") {
			c.add(c.at(path...), name+" is a permission that is its owner's to give", "put back what was found")
		}
		if (seq == "release" || seq == "boot") && s.Values[i].word != "" && s.Values[i].word != wordFound {
			c.add(c.at(path...), "a release knows no power", "give a constant, or found")
		}
		if s.Optional && (seq == "write" || seq == "engage") {
			c.add(c.at(path...), "a step that sets is not optional", "remove optional")
		}
		if s.Values[i].point != "" {
			c.readable(m, s.Values[i].point, path...)
		}
		if !p.readable() && s.Echo == echoEqual {
			c.add(c.at(path...), name+" cannot be read back", "add echo: none")
		}
	}
	if m.Line.Write == 6 && len(s.Points) > 1 {
		c.add(c.at(path...), "function code 6 writes one register at a time", "make a step of each")
	}
}

// restores tells whether a sequence puts back what was found.
func restores(steps []Step) bool {
	return slices.ContainsFunc(steps, func(s Step) bool {
		return slices.ContainsFunc(s.Values, func(o operand) bool { return o.word == wordFound })
	})
}

// nearest suggests the name that was probably meant.
func nearest(s string, names []string) string {
	for _, n := range names {
		if strings.EqualFold(n, s) || len(s) > 2 && (strings.Contains(n, s) || strings.Contains(s, n)) {
			return fmt.Sprintf("did you mean %q?", n)
		}
	}
	return ""
}
