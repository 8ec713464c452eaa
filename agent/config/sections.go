package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"flexd/agent/flex"
)

// url checks an address with a secure scheme, or its plain sister where the
// host is this machine or insecure says so.
func (b builder) url(v value, secure, plain string, insecure bool) {
	if !v.given() || v.node.Kind != yaml.ScalarNode {
		return
	}
	remedy := fmt.Sprintf("write %s://HOST", secure)
	u, err := url.Parse(v.node.Value)
	if err != nil || u.Host == "" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		v.problem(remedy, "is not a plain address")
		return
	}
	switch u.Scheme {
	case secure:
	case plain:
		if !insecure && !loopback(u.Hostname()) {
			v.problem(remedy+", or add insecure: true to say aloud that anyone on the way can read and change it", "is not encrypted")
		}
	default:
		v.problem(remedy, "has the scheme %q", u.Scheme)
	}
}

// loopback tells whether host is this machine itself.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

func (b builder) mqtt(v value) *MQTT {
	if !v.given() {
		return nil
	}
	o := v.object("broker", "ca", "cert", "key", "insecure", "telemetry", "acknowledge", "group")
	m := &MQTT{
		Broker:      o.get("broker").required("write mqtts://HOST:8883"),
		CA:          b.secret(o.get("ca"), false),
		Cert:        b.secret(o.get("cert"), false),
		Key:         b.secret(o.get("key"), false),
		Insecure:    o.get("insecure").flag(),
		Telemetry:   o.get("telemetry").duration(time.Minute, time.Second, time.Hour),
		BackendAcks: o.get("acknowledge").choice("broker", []string{"broker", "backend"}) == "backend",
	}
	b.url(o.get("broker"), "mqtts", "mqtt", m.Insecure)
	if g := o.get("group"); g.given() {
		if m.Group = g.text(); !siteWord.MatchString(m.Group) {
			g.problem("write 1 to 36 of a-z 0-9 -", "is not a plain name")
		}
	}
	if m.Cert.None() != m.Key.None() {
		v.problem("give both cert and key", "has only one of cert and key")
	}
	return m
}

func (b builder) local(v value) Local {
	o := v.object("listen", "names", "socket", "pin")
	o.unbuilt("pin")
	l := Local{Socket: b.path(o.get("socket").text())}
	for _, item := range o.get("names").items() {
		name := item.text()
		if name == "" || strings.ContainsAny(name, ":/ ") {
			item.problem("write a host name such as gateway.local, without port", "is not a host name")
		}
		l.Names = append(l.Names, name)
	}
	at := o.get("listen")
	if at.given() && at.node.Kind == yaml.ScalarNode && (at.node.Value == "off" || at.node.Value == "false") {
		return l
	}
	l.Listen = b.listen(at, "127.0.0.1:8080")
	return l
}

// listen is host:port, where the host may be empty.
func (b builder) listen(v value, def string) string {
	if !v.given() {
		return def
	}
	s := v.text()
	_, port, err := net.SplitHostPort(s)
	if n, perr := strconv.Atoi(port); err != nil || perr != nil || n < 0 || n > 65535 {
		v.problem(`write HOST:PORT or ":PORT"`, "is not an address to listen on")
	}
	return s
}

