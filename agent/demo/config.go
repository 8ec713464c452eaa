package demo

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// SiteName is the site's id in the configuration and in every MQTT topic.
const SiteName = "demo-site"

// AssetName is the market's id of the battery.
const AssetName = "z8mpC6x"

// Around is everything the agent is pointed at.
type Around struct {
	Dir     string // for the configuration, the key file and the agent's data
	Market  string // base URL
	Client  string // client_id
	APIKey  string
	Webhook string // http://127.0.0.1:port/path that the agent shall serve
	Broker  string // mqtt://…
	PV      string // host:port of each device
	Battery string
	Grid    string
	Page    string // host:port of the local page; empty: off
	Socket  string // unix socket of the commands; empty: in Dir
}

// AroundOf collects the addresses of the simulated parts.
func AroundOf(dir string, m *Market, b *Broker, s *Site) Around {
	return Around{Dir: dir, Market: m.URL(), Client: m.ClientID(), APIKey: m.APIKey(), Broker: b.URL(),
		PV: s.PV.Addr(), Battery: s.Battery.Addr(), Grid: s.Grid.Addr()}
}

// Write puts the configuration and the key file into Dir and returns the
// configuration's path.
func (a Around) Write() (string, error) {
	text, err := a.render()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Join(a.Dir, "state"), 0o700); err != nil {
		return "", fmt.Errorf("cannot make the demo's folder: %w", err)
	}
	if err := os.WriteFile(a.keyFile(), []byte(a.APIKey+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("cannot write the demo's key: %w", err)
	}
	path := filepath.Join(a.Dir, "flexd.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("cannot write the demo's configuration: %w", err)
	}
	return path, nil
}

func (a Around) keyFile() string { return filepath.Join(a.Dir, "market.key") }

// render is the configuration as a person would write it for this site.
func (a Around) render() (string, error) {
	hook, err := url.Parse(a.Webhook)
	if err != nil || hook.Scheme != "http" || hook.Host == "" || hook.Path == "" {
		return "", fmt.Errorf("webhook %q: want http://host:port/path", a.Webhook)
	}
	page, socket := a.Page, a.Socket
	if page == "" {
		page = "off"
	}
	if socket == "" {
		socket = filepath.Join(a.Dir, "flexd.sock")
	}
	lines := []string{
		"# Written by flexd demo: everything here is simulated and on loopback.",
		"site: {id: " + SiteName + ", timezone: Europe/London, meter: grid, import_limit: 20 kW, export_limit: 20 kW}",
		"market:",
		"  profile: piclo",
		"  base_url: " + quote(a.Market),
		"  client_id: " + quote(a.Client),
		"  api_key: {file: " + quote(a.keyFile()) + "}",
		"  poll: 30s",
		"ingress:",
		"  webhook: {listen: " + quote(hook.Host) + ", path: " + quote(hook.Path) + ", tls: off}",
		"mqtt: {broker: " + quote(a.Broker) + ", telemetry: 5s}",
		"devices:",
		"  - {id: pv1, driver: sunspec, role: pv, address: " + quote(a.PV) + ", unit: 1}",
		"  - {id: bat1, driver: sunspec, role: storage, address: " + quote(a.Battery) + ", unit: 1, reserve_soc: 20%, grid_charge: true}",
		"  - {id: grid, driver: sunspec, role: meter, sign: import_positive, address: " + quote(a.Grid) + ", unit: 1}",
		"assets:",
		"  - {market_id: " + AssetName + ", devices: [bat1], meter: grid, reference: zero, control: setpoint, max_dispatch: 10 kW}",
		"local: {listen: " + quote(page) + ", socket: " + quote(socket) + "}",
		"data: " + quote(filepath.Join(a.Dir, "state")),
	}
	return strings.Join(lines, "\n") + "\n", nil
}

// quote writes a text as a YAML single-quoted scalar.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
