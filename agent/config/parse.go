package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"flexd/agent/flex"
)

// maxSize bounds the file; a thousand devices fit in it.
const maxSize = 1 << 20

// Load reads and checks the file at path.
func Load(path string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot open the configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration %s: %w", path, err)
	}
	return Parse(path, data)
}

// Parse checks data; name is quoted in problems, and relative paths in the
// file count from its folder. The error is Problems.
func Parse(name string, data []byte) (*Config, error) {
	r := &reader{file: name}
	root := r.document(data)
	if root == nil {
		return nil, r.problems
	}
	c := &Config{Raw: bytes.Clone(data)}
	o := value{r: r, node: root}.object("site", "market", "ingress", "mqtt", "clock", "maps", "devices", "assets", "preflight",
		"require_commissioning", "local", "data")
	b := builder{r: r, dir: filepath.Dir(name)}
	c.Site = b.site(o.get("site"))
	c.Market = b.market(o.get("market"))
	c.Ingress = b.ingress(o.get("ingress"))
	c.MQTT = b.mqtt(o.get("mqtt"))
	c.Clock = clock(o.get("clock"))
	c.Maps = b.path(o.get("maps").text())
	for _, v := range o.get("devices").items() {
		c.Devices = append(c.Devices, b.device(v))
	}
	for _, v := range o.get("assets").items() {
		c.Assets = append(c.Assets, b.asset(v))
	}
	c.Preflight = preflight(o.get("preflight"))
	c.RequireCommissioning = o.get("require_commissioning").flag()
	c.Local = b.local(o.get("local"))
	c.Data = b.path(o.get("data").text())
	if c.Data == "" {
		c.Data = DefaultData
	}
	b.combine(o, c)
	if len(r.problems) > 0 {
		return nil, r.problems.sorted()
	}
	return c, nil
}

var yamlLine = regexp.MustCompile(`line (\d+)`)

// document decodes exactly one YAML document whose root is a mapping.
func (r *reader) document(data []byte) *yaml.Node {
	at := value{r: r, path: "(file)"}
	if len(data) > maxSize {
		at.problem("shorten it", "is larger than 1 MiB")
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, next yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			at.problem("see `flexd config reference`", "is empty")
			return nil
		}
		if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
			line, _ := strconv.Atoi(m[1])
			at.parent = &yaml.Node{Line: max(1, line), Column: 1}
		}
		at.problem("mend the syntax there", "is not YAML: %v", err)
		return nil
	}
	if err := dec.Decode(&next); !errors.Is(err, io.EOF) {
		at.problem("keep one document", "holds more than one document")
		return nil
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		at.problem("see `flexd config reference`", "is not a mapping at the top")
		return nil
	}
	return doc.Content[0]
}

// builder turns checked objects into the typed configuration.
type builder struct {
	r   *reader
	dir string
}

// path resolves a relative path against the file's folder.
func (b builder) path(p string) string {
	if p == "" || filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(b.dir, p)
}

// secret is a path, or {credential: name}, or {file: path}.
func (b builder) secret(v value, required bool) Secret {
	remedy := "write {credential: NAME} or {file: PATH}"
	if !v.given() {
		if required {
			v.problem(remedy, "is missing")
		}
		return Secret{}
	}
	if v.node.Kind == yaml.ScalarNode {
		return Secret{File: b.path(v.required(remedy))}
	}
	o := v.object("credential", "file")
	s := Secret{Credential: o.get("credential").text(), File: b.path(o.get("file").text())}
	if (s.Credential == "") == (s.File == "") {
		v.problem(remedy, "needs exactly one of credential and file")
	}
	if s.Credential != "" && !nameWord.MatchString(s.Credential) {
		o.get("credential").problem("use letters, digits, '.', '_' and '-'", "is not a credential name")
	}
	return s
}

var (
	siteWord = regexp.MustCompile(`^[a-z0-9-]{1,36}$`)
	nameWord = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
)

func (b builder) site(v value) Site {
	if !v.given() {
		v.problem("add a site section", "is missing")
		return Site{Timezone: time.UTC}
	}
	o := v.object("id", "timezone", "meter", "import_limit", "export_limit")
	s := Site{Timezone: time.UTC}
	s.ID = flex.SiteID(o.get("id").required("choose a name of a-z, 0-9 and '-'"))
	if s.ID != "" && !siteWord.MatchString(string(s.ID)) {
		o.get("id").problem("use 1 to 36 of a-z, 0-9 and '-'", "is not a site name")
	}
	if loc := parsed(o.get("timezone"), `write an IANA name such as "Europe/London"`, time.LoadLocation); loc != nil {
		s.Timezone = loc
	}
	s.Meter = flex.DeviceID(o.get("meter").text())
	s.ImportLimit = o.get("import_limit").power()
	s.ExportLimit = o.get("export_limit").power()
	return s
}

