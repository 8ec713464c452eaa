package demo

import (
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// maxBody bounds what the market reads of a request.
const maxBody = 64 << 10

// maxPaths bounds the table of request counts.
const maxPaths = 10_000

// ServeHTTP answers one request, as well or badly as it was told to.
func (m *Market) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	if key := r.Method + " " + r.URL.Path; len(m.requests) < maxPaths || m.requests[key] > 0 {
		m.requests[key]++
	}
	fault := m.strike(r)
	m.mu.Unlock()
	if fault.apply(w, r) {
		return
	}
	if !fault.spoils() {
		m.answer(w, r)
		return
	}
	good := newHeld()
	m.answer(good, r)
	fault.deliver(w, r, good)
}

// answer answers well.
func (m *Market) answer(w http.ResponseWriter, r *http.Request) {
	if !strings.HasSuffix(r.URL.Path, "/") {
		fail(w, http.StatusNotFound, "every address ends with a slash")
		return
	}
	path := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if m.talks(w, r, path) {
		return
	}
	if len(path) < 2 || len(path) > 4 {
		fail(w, http.StatusNotFound, "no such address")
		return
	}
	if path[0] == "authtoken" {
		m.token(w, r)
		return
	}
	if !m.authorised(r) {
		w.Header().Set("WWW-Authenticate", "Bearer")
		fail(w, http.StatusUnauthorized, "bearer token missing, unknown or expired")
		return
	}
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		fail(w, http.StatusMethodNotAllowed, "read only")
		return
	}
	m.get(w, path, r.URL.Query())
}

// get answers the addresses that list or show.
func (m *Market) get(w http.ResponseWriter, path []string, query url.Values) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rest := path[2:]
	switch route := path[0] + "/" + path[1]; {
	case route == "obligations/v1" && len(rest) == 0:
		m.listObligations(w, query)
	case route == "competitions/v1" && len(rest) == 1:
		show(w, m.competitions, func(c Competition) bool { return c.ID == rest[0] })
	case route == "assets/v1" && len(rest) == 1:
		show(w, m.assets, func(a Asset) bool { return a.ID == rest[0] })
	case route == "assets/v1" && len(rest) == 2 && rest[0] == "obligations":
		m.obligatedAssets(w, rest[1])
	case route == "webhook/v1" && len(rest) == 1 && rest[0] == "public-key":
		m.publicKey(w)
	case route == "dispatch/v1" && len(rest) == 1 && rest[0] == "instructions":
		m.instructions(w, query)
	default:
		fail(w, http.StatusNotFound, "no such address")
	}
}

// token issues a bearer token for the right credentials.
func (m *Market) token(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/authtoken/v1/" {
		fail(w, http.StatusNotFound, "no such address")
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		fail(w, http.StatusMethodNotAllowed, "post the credentials")
		return
	}
	var ask struct {
		ClientID string `json:"client_id"`
		APIKey   string `json:"api_key"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&ask); err != nil {
		fail(w, http.StatusBadRequest, "want client_id and api_key as JSON")
		return
	}
	id := subtle.ConstantTimeCompare([]byte(ask.ClientID), []byte(m.cfg.ClientID))
	if id&subtle.ConstantTimeCompare([]byte(ask.APIKey), []byte(m.cfg.APIKey)) != 1 {
		fail(w, http.StatusUnauthorized, "unknown client_id or wrong api_key")
		return
	}
	now := m.now()
	m.mu.Lock()
	secret := m.secret
	m.mu.Unlock()
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": ask.ClientID, "iat": now.Unix(), "exp": now.Add(m.life()).Unix(),
	}).SignedString(secret)
	if err != nil {
		fail(w, http.StatusInternalServerError, "cannot sign a token")
		return
	}
	reply(w, map[string]string{"token": text})
}

// authorised tells whether the request carries a token of ours that lives.
func (m *Market) authorised(r *http.Request) bool {
	text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return false
	}
	m.mu.Lock()
	secret := m.secret
	m.mu.Unlock()
	_, err := jwt.Parse(text, func(*jwt.Token) (any, error) { return secret, nil },
		jwt.WithValidMethods([]string{"HS256"}), jwt.WithExpirationRequired(), jwt.WithTimeFunc(m.now))
	return err == nil
}

// listObligations filters by competition, bid, and service dates.
func (m *Market) listObligations(w http.ResponseWriter, query url.Values) {
	since, err1 := day(query.Get("since"))
	to, err2 := day(query.Get("to"))
	if err1 != nil || err2 != nil {
		fail(w, http.StatusBadRequest, "since and to are dates or RFC 3339 times")
		return
	}
	out := []Obligation{}
	for _, o := range m.obligations {
		if c := query.Get("competition_id"); c != "" && c != o.Competition {
			continue
		}
		if b := query.Get("bid_id"); b != "" && b != o.Bid {
			continue
		}
		if since != "" && o.EndDate <= since || to != "" && o.StartDate > to {
			continue
		}
		out = append(out, o)
	}
	reply(w, out)
}

// obligatedAssets lists the assets of one obligation.
func (m *Market) obligatedAssets(w http.ResponseWriter, id string) {
	i := slices.IndexFunc(m.obligations, func(o Obligation) bool { return o.ID == id })
	if i < 0 {
		fail(w, http.StatusNotFound, "no such obligation")
		return
	}
	out := []Asset{}
	for _, a := range m.assets {
		if slices.Contains(m.obligations[i].Assets, a.ID) {
			out = append(out, a)
		}
	}
	reply(w, out)
}

// instructions lists a notification's set, or everything, with filters.
func (m *Market) instructions(w http.ResponseWriter, query url.Values) {
	out := []json.RawMessage{}
	if name := query.Get("set"); name != "" {
		ids, known := m.sets[name]
		if !known || len(query) != 1 {
			fail(w, http.StatusNotFound, "no such set: the address in a notification is complete as it stands")
			return
		}
		for i, id := range ids {
			if at := m.listedAt(id); at >= 0 && i < len(ids)-m.hidden {
				out = append(out, m.listed[at].raw)
			}
		}
		reply(w, out)
		return
	}
	since, err := instant(query.Get("since"))
	if err != nil {
		fail(w, http.StatusBadRequest, "since is a date or an RFC 3339 time")
		return
	}
	for _, l := range m.listed {
		if o := query.Get("obligation_id"); o != "" && o != l.obligation {
			continue
		}
		if l.changed.Before(since) && !l.end.IsZero() && l.end.Before(since) {
			continue
		}
		out = append(out, l.raw)
	}
	reply(w, out)
}

// instant reads a date or a time; zero when there is none.
func instant(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.DateOnly, text); err == nil {
		return t, nil
	}
	return time.Parse(time.RFC3339, text)
}

// day is instant as a date, which compares as text.
func day(text string) (string, error) {
	t, err := instant(text)
	if err != nil || t.IsZero() {
		return "", err
	}
	return t.Format(time.DateOnly), nil
}

// show answers with the one object that matches.
func show[T any](w http.ResponseWriter, all []T, match func(T) bool) {
	i := slices.IndexFunc(all, match)
	if i < 0 {
		fail(w, http.StatusNotFound, "no such object")
		return
	}
	reply(w, all[i])
}

// reply sends JSON.
func reply(w http.ResponseWriter, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		fail(w, http.StatusInternalServerError, "cannot encode the answer")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // the client has gone; there is nobody to tell
}

// fail sends an error the way the market's framework does.
func fail(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "{\"detail\":%q}", detail)
}
