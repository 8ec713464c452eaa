package agent_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"flexd/agent"
	"flexd/agent/config"
)

// issue writes a certificate and its key and returns the key pair's files.
func issue(t *testing.T, dir, name string, from, to time.Time) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestInspectReadsWhatTheFilePointsAt(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	dir := t.TempDir()
	year := 365 * 24 * time.Hour
	good, goodKey := issue(t, dir, "door.example", now.Add(-year), now.Add(year))
	site, siteKey := issue(t, dir, "harwell-01", now.Add(-year), now.Add(year))
	old, oldKey := issue(t, dir, "old", now.Add(-year), now.Add(-time.Hour))
	soon, soonKey := issue(t, dir, "soon", now.Add(-year), now.Add(10*24*time.Hour))
	later, laterKey := issue(t, dir, "later", now.Add(time.Hour), now.Add(year))
	file := func(name, text string, mode os.FileMode) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(p, mode); err != nil {
			t.Fatal(err)
		}
		return p
	}
	mixed, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.ReadFile(site)
	if err != nil {
		t.Fatal(err)
	}
	chain := file("chain.pem", string(mixed)+string(other), 0o600)
	apiKey, open, empty := file("api", "k", 0o600), file("open", "k", 0o644), file("empty", "", 0o600)
	hook := func(cert, key string) string {
		return fmt.Sprintf("ingress: {webhook: {listen: \":8443\", public_url: \"https://door.example:8443/webhooks/piclo\", tls: {cert: {file: %s}, key: {file: %s}}}}\n", cert, key)
	}
	for _, tc := range []struct {
		name, api, rest string
		path, what      string // "" for nothing found
		broken          bool
	}{
		{"all is well", apiKey, hook(good, goodKey), "", "", false},
		{"a key that is not there", dir + "/none", "", "market.api_key", "no such file", false},
		{"a key that is a folder", dir, "", "market.api_key", "is a folder", true},
		{"an empty key", empty, "", "market.api_key", "is empty", true},
		{"a key for everybody", open, "", "market.api_key", "every user", false},
		{"a certificate with another's key", apiKey, hook(good, oldKey), "ingress.webhook.tls.cert", "no pair", true},
		{"a certificate that has expired", apiKey, hook(old, oldKey), "ingress.webhook.tls.cert", "expired at 2026-11-28T11:00:00Z", true},
		{"a certificate that expires soon", apiKey, hook(soon, soonKey), "ingress.webhook.tls.cert", "expires at 2026-12-08", false},
		{"a certificate that the next did not issue", apiKey, hook(chain, goodKey), "ingress.webhook.tls.cert", "is out of order: certificate 1 was not issued by the next", true},
		{"a certificate of tomorrow", apiKey, hook(later, laterKey), "ingress.webhook.tls.cert", "not valid before", true},
		{"a certificate for another name", apiKey, hook(site, siteKey), "ingress.webhook.public_url", "not covered", false},
		{"a proxy that nobody named", apiKey, "ingress: {webhook: {listen: \"127.0.0.1:8443\", tls: off}}\n", "ingress.webhook.trusted_proxies", "without TLS a proxy is in front", false},
		{"a proxy that is named", apiKey, "ingress: {webhook: {listen: \"127.0.0.1:8443\", tls: off, trusted_proxies: [127.0.0.1]}}\n", "", "", false},
		{"another port than the public one", apiKey, strings.Replace(hook(good, goodKey), ":8443/", "/", 1), "ingress.webhook.trusted_proxies", "served at port 8443", false},
		{"another path than the public one", apiKey, strings.Replace(hook(good, goodKey), "/webhooks/piclo", "/in", 1), "ingress.webhook.trusted_proxies", "something is in between", false},
		{"a broker's certificate of another site", apiKey, fmt.Sprintf("mqtt: {broker: \"mqtts://127.0.0.1:8883\", cert: {file: %s}, key: {file: %s}}\n", good, goodKey), "mqtt.cert", `is a certificate of "door.example"`, false},
		{"an authority that is none", apiKey, fmt.Sprintf("mqtt: {broker: \"mqtts://127.0.0.1:8883\", ca: {file: %s}}\n", apiKey), "mqtt.ca", "no certificate in PEM", true},
		{"MW where kW is usual", apiKey, "devices: [{id: a, address: 10.0.0.7, max_power: 20 MW}]\n", "devices[0].max_power", "far above what is usual", false},
		{"a name that nobody has", apiKey, "devices: [{id: a, address: inverter.invalid}]\n", "devices[0].address", "cannot be resolved", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			text := fmt.Sprintf("site: {id: harwell-01}\nmarket: {base_url: \"https://127.0.0.1\", client_id: a, api_key: {file: %s}}\ndata: %s\n%s", tc.api, dir, tc.rest)
			c, err := config.Parse("flexd.yaml", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			found := agent.Inspect(t.Context(), c, now)
			if tc.path == "" {
				if len(found) != 0 {
					t.Fatalf("%+v", found)
				}
				return
			}
			for _, f := range found {
				if f.Path == tc.path && strings.Contains(f.What, tc.what) && f.Broken == tc.broken && f.Remedy != "" {
					return
				}
			}
			t.Errorf("%s %q is not among %+v", tc.path, tc.what, found)
		})
	}
}
