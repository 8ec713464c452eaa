package ingress

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Times of the certificate's care.
const (
	certCheck = 10 * time.Second    // look for changed files, at most this often
	certEnds  = 14 * 24 * time.Hour // warn this long before its end
)

// certificate serves a key pair from files and takes a changed pair up
// without a restart. A pair that cannot be used leaves the old one in place.
type certificate struct {
	certFile, keyFile string
	check             time.Duration
	health            Health
	log               *slog.Logger

	mu      sync.Mutex
	pair    *tls.Certificate
	print   string
	checked time.Time
}

// open loads the pair for the first time.
func (c *certificate) open() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.checked = time.Now()
	print, err := c.fingerprint()
	if err != nil {
		return err
	}
	if err := c.load(print); err != nil {
		return err
	}
	c.health.Clear(CodeCertificate, "")
	return nil
}

// get is a tls.Config's GetCertificate.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.checked) >= c.check {
		c.checked = now
		c.refresh(now)
	}
	if c.pair == nil {
		return nil, errors.New("no certificate is loaded")
	}
	return c.pair, nil
}

// refresh loads the pair again when a file changed, and warns of its end.
func (c *certificate) refresh(now time.Time) {
	print, err := c.fingerprint()
	if err == nil && print != c.print {
		if err = c.load(print); err == nil {
			c.log.Info("the webhook's certificate was taken up anew", "ends", c.ends())
		}
	}
	if err != nil {
		c.health.Raise(CodeCertificate, "", "the old one serves on: "+err.Error())
		return
	}
	c.health.Clear(CodeCertificate, "")
	if c.ends().Sub(now) < certEnds {
		c.health.Raise(CodeCertificateEnds, "", "the webhook's certificate ends at "+c.ends().UTC().Format(time.RFC3339)+": renew it")
	} else {
		c.health.Clear(CodeCertificateEnds, "")
	}
}

// load reads the pair; the state changes only when both files fit.
func (c *certificate) load(print string) error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("cannot use certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	c.pair, c.print = &pair, print
	return nil
}

func (c *certificate) ends() time.Time {
	if c.pair == nil || c.pair.Leaf == nil {
		return time.Time{}
	}
	return c.pair.Leaf.NotAfter
}

// fingerprint changes when a file does.
func (c *certificate) fingerprint() (string, error) {
	out := ""
	for _, name := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return "", fmt.Errorf("cannot read the webhook's certificate: %w", err)
		}
		out += fmt.Sprintf("%d/%d ", info.ModTime().UnixNano(), info.Size())
	}
	return out, nil
}
