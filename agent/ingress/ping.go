package ingress

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
)

// The headers of a self-test. The answer proves that the request reached this
// very process: only it has the key.
const (
	pingHeader = "Flexd-Ping"
	pongHeader = "Flexd-Pong"
	maxNonce   = 64
	probeTime  = 15 * time.Second
)

// newPingKey makes the key of one process.
func newPingKey() []byte {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails, crypto/rand says
	return key
}

// pong is the answer to a nonce; "" for what is none.
func pong(key []byte, nonce string) string {
	raw, err := hex.DecodeString(nonce)
	if err != nil || len(nonce) < 16 || len(nonce) > maxNonce {
		return ""
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(raw)
	return hex.EncodeToString(mac.Sum(nil))
}

// ping answers what only asks whether somebody is there: an empty POST, as
// markets send before they subscribe a receiver, or a GET or HEAD.
func (w *Webhook) ping(rw http.ResponseWriter, r *http.Request) {
	if answer := pong(w.pingKey, r.Header.Get(pingHeader)); answer != "" {
		rw.Header().Set(pongHeader, answer)
	}
	answer{status: http.StatusOK, text: "ready"}.write(rw)
}

// HoldsJWS tells whether a header, whatever its name, holds something of the
// form of a JWS. It is for doors that do not know where the market signs.
func HoldsJWS(h http.Header) bool {
	for name, values := range h {
		switch name {
		case "Authorization", "Proxy-Authorization", "Cookie":
			continue
		}
		for _, v := range values {
			compact := strings.HasPrefix(v, "ey") && strings.Count(v, ".") == 2 && !strings.ContainsAny(v, " ;,")
			if compact || strings.HasPrefix(v, "{") && strings.Contains(v, `"signature"`) {
				return true
			}
		}
	}
	return false
}

// Probe proves that an address leads to this very door: it sends an empty
// request there and looks for the answer that only this process can give.
func (w *Webhook) Probe(ctx context.Context, address string, client *http.Client) error {
	nonce := make([]byte, 16)
	if _, err := rand.Read(nonce); err != nil {
		return fmt.Errorf("cannot make a nonce: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, http.NoBody)
	if err != nil {
		return fmt.Errorf("%s is not a web address: %w", address, err)
	}
	text := hex.EncodeToString(nonce)
	req.Header.Set(pingHeader, text)
	c := *client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := c.Do(req)
	if err != nil {
		return unreached(req.URL.Hostname(), err)
	}
	defer resp.Body.Close() // read only
	_, _ = io.CopyN(io.Discard, resp.Body, 4096)
	switch got := resp.Header.Get(pongHeader); {
	case got != "" && hmac.Equal([]byte(got), []byte(pong(w.pingKey, text))):
		return nil
	case got != "":
		return errors.New("another flexd answers there")
	case resp.StatusCode == http.StatusOK:
		return errors.New("somebody else answers there: the address, or the proxy in front, leads elsewhere")
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return fmt.Errorf("it is redirected (%s): markets post to one address", resp.Status)
	}
	return fmt.Errorf("it is answered with %s", resp.Status)
}

// unreached says in plain words why nobody answered.
func unreached(host string, err error) error {
	var (
		dns     *net.DNSError
		name    x509.HostnameError
		issuer  x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
		wait    net.Error
	)
	switch {
	case errors.As(err, &dns):
		return fmt.Errorf("the name %s cannot be resolved: %w", host, err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("the connection is refused, nobody listens there: %w", err)
	case errors.As(err, &name):
		return fmt.Errorf("the certificate there is not for %s: %w", host, err)
	case errors.As(err, &issuer):
		return fmt.Errorf("the certificate there is not from an authority that is known: %w", err)
	case errors.As(err, &invalid):
		return fmt.Errorf("the certificate there is not valid: %w", err)
	case errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Errorf("it does not speak TLS there: %w", err)
	case errors.As(err, &wait) && wait.Timeout():
		return fmt.Errorf("nobody answers in time, a firewall may be in between: %w", err)
	}
	return fmt.Errorf("it cannot be reached: %w", err)
}
