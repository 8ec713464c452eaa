package relay

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"flexd/agent/ingress"
)

// quiesce is how long DISCONNECT may take to leave, in milliseconds.
const quiesce = 250

// files are where the broker's certificates lie; they are read anew for each
// connection, so that renewed ones serve from the next one on.
type files struct {
	ca, cert, key string
	at            func() time.Time // when the broker's certificate is judged; nil: now
}

// session is one connection: it is opened, serves, and is thrown away. The
// MQTT library calls a publish done that it lost when it reconnects by itself.
type session struct {
	l      *link
	client mqtt.Client
	ctx    context.Context // ends with the connection; its cause tells why
	cancel context.CancelCauseFunc
	flying sync.WaitGroup
	places chan struct{} // one for each publish that may go without acknowledgement
	proof  proof

	mu   sync.Mutex
	conn net.Conn
}

// connection opens a session and serves it until it or ctx ends.
func (l *link) connection(ctx context.Context) error {
	s := &session{l: l, places: make(chan struct{}, l.limits.InFlight), proof: proof{seen: map[string]chan struct{}{}}}
	for range l.limits.InFlight {
		s.places <- struct{}{}
	}
	s.ctx, s.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	defer s.flying.Wait()
	defer s.close()
	if err := s.open(ctx); err != nil {
		return err
	}
	l.up(s)
	l.log.Info("connected to the broker", "broker", l.broker.URL, "relay", l.id, "topics", len(l.order))
	s.flying.Go(func() { s.prove(ctx) })
	err := s.serve(ctx)
	l.down(err) // nothing more comes in while the farewell is said
	if ctx.Err() != nil && s.ctx.Err() == nil {
		s.farewell()
	}
	return err
}

func (s *session) open(ctx context.Context) error {
	t := s.l.times
	o := mqtt.NewClientOptions()
	o.Servers = []*url.URL{{Scheme: "mqtt", Host: "broker"}} // a name only: the socket is opened below
	o.SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return s.dial(ctx) })
	o.SetClientID("flexd-relay-" + s.l.id) // several relays may share a certificate, never a client id
	o.SetProtocolVersion(4)
	o.SetCleanSession(true) // with it an unacknowledged publish fails honestly when the connection does
	o.SetAutoReconnect(false)
	o.SetConnectRetry(false)
	o.SetOrderMatters(false)
	o.SetStore(mqtt.NewMemoryStore())
	o.SetConnectTimeout(t.connect)
	o.SetWriteTimeout(t.write)
	o.SetKeepAlive(t.keepAlive)
	o.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { s.proof.heard(s.l.id, m) })
	o.SetConnectionLostHandler(func(_ mqtt.Client, err error) { s.cancel(fmt.Errorf("connection lost: %w", err)) })
	s.client = mqtt.NewClient(o)
	stop := context.AfterFunc(ctx, s.hangUp)
	defer stop()
	token := s.client.Connect()
	var err error
	if !token.WaitTimeout(t.connect + t.write) {
		err = errors.New("no answer in time")
	} else {
		err = token.Error()
	}
	if err != nil {
		s.hangUp()
		return fmt.Errorf("cannot connect to %s: %w", s.l.broker.URL, err)
	}
	return nil
}

// serve publishes until the session or ctx ends. It takes a post only while it
// holds a place among those in flight: what waits for one may still be
// withdrawn.
func (s *session) serve(ctx context.Context) error {
	tick := time.NewTicker(s.l.times.tick)
	defer tick.Stop()
	reprove := time.Now().Add(s.l.times.reprove)
	place := false
	for {
		s.l.alive()
		places, queue := s.places, (chan *post)(nil)
		if place {
			places, queue = nil, s.l.queue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		case <-places:
			place = true
		case p := <-queue:
			if p.ctx.Err() != nil {
				p.done <- errTime
				continue
			}
			place = false
			s.fly(p)
		case now := <-tick.C:
			s.beats(now)
			if s.l.unproven() > 0 && now.After(reprove) {
				reprove = now.Add(s.l.times.reprove + s.l.times.canary)
				s.flying.Go(func() { s.prove(ctx) })
			}
		}
	}
}

