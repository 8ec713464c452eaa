package piclo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"flexd/agent/flex"
	"flexd/agent/trust"
)

// Wall is the clock with its trust.
type Wall interface {
	Now() (time.Time, flex.ClockTrust)
}

// Config is what the adapter needs.
type Config struct {
	Profile  *Profile // nil: the embedded one
	BaseURL  string
	Origins  []string // others to which the market may point
	ClientID string
	APIKey   func() (string, error) // read anew for every token, so that it can be changed in place
	HTTP     *http.Client           // nil: a safe default
	Keys     trust.Store            // nil: keys are kept in memory only
	Wall     Wall
	CertAt   func() time.Time // when the market's certificate is judged, unless HTTP is given; nil: now
	Heard    Heard            // takes the dates of the market's answers; may be nil
	Insecure bool             // plain http beyond loopback
	// UnknownStops takes an instruction for a stop whose type or status nobody
	// understands.
	UnknownStops bool
	Log          *slog.Logger
}

// Market is the adapter for one account. It is safe for concurrent use.
type Market struct {
	profile    *Profile
	at         origins
	api        *client
	keys       *trust.KeyCache
	algorithms []string
	wall       Wall
	log        *slog.Logger
}

// Open builds the adapter; nothing is asked of the market yet.
func Open(cfg Config) (*Market, error) {
	p := cfg.Profile
	if p == nil {
		var err error
		if p, err = LoadProfile(""); err != nil {
			return nil, err
		}
	}
	if cfg.UnknownStops {
		own := *p
		own.unknownStops = true
		p = &own
	}
	at, err := p.parseOrigins(cfg.BaseURL, cfg.Origins, cfg.Insecure)
	if err != nil {
		return nil, err
	}
	if err := p.Suits(cfg.ClientID); err != nil {
		return nil, err
	}
	if cfg.APIKey == nil || cfg.Wall == nil {
		return nil, errors.New("market: key and clock are needed")
	}
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	hc := safeClient(cfg.HTTP, at, cfg.CertAt, cfg.Heard)
	m := &Market{profile: p, at: at, wall: cfg.Wall, log: log}
	m.api = &client{http: hc, token: &tokens{
		url: at.base + string(p.Paths.Token), http: hc, profile: p.Token,
		id: cfg.ClientID, key: cfg.APIKey, turn: make(chan struct{}, 1),
	}}
	for _, a := range p.Notification.Algorithms {
		m.algorithms = append(m.algorithms, string(a))
	}
	m.keys = trust.NewKeyCache(trust.CacheConfig{
		Name:  "market " + at.base + string(p.Paths.PublicKey), // another market, other keys
		Store: cfg.Keys,
		Fetch: func(ctx context.Context) ([]byte, error) {
			raw, _, err := m.api.get(ctx, at.base+string(p.Paths.PublicKey), maxSmall)
			return raw, err
		},
		Parse: p.parseKeys,
		TTL:   time.Duration(p.Key.TTL), Grace: time.Duration(p.Key.Grace), MinGap: time.Duration(p.Key.MinGap), Log: log,
	})
	return m, nil
}

// RefreshKeys fetches the market's public keys when they are missing or due,
// so that no notification has to wait for them. A market that signs nothing
// has none.
func (m *Market) RefreshKeys(ctx context.Context) error {
	if m.profile.Notification.Signature == signatureNone {
		return nil
	}
	return m.keys.Refresh(ctx)
}

// parseKeys reads the published key document as the profile describes it.
func (p *Profile) parseKeys(raw []byte) ([]trust.Key, error) {
	return trust.ParseKeysAs(raw, string(p.Key.Format), p.Key.Pointer.text)
}

// Subscription tells which event to subscribe the webhook to, with a hint
// for the person who does it.
func (m *Market) Subscription() (event, hint string) {
	event = string(m.profile.Notification.EventName)
	return event, fmt.Sprintf("in the account at %s, subscribe the webhook to the event %s (not to the other dispatch webhook, unless the market told you so)", m.at.base, event)
}

// WebhookEvent is the event to subscribe the webhook to.
func (p *Profile) WebhookEvent() string { return string(p.Notification.EventName) }

// Profile gives the profile in use.
func (m *Market) Profile() *Profile { return m.profile }

// ResolveDirection is the profile's.
func (m *Market) ResolveDirection(in flex.Instruction, ob flex.Obligation, comp flex.Competition) flex.Direction {
	return m.profile.ResolveDirection(in, ob, comp)
}

