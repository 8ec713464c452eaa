package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"flexd/agent/config"
	"flexd/agent/ingress"
)

// expiresSoon is when a certificate's end is worth a warning: renewals by hand
// take weeks.
const expiresSoon = 30 * 24 * time.Hour

// pair reads a certificate and its key and gives the certificate, nil where
// they are no usable pair.
func (n *inspection) pair(path string, cert, key config.Secret) *x509.Certificate {
	certFile, ok := n.certificate(path, cert)
	keyFile, readable := n.secret(strings.TrimSuffix(path, "cert")+"key", key)
	if !ok || !readable {
		return nil
	}
	both, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		n.add(Finding{Path: path, File: certFile, What: "is no pair with its key: " + err.Error(), Remedy: "give the key that this certificate was issued for", Broken: true})
		return nil
	}
	n.dates(path, certFile, both.Leaf)
	n.chain(path, certFile, both.Certificate)
	return both.Leaf
}

// certificate looks at a file that may be read by all.
func (n *inspection) certificate(path string, s config.Secret) (string, bool) {
	before := len(n.list)
	file, ok := n.secret(path, s)
	n.list = slices.DeleteFunc(n.list, func(f Finding) bool { return f.File == file && strings.HasPrefix(f.What, "can be read by every") })
	return file, ok && len(n.list) <= before
}

func (n *inspection) dates(path, file string, c *x509.Certificate) {
	switch until := c.NotAfter.UTC().Format(time.RFC3339); {
	case n.now.After(c.NotAfter):
		n.add(Finding{Path: path, File: file, What: "expired at " + until, Remedy: "renew it", Broken: true, Until: until})
	case n.now.Before(c.NotBefore):
		from := c.NotBefore.UTC().Format(time.RFC3339)
		n.add(Finding{Path: path, File: file, What: "is not valid before " + from, Remedy: "check this machine's clock, else use a certificate that is valid now", Broken: true, Until: from})
	case c.NotAfter.Sub(n.now) < expiresSoon:
		n.add(Finding{Path: path, File: file, What: "expires at " + until, Remedy: "renew it before then", Until: until})
	}
}

// chain checks that each certificate of the file was issued by the next.
func (n *inspection) chain(path, file string, raw [][]byte) {
	if why := ingress.ChainFault(raw); why != "" {
		n.add(Finding{Path: path, File: file, What: "is out of order: " + why, Remedy: "write it anew, in that order", Broken: true})
	}
}

// covers checks that the market finds its address in the certificate.
func (n *inspection) covers(path string, c *x509.Certificate, public string) {
	u, err := url.Parse(public)
	if public == "" || err != nil {
		return
	}
	if err := c.VerifyHostname(u.Hostname()); err != nil {
		n.add(Finding{Path: path, What: "is not covered by the certificate: " + err.Error(), Remedy: "use a certificate for that name, or terminate TLS at a proxy that has one"})
	}
}

// authority reads the certificates that the broker is checked against.
func (n *inspection) authority(path string, s config.Secret) {
	file, ok := n.certificate(path, s)
	if !ok {
		return
	}
	pem, err := os.ReadFile(file)
	if err == nil && !x509.NewCertPool().AppendCertsFromPEM(pem) {
		n.add(Finding{Path: path, File: file, What: "holds no certificate in PEM", Remedy: "give the authority's certificate", Broken: true})
	}
}

// lookupLimit bounds all look-ups together: a check must not hang without a network.
const lookupLimit = 3 * time.Second

// names asks the resolver for every host name of the configuration.
func (n *inspection) names(ctx context.Context, c *config.Config) {
	hosts := map[string]string{} // by name: the key
	add := func(path, host string) {
		if _, err := netip.ParseAddr(host); err == nil || host == "" {
			return
		}
		if _, known := hosts[host]; !known {
			hosts[host] = path
		}
	}
	if u, err := url.Parse(c.Market.BaseURL); err == nil {
		add("market.base_url", u.Hostname())
	}
	for i, o := range c.Market.Origins {
		if u, err := url.Parse(o); err == nil {
			add(fmt.Sprintf("market.origins[%d]", i), u.Hostname())
		}
	}
	if c.MQTT != nil {
		if u, err := url.Parse(c.MQTT.Broker); err == nil {
			add("mqtt.broker", u.Hostname())
		}
	}
	for i, d := range c.Devices {
		if host, _, err := net.SplitHostPort(d.Address); err == nil {
			add(fmt.Sprintf("devices[%d].address", i), host)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, lookupLimit)
	defer cancel()
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		fail []Finding
	)
	for host, path := range hosts {
		wg.Go(func() {
			if _, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host); err != nil {
				mu.Lock()
				defer mu.Unlock()
				fail = append(fail, Finding{Path: path, What: fmt.Sprintf("the name %s cannot be resolved from here", host), Remedy: "check the spelling, and the name server of this machine"})
			}
		})
	}
	wg.Wait()
	slices.SortFunc(fail, func(x, y Finding) int { return strings.Compare(x.Path, y.Path) })
	n.list = append(n.list, fail...)
}
