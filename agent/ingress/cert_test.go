package ingress

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// told keeps what is raised, by code.
type told map[string]string

func (m told) Raise(code, _, text string) { m[code] = text }
func (m told) Clear(code, _ string)       { delete(m, code) }

// renewed writes a pair that is valid from and to, before further blocks.
func renewed(t *testing.T, dir string, from, to time.Time, more ...[]byte) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{SerialNumber: big.NewInt(to.Unix()), Subject: pkix.Name{CommonName: "door"}, NotBefore: from, NotAfter: to, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for _, m := range more {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: m})...)
	}
	for name, text := range map[string][]byte{"cert": chain, "key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return der
}

func TestARenewalIsTakenUpOnlyWhereItIsBetter(t *testing.T) {
	dir, now, day := t.TempDir(), time.Now(), 24*time.Hour
	health := told{}
	c := &certificate{certFile: filepath.Join(dir, "cert"), keyFile: filepath.Join(dir, "key"), health: health, log: slog.New(slog.DiscardHandler)}
	other := renewed(t, dir, now.Add(-day), now.Add(10*day))
	if err := c.open(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(health[CodeCertificateEnds], "renew it") {
		t.Errorf("at the start nobody hears that it ends in ten days: %v", health)
	}
	first := c.pair
	renewed(t, dir, now.Add(-30*day), now.Add(-day), other)
	c.refresh(now)
	if c.pair != first || !strings.Contains(health[CodeCertificate], "give one that is valid now") {
		t.Errorf("an expired pair: taken %v, %v", c.pair != first, health)
	}
	renewed(t, dir, now.Add(day), now.Add(300*day))
	c.refresh(now)
	if c.pair != first {
		t.Error("a pair of tomorrow replaced a valid one")
	}
	renewed(t, dir, now.Add(-day), now.Add(200*day), other)
	c.refresh(now)
	if c.pair == first || !strings.Contains(health[CodeCertificate], "certificate 1 was not issued by the next") || health[CodeCertificateEnds] != "" {
		t.Errorf("a chain out of order: taken %v, %v", c.pair != first, health)
	}
	renewed(t, dir, now.Add(-day), now.Add(400*day))
	c.refresh(now)
	if len(health) != 0 {
		t.Errorf("all is well: %v", health)
	}
	// What serves has expired meanwhile: any other pair is no worse.
	c.refresh(now.Add(500 * day))
	second := c.pair
	renewed(t, dir, now.Add(-day), now.Add(450*day))
	c.refresh(now.Add(500 * day))
	if c.pair == second {
		t.Error("an expired pair keeps out another one")
	}
}
