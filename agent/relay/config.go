package relay

import (
	_ "embed"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// DefaultPath is where the configuration lies.
const DefaultPath = "/etc/flexd/relay.yaml"

// Bounds of a configuration.
const (
	maxFile   = 1 << 20
	maxRoutes = 1000
	maxTopics = 1000
	maxBody   = 1 << 20
	maxNames  = 64 // topics of one route; more share a topic
)

//go:embed reference.yaml
var reference string

// Reference is the annotated configuration: every key, with its default.
func Reference() string { return reference }

// Config is a checked configuration.
type Config struct {
	Webhook Webhook
	Routes  []Route
	Broker  Broker
	Limits  Limits
	Health  string // host:port, unix:PATH, or "" for none
}

// Webhook is the door towards the internet.
type Webhook struct {
	Listen         string
	Plain          bool
	Cert, Key      Secret
	TrustedProxies []netip.Prefix
}

// Route is one exact path and the topics that its requests are published to.
type Route struct {
	Path   string
	Topics []string
}

// Broker is where envelopes go.
type Broker struct {
	URL           string
	CA, Cert, Key Secret
	Canary        bool
}

// Limits bound what one relay carries.
type Limits struct {
	MaxBody   int
	PerSecond int
	PerSource int // 0: none
	Queue     int
	InFlight  int
	Timeout   time.Duration
}

// Secret says where a file is: a systemd credential or a path. Both empty:
// none is given.
type Secret struct {
	Credential string
	File       string
}

var (
	siteWord = regexp.MustCompile(`^[a-z0-9-]{1,36}$`)
	nameWord = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	pathWord = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)+$`)
)

// Load reads and checks a file. Problems is the error of one that was read.
func Load(path string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot open the relay's configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read the relay's configuration %s: %w", path, err)
	}
	return Parse(path, data)
}

// Parse checks data; relative paths in it count from the folder of name.
func Parse(name string, data []byte) (*Config, error) {
	r := &reader{file: name, dir: filepath.Dir(name)}
	root := r.document(data)
	if root == nil {
		return nil, r.problems
	}
	o := value{r: r, node: root}.object("webhook", "routes", "broker", "limits", "health")
	c := &Config{Webhook: webhook(o.get("webhook")), Broker: broker(o.get("broker"))}
	c.Routes = routes(o.get("routes"))
	c.Limits = limits(o.get("limits"))
	c.Health = healthListen(o.get("health"))
	if len(r.problems) > 0 {
		return nil, r.problems.sorted()
	}
	return c, nil
}

func webhook(v value) Webhook {
	o := v.object("listen", "tls", "trusted_proxies")
	w := Webhook{Listen: o.get("listen").address(":8443")}
	t := o.get("tls")
	switch {
	case !t.given():
		t.problem("write {cert: PATH, key: PATH}, or off behind a proxy", "is missing")
	case t.node.Kind == yaml.ScalarNode:
		if t.flag(false) {
			t.problem("write {cert: PATH, key: PATH}, or off behind a proxy", "needs a certificate")
		}
		w.Plain = true
	default:
		to := t.object("cert", "key")
		w.Cert, w.Key = to.get("cert").secret(true), to.get("key").secret(true)
	}
	for _, item := range o.get("trusted_proxies").items() {
		s := item.text()
		p, err := netip.ParsePrefix(s)
		if addr, aerr := netip.ParseAddr(s); err != nil && aerr == nil {
			p, err = addr.Prefix(addr.BitLen())
		}
		switch {
		case err != nil:
			item.problem("write an address such as 10.1.2.3 or a network such as 10.0.0.0/8", "is neither an address nor a network")
		case p.Bits() == 0:
			item.problem("name the proxy's own address", "trusts everybody")
		default:
			w.TrustedProxies = append(w.TrustedProxies, p.Masked())
		}
	}
	return w
}

// routes gives exact paths: one with {site} becomes one for each of its sites.
func routes(v value) []Route {
	if !v.given() {
		v.problem("list at least one path with its sites", "is missing")
	}
	var out []Route
	topics, paths := map[string]bool{}, map[string]bool{}
	for _, item := range v.items() {
		o := item.object("path", "sites", "shared")
		path, names := o.get("path").required("write a path such as /webhooks/piclo"), siteNames(o.get("sites"))
		shared := o.get("shared").text()
		if shared != "" && (!siteWord.MatchString(shared) || shared == "down" || shared == "up") {
			o.get("shared").problem("use 1 to 36 of a-z, 0-9 and -, but not down or up", "is not a topic name")
		}
		each := strings.Contains(path, "{site}")
		switch {
		case path != "" && !pathWord.MatchString(strings.Replace(path, "{site}", "site", 1)):
			o.get("path").problem("write a plain path such as /webhooks/piclo, with {site} at most once", "is not a plain path")
		case each && shared != "":
			o.get("shared").problem("give it a path of its own", "does not fit a path with {site}")
		case len(names) == 0 && shared == "":
			item.problem("list sites, or name a shared topic", "leads nowhere")
		case !each && len(names) > maxNames:
			o.get("sites").problem("let them listen to a shared topic", "lists more than %d sites for one path: each request waits for all of them", maxNames)
		}
		for _, r := range expand(path, each, names, shared) {
			if paths[r.Path] {
				o.get("path").problem("keep one of the two", "is given twice: %s", r.Path)
			}
			paths[r.Path] = true
			for _, t := range r.Topics {
				topics[t] = true
			}
			out = append(out, r)
		}
	}
	if v.given() && len(out) == 0 && len(v.r.problems) == 0 {
		v.problem("list at least one path with its sites", "is empty")
	}
	if len(out) > maxRoutes || len(topics) > maxTopics {
		v.problem("run several groups of relays, or use a shared topic", "make more than %d paths or topics", maxRoutes)
	}
	return out
}

func siteNames(v value) []string {
	var names []string
	for _, item := range v.items() {
		name := item.required("write the site's id")
		switch {
		case name != "" && !siteWord.MatchString(name):
			item.problem("use 1 to 36 of a-z, 0-9 and -", "is not a site's id")
		case slices.Contains(names, name):
			item.problem("keep one of the two", "is given twice")
		default:
			names = append(names, name)
		}
	}
	return names
}

func expand(path string, each bool, names []string, shared string) []Route {
	var out []Route
	all := Route{Path: path}
	for _, name := range names {
		topic := "flexd/v1/" + name + "/down/relay"
		all.Topics = append(all.Topics, topic)
		if each {
			out = append(out, Route{Path: strings.Replace(path, "{site}", name, 1), Topics: []string{topic}})
		}
	}
	if each {
		return out
	}
	if shared != "" {
		all.Topics = append(all.Topics, "flexd/v1/shared/"+shared+"/relay")
	}
	return []Route{all}
}

func broker(v value) Broker {
	if !v.given() {
		v.problem("name the broker: {url: mqtts://host:port, …}", "is missing")
	}
	o := v.object("url", "ca", "cert", "key", "insecure", "canary")
	b := Broker{URL: o.get("url").required("write mqtts://host:port"), CA: o.get("ca").secret(false),
		Cert: o.get("cert").secret(false), Key: o.get("key").secret(false), Canary: o.get("canary").flag(true)}
	insecure := o.get("insecure").flag(false)
	if t, err := parseTarget(b.URL); b.URL != "" && err != nil {
		o.get("url").problem("write mqtts://host:port", "is not a broker's address")
	} else if err == nil && !t.secure && !insecure && !loopback(t.host) {
		o.get("url").problem("use mqtts://, or say insecure: true", "is not encrypted")
	}
	if (b.Cert == Secret{}) != (b.Key == Secret{}) {
		v.problem("give both cert and key, or neither", "has one of cert and key")
	}
	return b
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func limits(v value) Limits {
	o := v.object("max_body", "per_second", "per_source", "queue", "in_flight", "timeout")
	return Limits{
		MaxBody:   o.get("max_body").size(128<<10, 1<<10, maxBody),
		PerSecond: o.get("per_second").number(200, 1, 10000),
		PerSource: o.get("per_source").number(20, 0, 10000),
		Queue:     o.get("queue").number(256, 1, 4096),
		InFlight:  o.get("in_flight").number(64, 1, 1024),
		Timeout:   o.get("timeout").duration(10*time.Second, time.Second, 20*time.Second),
	}
}

func healthListen(v value) string {
	o := v.object("listen")
	l := o.get("listen")
	if l.given() {
		if s := l.text(); s == "off" || s == "false" {
			return ""
		} else if path, ok := strings.CutPrefix(s, "unix:"); ok {
			if !filepath.IsAbs(path) || len(path) > 100 {
				l.problem("write unix: and a path from the root, at most 100 characters", "is not a socket's path")
			}
			return s
		}
	}
	return l.address("127.0.0.1:9109")
}

// target is a broker's address as dialled.
type target struct {
	host, addr string
	secure     bool
}

// Default ports of MQTT (IANA: mqtt, secure-mqtt).
func parseTarget(raw string) (target, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" || u.User != nil || u.Path != "" && u.Path != "/" {
		return target{}, fmt.Errorf("broker %q is not mqtts://host:port", raw)
	}
	port := map[string]string{"mqtts": "8883", "mqtt": "1883"}[u.Scheme]
	if port == "" {
		return target{}, fmt.Errorf("broker %q: the scheme must be mqtts or mqtt", raw)
	}
	if u.Port() != "" {
		port = u.Port()
	}
	return target{host: u.Hostname(), addr: net.JoinHostPort(u.Hostname(), port), secure: u.Scheme == "mqtts"}, nil
}