// Fetch gets the instructions that a notification points to, and the raw
// reply. An element without an id is told in the log and missing from the
// count; only when nothing at all can be read is that an error. When a later
// page fails, what came before is returned with the error.
func (m *Market) Fetch(ctx context.Context, dataURL string) ([]flex.Instruction, []byte, error) {
	path := string(m.profile.Paths.Instructions)
	target, err := m.at.pin(dataURL, path)
	if err != nil {
		return nil, nil, err
	}
	return m.fetch(ctx, target, path)
}

// List gets the account's instructions since an instant.
func (m *Market) List(ctx context.Context, since time.Time) ([]flex.Instruction, []byte, error) {
	q := url.Values{}
	if name := m.profile.Lists.InstructionsSince; name != "" && !since.IsZero() {
		q.Set(name, m.profile.Lists.SinceFormat.write(since))
	}
	path := string(m.profile.Paths.Instructions)
	return m.fetch(ctx, m.address(path, q), path)
}

func (m *Market) fetch(ctx context.Context, target, path string) ([]flex.Instruction, []byte, error) {
	list, raw, err := m.list(ctx, target, path)
	out, bad, first := m.profile.instructions(list)
	if bad > 0 {
		m.log.Warn("the market sent instructions that cannot be read", "unreadable", bad, "read", len(out), "first", first)
	}
	if err == nil && bad > 0 && len(out) == 0 {
		err = fmt.Errorf("none of %d instructions can be read: %w", bad, first)
	}
	return out, raw, err
}

// Obligations gets the contracts with service in the interval; zero instants
// leave a side open. Contracts that cannot be read are named in the error,
// the others come with it.
func (m *Market) Obligations(ctx context.Context, since, to time.Time) ([]flex.Obligation, error) {
	q := url.Values{}
	for name, t := range map[string]time.Time{m.profile.Lists.ObligationsSince: since, m.profile.Lists.ObligationsTo: to} {
		if name != "" && !t.IsZero() {
			q.Set(name, t.In(m.profile.Zone.Location).Format(time.DateOnly))
		}
	}
	path := string(m.profile.Paths.Obligations)
	list, _, err := m.list(ctx, m.address(path, q), path)
	now, _ := m.wall.Now()
	out, bad := m.profile.obligations(list, now)
	return out, errors.Join(err, bad)
}

// Competition gets a tender.
func (m *Market) Competition(ctx context.Context, id flex.CompetitionID) (flex.Competition, error) {
	raw, err := m.one(ctx, m.profile.Paths.Competition, string(id))
	if err != nil {
		return flex.Competition{}, err
	}
	now, _ := m.wall.Now()
	return m.profile.competition(raw, now)
}

// ObligationAssets gets all assets of a contract.
func (m *Market) ObligationAssets(ctx context.Context, id flex.ObligationID) ([]flex.MarketAsset, error) {
	path, err := m.profile.Paths.ObligationAssets.with(string(id))
	if err != nil {
		return nil, err
	}
	list, _, err := m.list(ctx, m.address(path, nil), path)
	now, _ := m.wall.Now()
	out, bad := m.profile.assets(list, now)
	for i := range out {
		out[i].Obligations = []flex.ObligationID{id}
	}
	return out, errors.Join(err, bad)
}

// Asset gets one asset.
func (m *Market) Asset(ctx context.Context, id flex.AssetID) (flex.MarketAsset, error) {
	raw, err := m.one(ctx, m.profile.Paths.Asset, string(id))
	if err != nil {
		return flex.MarketAsset{}, err
	}
	now, _ := m.wall.Now()
	return m.profile.asset(raw, now)
}

// one fetches a single document by id.
func (m *Market) one(ctx context.Context, p idPath, id string) (json.RawMessage, error) {
	path, err := p.with(id)
	if err != nil {
		return nil, err
	}
	raw, _, err := m.api.get(ctx, m.address(path, nil), maxReply)
	return raw, err
}

// address is a URL of the market.
func (m *Market) address(path string, q url.Values) string {
	if len(q) == 0 {
		return m.at.base + path
	}
	return m.at.base + path + "?" + q.Encode()
}

// with puts an id into the path. Ids come from documents: one that would
// lead elsewhere is refused.
func (p idPath) with(id string) (string, error) {
	if id == "" || len(id) > maxID || !visible(id) || strings.ContainsAny(id, `/\%;`) || strings.Trim(id, ".") == "" {
		return "", flex.Refuse(flex.ReasonBadField, "the id %q cannot be asked for", clip(id))
	}
	return strings.Replace(string(p), "{id}", url.PathEscape(id), 1), nil
}