// combine checks what only makes sense together.
func (b builder) combine(o object, c *Config) {
	devices := map[flex.DeviceID]Device{}
	for i, d := range c.Devices {
		at := value{r: b.r, node: nodeAt(o.get("devices").node, i), path: fmt.Sprintf("devices[%d]", i)}
		if _, twice := devices[d.ID]; twice && d.ID != "" {
			at.problem("choose another id", "has the same id %q as a device above", d.ID)
		}
		devices[d.ID] = d
	}
	b.distinct(func(i int) value {
		return value{r: b.r, node: nodeAt(o.get("devices").node, i), path: fmt.Sprintf("devices[%d]", i)}
	}, c.Devices)
	ids := make([]string, 0, len(devices))
	for id := range devices {
		ids = append(ids, string(id))
	}
	slices.Sort(ids)
	refer := func(v value, id flex.DeviceID, meter bool) {
		d, known := devices[id]
		switch {
		case id == "":
		case !known:
			remedy := "choose from: " + strings.Join(ids, ", ")
			if s := nearest(string(id), ids); s != "" {
				remedy = fmt.Sprintf("did you mean %q?", s)
			}
			v.problem(remedy, "names no device of this file")
		case meter && d.Role != flex.RoleMeter:
			v.problem("set role: meter on that device, or name another", "is not a meter")
		case !meter && d.Role == flex.RoleMeter:
			v.problem("list it as the asset's meter instead", "is a meter and cannot be controlled")
		}
	}
	site := value{r: b.r, node: o.fields["site"], path: "site"}
	if site.node != nil && site.node.Kind == yaml.MappingNode {
		refer(scalar(site, "meter"), c.Site.Meter, true)
	}
	b.combineAssets(o, c, refer)
	b.combinePreflight(o, c)
	if r := o.get("ingress"); c.Ingress.Relay != nil && c.MQTT == nil {
		scalar(r, "relay").problem("add an mqtt section, or set it to off", "needs the connection to a broker")
	}
	if hook := c.Ingress.Webhook; hook != nil && c.Local.Listen != "" && hook.Listen == c.Local.Listen && !strings.HasSuffix(hook.Listen, ":0") {
		o.get("local").problem("choose another port", "listens where the webhook does")
	}
}

// combineAssets checks that assets are distinct and share no device.
func (b builder) combineAssets(o object, c *Config, refer func(value, flex.DeviceID, bool)) {
	owner, seen := map[flex.DeviceID]flex.AssetID{}, map[flex.AssetID]bool{}
	for i, a := range c.Assets {
		at := value{r: b.r, node: nodeAt(o.get("assets").node, i), path: fmt.Sprintf("assets[%d]", i)}
		if a.MarketID != "" && seen[a.MarketID] {
			at.problem("list all its devices under one entry", "has the same market_id %q as an asset above", a.MarketID)
		}
		seen[a.MarketID] = true
		refer(scalar(at, "meter"), a.Meter, true)
		b.meterControl(at, a, c)
		localDays(at, a, value{r: b.r, node: o.fields["site"], path: "site"})
		for j, id := range a.Devices {
			dev := value{r: b.r, node: nodeAt(scalar(at, "devices").node, j), path: fmt.Sprintf("%s.devices[%d]", at.path, j)}
			refer(dev, id, false)
			if other, taken := owner[id]; taken {
				dev.problem("let each device belong to one asset", "already belongs to asset %q", other)
			}
			owner[id] = a.MarketID
		}
	}
}

// meterControl checks what control: meter needs.
func (b builder) meterControl(at value, a Asset, c *Config) {
	switch steerable := slices.ContainsFunc(c.Devices, func(d Device) bool {
		return slices.Contains(a.Devices, d.ID) && d.Role != flex.RolePV
	}); {
	case a.Control != "meter":
		if v := scalar(at, "over_delivery"); v.given() {
			v.problem("set control: meter, or remove it", "is for control: meter only")
		}
	case a.Meter == "":
		scalar(at, "control").problem("name the asset's meter, or choose setpoint", "needs a meter")
	case len(a.Devices) > 0 && !steerable:
		scalar(at, "control").problem("choose setpoint: generation is turned down from what it gave before", "needs a battery: generation cannot follow a meter")
	}
}

// scalar finds a key of a mapping again, for its position.
func scalar(v value, key string) value {
	out := value{r: v.r, parent: v.node, path: join(v.path, key)}
	if v.node == nil || v.node.Kind != yaml.MappingNode {
		return out
	}
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		if v.node.Content[i].Value == key {
			out.node = v.node.Content[i+1]
		}
	}
	return out
}

func nodeAt(list *yaml.Node, i int) *yaml.Node {
	if list == nil || list.Kind != yaml.SequenceNode || i >= len(list.Content) {
		return nil
	}
	return list.Content[i]
}
