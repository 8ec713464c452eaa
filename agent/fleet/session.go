package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"golang.org/x/time/rate"

	"flexd/agent/flex"
)

// Prefix begins every topic; its last part is the version of the messages.
const Prefix = "flexd/v1/"

// refusedFilter is a SUBACK's return code for a filter that is not granted
// (MQTT 3.1.1, 3.9.3).
const refusedFilter = 0x80

// quiesce is how long DISCONNECT may take to leave, in milliseconds.
const quiesce = 250

var errLost = errors.New("connection lost")

var errToken = errors.New("the broker did not answer in time")

// session is one connection: it is opened, serves, and is thrown away.
type session struct {
	f          *Fleet
	generation uint64
	client     mqtt.Client
	requests   chan mqtt.Message
	answers    *rate.Limiter
	grants     grants
	envelopes  *envelopes // nil: no relay door

	// ctx ends with the connection, its cause tells why. It does not end with
	// the agent: the last words need it.
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu   sync.Mutex
	conn net.Conn
}

func (f *Fleet) topic(rest string) string { return Prefix + f.cfg.Site + "/" + rest }

// connection makes a session and serves it until it or ctx ends. It tells how
// long the session was up.
func (f *Fleet) connection(ctx context.Context) (time.Duration, error) {
	f.mu.Lock()
	s := &session{f: f, generation: f.generation, requests: make(chan mqtt.Message, requestQueue),
		answers: rate.NewLimiter(answerRate, answerRate)}
	f.mu.Unlock()
	s.ctx, s.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	if f.cfg.Relay != nil {
		s.envelopes = newEnvelopes(f)
	}
	defer s.cancel(nil)
	if err := s.open(ctx); err != nil {
		return 0, err
	}
	var worker sync.WaitGroup
	defer worker.Wait()
	defer s.close()
	// What the broker kept for us comes before the answers to what we say: it
	// must be taken meanwhile, or its amount would keep those from being read.
	worker.Go(s.work)
	if s.envelopes != nil {
		worker.Go(func() { s.envelopes.work(s.ctx) })
	}
	p, err := s.announce(ctx)
	if err != nil {
		return 0, err
	}
	if s.envelopes != nil {
		f.cfg.Relay.Missed("the broker's connection is new")
	}
	f.connected()
	f.cfg.Log.Info("connected to the fleet's broker", "broker", f.cfg.Broker, "session", f.cfg.Session)
	if f.cfg.Contested != nil {
		calm := time.AfterFunc(f.limit.contest, func() { f.cfg.Contested(false) })
		defer calm.Stop()
	}
	start := time.Now()
	err = p.run(ctx)
	if ctx.Err() != nil {
		s.farewell()
	}
	return time.Since(start), err
}

// open connects. The socket ends with ctx until the session stands.
func (s *session) open(ctx context.Context) error {
	if _, err := parseBroker(s.f.cfg.Broker); err != nil {
		return err
	}
	s.client = mqtt.NewClient(s.options(ctx))
	stop := context.AfterFunc(ctx, s.hangUp)
	defer stop()
	token := s.client.Connect()
	// The socket's own limits end this; the margin is for a library that fails to.
	if !token.WaitTimeout(s.f.limit.connect + s.f.limit.write) {
		s.hangUp()
		return fmt.Errorf("cannot connect to %s: %w", s.f.cfg.Broker, errToken)
	}
	if err := token.Error(); err != nil {
		s.hangUp()
		return fmt.Errorf("cannot connect to %s: %w", s.f.cfg.Broker, err)
	}
	return nil
}

func (s *session) options(ctx context.Context) *mqtt.ClientOptions {
	f := s.f
	o := mqtt.NewClientOptions()
	o.Servers = []*url.URL{{Scheme: "mqtt", Host: "broker"}} // a name only: the socket is opened below
	o.SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return s.socket(ctx) })
	o.SetClientID(f.cfg.Site)
	o.SetProtocolVersion(4)
	o.SetCleanSession(false)
	o.SetAutoReconnect(false)
	o.SetConnectRetry(false)
	o.SetOrderMatters(false)
	o.SetAutoAckDisabled(true)
	o.SetStore(mqtt.NewMemoryStore())
	o.SetConnectTimeout(f.limit.connect)
	o.SetWriteTimeout(f.limit.write)
	o.SetKeepAlive(f.limit.keepAliveNow())
	o.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { s.take(m) })
	o.SetConnectionLostHandler(func(_ mqtt.Client, err error) { s.cancel(fmt.Errorf("%w: %w", errLost, err)) })
	o.SetBinaryWill(f.topic("up/state"), f.stateMessage("offline", nil), 1, true)
	return o
}

