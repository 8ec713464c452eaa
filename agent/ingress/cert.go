package ingress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
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
	certEnds  = 30 * 24 * time.Hour // warn this long before its end: renewals by hand take weeks
	certWatch = time.Hour           // look without anybody calling
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
	now := time.Now()
	c.checked = now
	print, err := c.fingerprint()
	if err != nil {
		return err
	}
	if err := c.load(print, now); err != nil {
		return err
	}
	c.tell(now)
	return nil
}

// watch looks at the files and the dates until ctx ends: a door that nobody
// calls must tell of its certificate too.
func (c *certificate) watch(ctx context.Context) {
	tick := time.NewTicker(certWatch)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			c.mu.Lock()
			c.checked = now
			c.refresh(now)
			c.mu.Unlock()
		}
	}
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
		if err = c.load(print, now); err == nil {
			c.log.Info("the webhook's certificate was taken up anew", "ends", c.ends())
		}
	}
	if err != nil {
		c.health.Raise(CodeCertificate, "", "the old one serves on: "+err.Error())
		return
	}
	c.tell(now)
}

// tell raises what is wrong with the pair that serves: its chain, its dates.
func (c *certificate) tell(now time.Time) {
	if why := ChainFault(c.pair.Certificate); why != "" {
		c.health.Raise(CodeCertificate, "", "the webhook's certificate file is out of order, and the market may refuse it: "+why)
	} else {
		c.health.Clear(CodeCertificate, "")
	}
	if c.ends().Sub(now) < certEnds {
		c.health.Raise(CodeCertificateEnds, "", "the webhook's certificate ends at "+c.ends().UTC().Format(time.RFC3339)+": renew it")
	} else {
		c.health.Clear(CodeCertificateEnds, "")
	}
}

// load reads the pair; the state changes only when both files fit, and never
// from a pair that is valid now to one that is not.
func (c *certificate) load(print string, now time.Time) error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("cannot use certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	if c.pair != nil && valid(c.pair.Leaf, now) && !valid(pair.Leaf, now) {
		return fmt.Errorf("certificate %s is valid from %s to %s alone: give one that is valid now", c.certFile,
			pair.Leaf.NotBefore.UTC().Format(time.RFC3339), pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	c.pair, c.print = &pair, print
	return nil
}

func valid(c *x509.Certificate, now time.Time) bool {
	return c != nil && !now.Before(c.NotBefore) && now.Before(c.NotAfter)
}

// ChainFault tells which certificate of a file was not issued by the next one,
// "" where they follow one another.
func ChainFault(raw [][]byte) string {
	var below *x509.Certificate
	for i, der := range raw {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Sprintf("certificate %d cannot be read: %v", i+1, err)
		}
		if below != nil && below.CheckSignatureFrom(c) != nil {
			return fmt.Sprintf("certificate %d was not issued by the next: own certificate first, then its issuer, and so on", i)
		}
		below = c
	}
	return ""
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