// fly publishes and has the answer awaited. Numbers are given here, by one
// goroutine, so that they leave in order.
func (s *session) fly(p *post) {
	s.l.mu.Lock()
	p.topic.seq++
	p.env.Seq = p.topic.seq
	s.l.mu.Unlock()
	p.env.Kind, p.env.Relay, p.env.To = ingress.RelayPost, s.l.id, p.topic.name
	payload, err := p.env.Marshal()
	if err != nil {
		s.places <- struct{}{}
		p.done <- err
		return
	}
	began := time.Now()
	token := s.client.Publish(p.topic.name, 1, false, payload)
	s.l.count.inFlight.Add(1)
	s.flying.Go(func() {
		err := s.await(token)
		s.l.count.inFlight.Add(-1)
		s.l.count.published(time.Since(began), err)
		s.places <- struct{}{}
		p.done <- err
	})
}

// await waits for the broker's acknowledgement on this connection. The token of
// a connection that ended may be the library tidying up.
func (s *session) await(token mqtt.Token) error {
	limit := time.NewTimer(s.l.limits.Timeout)
	defer limit.Stop()
	select {
	case <-token.Done():
		if s.ctx.Err() != nil {
			return errAway
		}
		if err := token.Error(); err != nil {
			return fmt.Errorf("%w: %w", errAway, err)
		}
		return nil
	case <-s.ctx.Done():
		return errAway
	case <-limit.C:
		// A broker that leaves a publish unanswered for so long may never
		// answer: the rest is better off on another connection.
		s.cancel(errTime)
		return errTime
	}
}

// beats tells each topic that is due how far it was counted. They are not
// repeated (QoS 0): a broker keeps no queue of them for a site that is away, and
// the next one says the same.
func (s *session) beats(now time.Time) {
	for _, t := range s.l.order {
		if now.Before(t.beat) {
			continue
		}
		t.beat = now.Add(s.l.times.beat)
		s.say(t, ingress.RelayBeat)
	}
}

// say publishes how far a topic was counted.
func (s *session) say(t *topic, kind string) mqtt.Token {
	s.l.mu.Lock()
	env := ingress.RelayEnvelope{Kind: kind, Relay: s.l.id, To: t.name, Seq: t.seq, At: time.Now()}
	s.l.mu.Unlock()
	payload, err := env.Marshal()
	if err != nil {
		s.l.log.Error("cannot encode a beat", "error", err)
		return nil
	}
	s.l.count.beats.Add(1)
	return s.client.Publish(t.name, 0, false, payload)
}

// farewell tells every topic that this relay ends in order.
func (s *session) farewell() {
	stop := time.AfterFunc(2*time.Second, s.hangUp)
	defer stop.Stop()
	var last mqtt.Token
	for _, t := range s.l.order {
		last = s.say(t, ingress.RelayBye)
	}
	if last != nil {
		last.WaitTimeout(time.Second)
	}
	s.client.Disconnect(quiesce)
}

// close ends what is left of the connection.
func (s *session) close() {
	s.cancel(errAway)
	s.hangUp()
	if s.client != nil {
		s.client.Disconnect(quiesce)
	}
}

// hangUp cuts the socket.
func (s *session) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		_ = s.conn.Close() // nothing to do about a failure to close
	}
}

// dial opens the socket and keeps it, so that it can be cut at any time.
func (s *session) dial(ctx context.Context) (net.Conn, error) {
	t, err := parseTarget(s.l.broker.URL)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.l.times.connect)
	defer cancel()
	plain := &net.Dialer{}
	var conn net.Conn
	if t.secure {
		conf, cerr := s.l.files.tls(t.host)
		if cerr != nil {
			return nil, cerr
		}
		conn, err = (&tls.Dialer{NetDialer: plain, Config: conf}).DialContext(ctx, "tcp", t.addr)
	} else {
		conn, err = plain.DialContext(ctx, "tcp", t.addr)
	}
	if err != nil {
		return nil, err
	}
	g := &guard{Conn: conn, broken: s.cancel}
	s.mu.Lock()
	s.conn = g
	s.mu.Unlock()
	return g, nil
}

func (f files) tls(host string) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, Time: f.at}
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, fmt.Errorf("cannot read the broker's CA: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("no certificate in %s", f.ca)
		}
	}
	if f.cert != "" {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return nil, fmt.Errorf("cannot load the client certificate: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}
