package relay

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestTheReferenceIsAGoodConfiguration(t *testing.T) {
	c, err := Parse("/etc/flexd/relay.yaml", []byte(Reference()))
	if err != nil {
		t.Fatal(err)
	}
	want := []Route{
		{"/webhooks/piclo", []string{"flexd/v1/harwell-01/down/relay", "flexd/v1/harwell-02/down/relay"}},
		{"/webhooks/site/harwell-01", []string{"flexd/v1/harwell-01/down/relay"}},
		{"/webhooks/site/harwell-02", []string{"flexd/v1/harwell-02/down/relay"}},
		{"/webhooks/site/leeds-01", []string{"flexd/v1/leeds-01/down/relay"}},
		{"/webhooks/aggregate", []string{"flexd/v1/shared/aggregate/relay"}},
	}
	if fmt.Sprint(c.Routes) != fmt.Sprint(want) {
		t.Errorf("routes %v", c.Routes)
	}
	if l := (Limits{128 << 10, 200, 20, 256, 64, 10 * time.Second}); c.Limits != l {
		t.Errorf("limits %+v", c.Limits)
	}
	if !c.Broker.Canary || c.Health != "127.0.0.1:9109" || c.Webhook.Key.Credential != "relay-key" || len(c.Webhook.TrustedProxies) != 2 {
		t.Errorf("%+v", c)
	}
}

// TestDefaultsAreThoseOfTheReference: what is left out is as the reference
// says.
func TestDefaultsAreThoseOfTheReference(t *testing.T) {
	full, err := Parse("r", []byte(Reference()))
	if err != nil {
		t.Fatal(err)
	}
	short, err := Parse("r", []byte(`
webhook: {tls: {cert: /c, key: /k}}
routes: [{path: /a, sites: [b]}]
broker: {url: "mqtts://b"}`))
	if err != nil {
		t.Fatal(err)
	}
	if short.Limits != full.Limits || short.Health != full.Health || short.Webhook.Listen != full.Webhook.Listen || !short.Broker.Canary {
		t.Errorf("%+v", short)
	}
}