// socket dials and keeps the connection, so that it can be cut at any time.
func (s *session) socket(ctx context.Context) (net.Conn, error) {
	conn, err := s.f.dial(ctx)
	if err != nil {
		return nil, err
	}
	g := newGuard(conn, s.cancel)
	if s.envelopes != nil {
		g.framing.most = maxEnvelope
		g.room = s.envelopes.room
	}
	s.mu.Lock()
	s.conn = g
	s.mu.Unlock()
	if ctx.Err() != nil { // it ended before there was something to cut
		s.hangUp()
	}
	return g, nil
}

// hangUp cuts the socket without a DISCONNECT: the broker then publishes the
// will.
func (s *session) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		_ = s.conn.Close() // nothing to do about a failure to close
	}
}

// announce says that the site is here, what it is, and asks for requests.
func (s *session) announce(ctx context.Context) (*pump, error) {
	p := newPump(s)
	p.stateBody, p.birthBody = s.f.marshal("state", s.f.cfg.State), s.f.marshal("birth", s.f.cfg.Birth)
	p.stateAt = time.Now()
	if err := s.await(ctx, s.publish("state", true, s.f.stateMessage("online", p.stateBody))); err != nil {
		return nil, fmt.Errorf("cannot publish up/state: %w", err)
	}
	if err := s.await(ctx, s.publish("birth", true, s.f.flat(s.f.fresh(streamBirth, p.birthBody)))); err != nil {
		return nil, fmt.Errorf("cannot publish up/birth: %w", err)
	}
	filters := []string{s.f.topic("down/+")}
	if s.f.cfg.Relay != nil && s.f.cfg.Shared != "" {
		filters = append(filters, SharedTopic(s.f.cfg.Shared))
	}
	for _, filter := range filters {
		if err := s.subscribe(ctx, filter, 1); err != nil {
			return nil, err
		}
	}
	if s.f.cfg.Siblings != nil {
		if err := s.subscribe(ctx, GroupTopic(s.f.cfg.Group, "+"), 0); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// subscribe asks for one filter at a time, so that an answer has one code.
func (s *session) subscribe(ctx context.Context, filter string, qos byte) error {
	token := s.client.Subscribe(filter, qos, nil)
	if err := s.await(ctx, token); err != nil {
		return fmt.Errorf("cannot subscribe to %s: %w", filter, err)
	}
	if t, ok := token.(*mqtt.SubscribeToken); ok && t.Result()[filter] >= refusedFilter {
		return fmt.Errorf("the broker refuses the subscription to %s: allow it in the broker's access list", filter)
	}
	return nil
}

// publish sends one message at QoS 1.
func (s *session) publish(stream flex.Stream, retained bool, payload []byte) mqtt.Token {
	return s.client.Publish(s.f.topic("up/"+string(stream)), 1, retained, payload)
}

// await waits for a token no longer than the limit, the session and ctx allow.
func (s *session) await(ctx context.Context, token mqtt.Token) error {
	limit := time.NewTimer(s.f.limit.token)
	defer limit.Stop()
	select {
	case <-token.Done():
		if err := context.Cause(s.ctx); err != nil {
			return err // says more than the token, which the library may just be tidying up
		}
		return token.Error()
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	case <-limit.C:
		return errToken
	}
}

// farewell says offline and leaves in order; all of it within its limit.
func (s *session) farewell() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), s.f.limit.farewell)
	defer cancel()
	stop := context.AfterFunc(ctx, s.hangUp)
	body := s.f.marshal("state", s.f.cfg.State)
	err := s.await(ctx, s.publish("state", true, s.f.stateMessage("offline", body)))
	stop()
	if err == nil {
		s.client.Disconnect(quiesce)
	}
}

// close ends what is left of the connection.
func (s *session) close() {
	s.cancel(nil)
	s.hangUp()
	s.client.Disconnect(quiesce)
}
