package config

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"

	"flexd/agent/flex"
)

// Surroundings are what a site's file is pointed at for a rehearsal on
// simulated parts: all of it on loopback.
type Surroundings struct {
	Market, Client, KeyFile string // base URL, client id, file of the API key
	Listen, Path            string // of the webhook
	Broker                  string // mqtt://host:port
	Page, Socket, Data      string
	Devices                 map[flex.DeviceID]string // host:port of the stand-in of every device
}

// notSimulated are the keys of a device that belong to its own register map,
// connection or record; a stand-in has none of them.
var notSimulated = []string{"map", "unit", "echoes_unit", "write_function", "adopt_limit", "max_charge_rate", "timeout", "gap", "unit_gap", "connect_delay", "idle_close", "max_read", "max_write",
	"busy_retries", "ownership"}

// elsewhere are the keys of the file that a rehearsal has no use for.
var elsewhere = []string{"maps", "require_commissioning", "clock"}

// Shadow is the site's own file with everything outside replaced: market,
// doors, broker, devices, data and the local window. Limits, reserves, assets
// and what else is set stay as they are. The result is checked.
func Shadow(c *Config, s Surroundings) ([]byte, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(c.Raw, &doc); err != nil || len(doc.Content) != 1 {
		return nil, fmt.Errorf("cannot read the file again: %w", errors.Join(err, errors.New("it must hold one mapping")))
	}
	root := doc.Content[0]
	for _, k := range elsewhere {
		drop(root, k)
	}
	put := func(key string, v any) error {
		var n yaml.Node
		if err := n.Encode(v); err != nil {
			return fmt.Errorf("cannot write %s: %w", key, err)
		}
		set(root, key, &n)
		return nil
	}
	type m = map[string]any
	err := errors.Join(
		put("market", m{"profile": "piclo", "base_url": s.Market, "client_id": s.Client, "api_key": m{"file": s.KeyFile}, "poll": "30s"}),
		put("ingress", m{"webhook": m{"listen": s.Listen, "path": s.Path, "tls": "off"}}),
		put("mqtt", m{"broker": s.Broker, "telemetry": "5s"}),
		put("local", m{"listen": s.Page, "socket": s.Socket}),
		put("data", s.Data),
	)
	if err != nil {
		return nil, err
	}
	if err := standIns(find(root, "devices"), s.Devices); err != nil {
		return nil, err
	}
	if assets := find(root, "assets"); assets != nil {
		for _, a := range assets.Content {
			drop(a, "reference") // simulated parts have no past to compare with
			drop(a, "baseline")
			if v := find(a, "control"); v != nil && v.Value == "observe" {
				drop(a, "control") // nothing would move
			}
		}
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	if err := errors.Join(enc.Encode(&doc), enc.Close()); err != nil {
		return nil, fmt.Errorf("cannot write the rehearsal's file: %w", err)
	}
	if _, err := Parse("rehearsal.yaml", out.Bytes()); err != nil {
		return nil, fmt.Errorf("the site's file does not fit a rehearsal: %w", err)
	}
	return out.Bytes(), nil
}

// standIns points every device at its stand-in.
func standIns(devices *yaml.Node, at map[flex.DeviceID]string) error {
	if devices == nil || devices.Kind != yaml.SequenceNode {
		return errors.New("the file lists no devices")
	}
	for _, d := range devices.Content {
		id := find(d, "id")
		if id == nil || at[flex.DeviceID(id.Value)] == "" {
			return errors.New("a device of the file has no stand-in")
		}
		for _, k := range notSimulated {
			drop(d, k)
		}
		set(d, "driver", text("sunspec"))
		set(d, "address", text(at[flex.DeviceID(id.Value)]))
	}
	return nil
}

func text(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s} }

// index is where a mapping has the key, or -1.
func index(m *yaml.Node, key string) int {
	for i := 0; m.Kind == yaml.MappingNode && i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			return i
		}
	}
	return -1
}

func find(m *yaml.Node, key string) *yaml.Node {
	if i := index(m, key); i >= 0 {
		return m.Content[i+1]
	}
	return nil
}

func set(m *yaml.Node, key string, v *yaml.Node) {
	if i := index(m, key); i >= 0 {
		m.Content[i+1] = v
		return
	}
	m.Content = append(m.Content, text(key), v)
}

func drop(m *yaml.Node, key string) {
	if i := index(m, key); i >= 0 {
		m.Content = slices.Delete(m.Content, i, i+2)
	}
}