func (b builder) device(v value) Device {
	o := v.object("id", "driver", "map", "role", "sign", "address", "unit", "echoes_unit", "write_function", "reserve_soc", "max_soc", "owner", "lead", "ramp", "grid_charge",
		"adopt_limit", "max_power", "max_charge_rate", "timeout", "gap", "unit_gap", "connect_delay", "idle_close", "max_read", "max_write", "busy_retries", "ownership", "contests", "rest", "write_budget")
	d := Device{
		ID:           flex.DeviceID(o.get("id").required("name the device")),
		Driver:       o.get("driver").choice("sunspec", []string{"sunspec", "map"}),
		Map:          o.get("map").text(),
		Role:         flex.Role(o.get("role").choice("", []string{"storage", "pv", "hybrid", "meter"})),
		Sign:         o.get("sign").choice("", []string{"export_positive", "import_positive"}),
		Address:      b.address(o.get("address")),
		Unit:         uint8(o.get("unit").number(0, 0, 255)),
		WriteFunc:    o.get("write_function").number(0, 6, 16),
		Reserve:      o.get("reserve_soc").percent(),
		MaxSoC:       o.get("max_soc").percent(),
		Owner:        b.owner(o.get("owner")),
		Ramp:         o.get("ramp").power(),
		GridCharge:   o.get("grid_charge").flag(),
		AdoptLimit:   o.get("adopt_limit").flag(),
		MaxPower:     o.get("max_power").power(),
		MaxCharge:    o.get("max_charge_rate").power(),
		Timeout:      o.get("timeout").duration(0, 50*time.Millisecond, 30*time.Second),
		Gap:          o.get("gap").duration(0, 0, 10*time.Second),
		UnitGap:      o.get("unit_gap").duration(0, 0, 10*time.Second),
		ConnectDelay: o.get("connect_delay").duration(0, 0, 10*time.Second),
		IdleClose:    o.get("idle_close").duration(0, time.Second, time.Hour),
		MaxRead:      o.get("max_read").number(0, 1, 125),
		MaxWrite:     o.get("max_write").number(0, 1, 123),
		BusyRetries:  o.get("busy_retries").number(0, 1, 20),
		Ownership:    flex.Ownership(o.get("ownership").choice(string(flex.OwnContest), []string{string(flex.OwnYield), string(flex.OwnContest), string(flex.OwnAlarm)})),
		Contests:     o.get("contests").number(3, 1, 100),
		Rest:         o.get("rest").duration(10*time.Minute, time.Second, 24*time.Hour),
		WriteBudget:  o.get("write_budget").number(100, 1, 100_000),
	}
	switch {
	case d.Driver == "map" && d.Map == "":
		o.get("driver").problem("add map: NAME; `flexd map list` shows the shipped ones", "names no register map")
	case d.Driver != "map" && d.Map != "":
		o.get("map").problem("set driver: map, or remove it", "is for driver: map only")
	case strings.ContainsAny(d.Map, "/\\") || strings.HasSuffix(d.Map, ".yaml"):
		d.Map = b.path(d.Map)
	}
	if o.get("gap").given() && d.Gap == 0 {
		d.Gap = -1 // said aloud: no pause at all
	}
	switch {
	case o.get("unit").given():
		d.UnitZero = d.Unit == 0
	case d.Driver != "map": // a map knows the unit of its device
		d.Unit = 1
	}
	d.AnyUnit = o.get("echoes_unit").given() && !o.get("echoes_unit").flag()
	if d.WriteFunc != 0 && d.WriteFunc != 6 && d.WriteFunc != 16 {
		o.get("write_function").problem("use 6, for one register in a write, or 16", "is not a function that writes registers")
	}
	if d.ID != "" && !nameWord.MatchString(string(d.ID)) {
		o.get("id").problem("use letters, digits, '.', '_' and '-'", "is not a device name")
	}
	if d.Role == flex.RoleMeter && d.Sign == "" {
		o.get("sign").problem("say export_positive or import_positive: the models state no sign", "is missing for a meter")
	}
	if d.Sign != "" && d.Role != flex.RoleMeter {
		o.get("sign").problem("remove it, or set role: meter", "is for meters only")
	}
	if d.MaxCharge != 0 && (d.Driver == "map" || d.Role == flex.RolePV || d.Role == flex.RoleMeter) {
		o.get("max_charge_rate").problem("remove it", "is for storage that is controlled by SunSpec model 124")
	}
	if at := o.get("lead"); at.given() {
		lead := at.duration(0, 0, 30*time.Second)
		d.Lead = &lead
		if d.Role == flex.RolePV || d.Role == flex.RoleMeter {
			at.problem("remove it", "is for storage only: generation is turned down from what it gives at the start")
		}
	}
	b.energy(o, d)
	return d
}

func (b builder) asset(v value) Asset {
	o := v.object("market_id", "devices", "meter", "reference", "baseline", "control", "over_delivery", "max_dispatch", "tolerance", "not_delivered_after", "min_run", "recovery")
	a := Asset{
		MarketID:    flex.AssetID(o.get("market_id").required("write the market's id of the asset")),
		Meter:       flex.DeviceID(o.get("meter").text()),
		Control:     o.get("control").choice("setpoint", []string{"setpoint", "meter", "observe"}),
		Free:        o.get("over_delivery").choice("cap", []string{"cap", "free"}) == "free",
		MaxDispatch: o.get("max_dispatch").power(),
		MissAfter:   o.get("not_delivered_after").duration(time.Minute, time.Second, time.Hour),
		MinRun:      o.get("min_run").duration(0, 0, 24*time.Hour),
		Recovery:    o.get("recovery").duration(0, 0, 7*24*time.Hour),
	}
	if tol := o.get("tolerance"); tol.given() && tol.node.Kind == yaml.ScalarNode && strings.HasSuffix(strings.TrimSpace(tol.node.Value), "%") {
		a.MissPart = tol.percent()
	} else {
		a.MissPower = tol.power()
	}
	a.Baseline = baseline(o, a.Control)
	if !o.get("devices").given() {
		o.get("devices").problem("list at least one device id", "is missing")
	}
	for _, d := range o.get("devices").items() {
		a.Devices = append(a.Devices, flex.DeviceID(d.text()))
	}
	return a
}
