package demo

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// MarketConfig describes the simulated marketplace. The zero value is usable.
type MarketConfig struct {
	Addr      string        // host:port; empty: a free port on loopback
	ClientID  string        // empty: "demo-client"
	APIKey    string        // empty: "demo-key"
	TokenLife time.Duration // 0: ten minutes
	Client    *http.Client  // for the webhook; nil: ten seconds, no redirects
	Now       func() time.Time
	Log       *slog.Logger
}

// Market is a marketplace that lists obligations, assets and instructions,
// and tells its one subscriber about instructions by signed webhook.
type Market struct {
	cfg      MarketConfig
	listener net.Listener

	mu           sync.Mutex
	key          *rsa.PrivateKey
	keyID        string
	secret       []byte // signs bearer tokens
	webhook      string // the subscriber's URL
	obligations  []Obligation
	competitions []Competition
	assets       []Asset
	listed       []listing
	sets         map[string][]string // instruction ids by the set a data_url selects
	count        int                 // sets ever made
	hidden       int                 // instructions left out of sets
	faults       map[string]*Fault
	requests     map[string]int
	talk         talk

	bent bent // its clock and its tokens
}

// listing is an instruction as it is listed: any JSON, so that a test can
// list what no honest market would.
type listing struct {
	id         string
	obligation string
	changed    time.Time
	end        time.Time // zero: open
	revision   int
	raw        json.RawMessage
}

// NewMarket makes keys and binds the listener; Run serves it.
func NewMarket(cfg MarketConfig) (*Market, error) {
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	if cfg.ClientID == "" {
		cfg.ClientID = "demo-client"
	}
	if cfg.APIKey == "" {
		cfg.APIKey = "demo-key"
	}
	if cfg.TokenLife <= 0 {
		cfg.TokenLife = 10 * time.Minute
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Client == nil {
		cfg.Client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	m := &Market{cfg: cfg, secret: make([]byte, 32), sets: map[string][]string{}, faults: map[string]*Fault{}, requests: map[string]int{}}
	if _, err := rand.Read(m.secret); err != nil {
		return nil, fmt.Errorf("cannot make the token key: %w", err)
	}
	if err := m.RotateKey(); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen for the market: %w", err)
	}
	m.listener = l
	return m, nil
}

// URL is the base of the market's API, without a slash at the end.
func (m *Market) URL() string { return "http://" + m.listener.Addr().String() }

// ClientID and APIKey are the credentials it accepts.
func (m *Market) ClientID() string { return m.cfg.ClientID }

// APIKey is the secret that goes with ClientID.
func (m *Market) APIKey() string { return m.cfg.APIKey }

// Run serves the API until ctx ends.
func (m *Market) Run(ctx context.Context) error {
	server := &http.Server{Handler: m, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(m.cfg.Log.Handler(), slog.LevelDebug)}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(m.listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("the simulated market ended: %w", err)
	case <-ctx.Done():
	}
	err := server.Close()
	<-ended
	m.cfg.Client.CloseIdleConnections()
	if err != nil {
		return fmt.Errorf("cannot close the simulated market: %w", err)
	}
	return nil
}

// Close frees the listener of a market that was never run.
func (m *Market) Close() { m.listener.Close() }

// Subscribe sets the URL that notifications go to, as an account holder would
// subscribe an endpoint to fp_dispatch_instruction_collection.
func (m *Market) Subscribe(webhook string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.webhook = webhook
}

// SetObligation adds or replaces an obligation.
func (m *Market) SetObligation(o Obligation) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.obligations = replace(m.obligations, o, func(x Obligation) bool { return x.ID == o.ID })
}

// RemoveObligation takes an obligation off the list.
func (m *Market) RemoveObligation(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.obligations = slices.DeleteFunc(m.obligations, func(o Obligation) bool { return o.ID == id })
}

// SetCompetition adds or replaces a competition.
func (m *Market) SetCompetition(c Competition) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.competitions = replace(m.competitions, c, func(x Competition) bool { return x.ID == c.ID })
}

// AddAsset adds or replaces an asset.
func (m *Market) AddAsset(a Asset) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.assets = replace(m.assets, a, func(x Asset) bool { return x.ID == a.ID })
}

// List puts instructions on the list without telling anyone. A revision of
// zero becomes the next one of that id.
func (m *Market) List(instructions ...Instruction) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, in := range instructions {
		if in.Revision == 0 {
			in.Revision = 1
			if i := m.listedAt(in.ID); i >= 0 {
				in.Revision = m.listed[i].revision + 1
			}
		}
		if in.Type == "" {
			in.Type = "start"
		}
		raw, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("cannot encode instruction %s: %w", in.ID, err)
		}
		l := listing{id: in.ID, obligation: in.Obligation, changed: m.cfg.Now(), revision: in.Revision, raw: raw}
		if in.End != nil {
			l.end = *in.End
		}
		m.listed = replace(m.listed, l, func(x listing) bool { return x.id == l.id })
	}
	return nil
}

// ListRaw puts any JSON on the list under an id.
func (m *Market) ListRaw(id string, raw json.RawMessage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := listing{id: id, changed: m.cfg.Now(), revision: 1, raw: raw}
	m.listed = replace(m.listed, l, func(x listing) bool { return x.id == id })
}

// listedAt finds an instruction on the list; -1 when it is not there.
func (m *Market) listedAt(id string) int {
	return slices.IndexFunc(m.listed, func(l listing) bool { return l.id == id })
}

// Requests counts the requests received, by method and path.
func (m *Market) Requests() map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make(map[string]int, len(m.requests))
	for k, v := range m.requests {
		out[k] = v
	}
	return out
}

// replace puts v in the place of the element that matches, or at the end.
func replace[T any](all []T, v T, match func(T) bool) []T {
	if i := slices.IndexFunc(all, match); i >= 0 {
		all[i] = v
		return all
	}
	return append(all, v)
}