func TestProblemsAreToldByLine(t *testing.T) {
	const (
		hook   = "webhook: {tls: off}\n"
		route  = "routes: [{path: /a, sites: [b]}]\n"
		broker = "broker: {url: \"mqtts://b\"}\n"
	)
	for name, c := range map[string]struct{ text, want string }{
		"an empty file":                    {"", "1:1: (file): is empty"},
		"no YAML":                          {"a: [\n", "(file): is not YAML"},
		"two documents":                    {"a: b\n---\nc: d\n", "more than one document"},
		"a list":                           {"[]", "not a mapping"},
		"no webhook's certificate":         {"webhook: {}\n" + route + broker, "1:10: webhook.tls: is missing"},
		"tls on without a certificate":     {"webhook: {tls: on}\n" + route + broker, "needs a certificate"},
		"a key both ways":                  {"webhook: {tls: {cert: /c, key: {file: /k, credential: k}}}\n" + route + broker, "exactly one of credential and file"},
		"trust in everybody":               {"webhook: {tls: off, trusted_proxies: [0.0.0.0/0]}\n" + route + broker, "trusts everybody"},
		"no routes":                        {hook + broker, "routes: is missing"},
		"no routes in the list":            {hook + "routes: []\n" + broker, "routes: is empty"},
		"a route to nowhere":               {hook + "routes: [{path: /a}]\n" + broker, "leads nowhere"},
		"a path with dots":                 {hook + "routes: [{path: /a/%2e, sites: [b]}]\n" + broker, "not a plain path"},
		"{site} twice":                     {hook + "routes: [{path: \"/{site}/{site}\", sites: [b]}]\n" + broker, "not a plain path"},
		"{site} and a shared topic":        {hook + "routes: [{path: \"/{site}\", sites: [b], shared: c}]\n" + broker, "does not fit"},
		"a site with a wildcard":           {hook + "routes: [{path: /a, sites: [\"+\"]}]\n" + broker, "is not a site's id"},
		"a site twice":                     {hook + "routes: [{path: /a, sites: [b, b]}]\n" + broker, "given twice"},
		"a path twice":                     {hook + "routes: [{path: /a, sites: [b]}, {path: /a, sites: [c]}]\n" + broker, "is given twice: /a"},
		"a path twice by its pattern":      {hook + "routes: [{path: /w/b, sites: [b]}, {path: \"/w/{site}\", sites: [b]}]\n" + broker, "is given twice: /w/b"},
		"a shared topic named down":        {hook + "routes: [{path: /a, shared: down}]\n" + broker, "is not a topic name"},
		"no broker":                        {hook + route, "broker: is missing"},
		"a broker in the clear":            {hook + route + "broker: {url: \"mqtt://broker.example\"}\n", "is not encrypted"},
		"a broker with a password":         {hook + route + "broker: {url: \"mqtts://u:p@b\"}\n", "is not a broker's address"},
		"a certificate without a key":      {hook + route + "broker: {url: \"mqtts://b\", cert: /c}\n", "has one of cert and key"},
		"a body too large":                 {hook + route + broker + "limits: {max_body: 2 MiB}\n", "4:20: limits.max_body"},
		"a size without a unit":            {hook + route + broker + "limits: {max_body: 1000}\n", "is not such a size"},
		"a size that overflows":            {hook + route + broker + "limits: {max_body: 9223372036854775807 KiB}\n", "is not such a size"},
		"a timeout beyond the sender's":    {hook + route + broker + "limits: {timeout: 1m}\n", "is not such a duration"},
		"a health address without a port":  {hook + route + broker + "health: {listen: localhost}\n", "not an address to listen on"},
		"a relative health socket":         {hook + route + broker + "health: {listen: \"unix:a\"}\n", "not a socket's path"},
		"an unknown key":                   {hook + route + broker + "helth: {}\n", "4:1: helth: unknown key"},
		"an alias":                         {"webhook: &w {tls: off}\n" + route + "broker: *w\n", "aliases are not supported"},
		"a null where text belongs":        {hook + "routes: [{path: ~, sites: [b]}]\n" + broker, "is not a plain value"},
		"a number of requests that is not": {hook + route + broker + "limits: {per_second: many}\n", "is not such a number"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("relay.yaml", []byte(c.text))
			var ps Problems
			if !errors.As(err, &ps) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(Reference()))
	f.Add([]byte("webhook: {tls: off}\nroutes: [{path: /a, sites: [b]}]\nbroker: {url: \"mqtt://[::1]:1\"}\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("? [x]\n: y\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("f", data)
		if (c == nil) == (err == nil) {
			t.Fatalf("%v and %v", c, err)
		}
		if err != nil {
			return
		}
		for _, r := range c.Routes {
			if len(r.Topics) == 0 || strings.ContainsAny(strings.Join(r.Topics, "")+r.Path, "+#{} \n") {
				t.Fatalf("route %+v", r)
			}
		}
		if c.Limits.MaxBody > maxBody || c.Limits.Queue < 1 || c.Limits.InFlight < 1 {
			t.Fatalf("limits %+v", c.Limits)
		}
	})
}

func TestSourcesAreLimitedEachAndInNumber(t *testing.T) {
	s, now := newSources(5), time.Unix(1_800_000_000, 0)
	passed := func(source string, n int) (ok int) {
		for range n {
			if s.allow(source, now) {
				ok++
			}
		}
		return ok
	}
	if n := passed("192.0.2.1", 100); n != 10 {
		t.Errorf("%d of a burst pass", n)
	}
	if n := passed("192.0.2.2", 1); n != 1 {
		t.Error("another sender pays for the first")
	}
	if n := passed("2001:db8::1", 10) + passed("2001:db8::2", 10); n != 10 {
		t.Errorf("%d of one /64 pass", n)
	}
	now = now.Add(time.Second)
	if n := passed("192.0.2.1", 100); n != 5 {
		t.Errorf("%d pass a second later", n)
	}
	for i := range 3 * maxSources {
		s.allow(fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), now)
	}
	if len(s.all) > maxSources {
		t.Errorf("%d senders are remembered", len(s.all))
	}
}
