package fleet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
)

// Default ports of MQTT (IANA: mqtt, secure-mqtt).
const (
	portPlain = "1883"
	portTLS   = "8883"
)

// target is a broker's address as dialled.
type target struct {
	host, addr string
	secure     bool
}

func parseBroker(raw string) (target, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" {
		return target{}, fmt.Errorf("broker %q is not mqtts://host:port", raw)
	}
	t := target{host: u.Hostname()}
	port := u.Port()
	switch u.Scheme {
	case "mqtts":
		t.secure = true
		if port == "" {
			port = portTLS
		}
	case "mqtt":
		if port == "" {
			port = portPlain
		}
	default:
		return target{}, fmt.Errorf("broker %q: the scheme must be mqtts or mqtt", raw)
	}
	t.addr = net.JoinHostPort(t.host, port)
	return t, nil
}

// tlsConfig reads the files anew, so that a renewed certificate serves from
// the next connection on.
func (f *Fleet) tlsConfig(host string) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, Time: f.cfg.CertAt}
	if f.cfg.CAFile != "" {
		pem, err := os.ReadFile(f.cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("cannot read the broker's CA: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("cannot read the broker's CA: no certificate in %s", f.cfg.CAFile)
		}
	}
	if (f.cfg.CertFile == "") != (f.cfg.KeyFile == "") {
		return nil, errors.New("client certificate and key must be given together")
	}
	if f.cfg.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(f.cfg.CertFile, f.cfg.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("cannot load the client certificate: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

// dial opens the socket within the connect limit, the server's name verified.
func (f *Fleet) dial(ctx context.Context) (net.Conn, error) {
	t, err := parseBroker(f.cfg.Broker)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, f.limit.connect)
	defer cancel()
	plain := &net.Dialer{}
	if !t.secure {
		return plain.DialContext(ctx, "tcp", t.addr)
	}
	conf, err := f.tlsConfig(t.host)
	if err != nil {
		return nil, err
	}
	return (&tls.Dialer{NetDialer: plain, Config: conf}).DialContext(ctx, "tcp", t.addr)
}
