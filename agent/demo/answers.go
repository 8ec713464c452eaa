package demo

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Heard is an accept or reject that the market took.
type Heard struct {
	ID, Word string
	Revision int
	Reason   string
	Comment  string
	At       time.Time
	Times    int // how often it was said
}

// Hook is a subscription of a webhook.
type Hook struct {
	ID     string `json:"id"`
	URL    string `json:"url"`
	Event  string `json:"event"`
	Active bool   `json:"active"`
}

// Variation is a declaration that an asset is not available.
type Variation struct {
	Asset     string    `json:"asset_id"`
	From      time.Time `json:"from"`
	To        time.Time `json:"to"`
	Available bool      `json:"available"`
	Reason    string    `json:"reason"`
}

// talk is what an account may say. The real market publishes no contract for
// it, so it is off unless a test turns it on, and the guess is the one of the
// embedded profile.
type talk struct {
	on         bool
	heard      []Heard
	hooks      []Hook
	made       int
	variations map[string]Variation
}

// Talk makes the market understand answers, subscriptions and declarations.
func (m *Market) Talk() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.talk.on, m.talk.variations = true, map[string]Variation{}
}

// Heard lists the answers taken, in the order they first came.
func (m *Market) Heard() []Heard {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.talk.heard)
}

// Hooks lists the subscriptions.
func (m *Market) Hooks() []Hook {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.talk.hooks)
}

// Variations lists the declarations in force, by the account's own id.
func (m *Market) Variations() map[string]Variation {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make(map[string]Variation, len(m.talk.variations))
	for k, v := range m.talk.variations {
		out[k] = v
	}
	return out
}

// talks answers what an account says; false when the address is another's.
func (m *Market) talks(w http.ResponseWriter, r *http.Request, path []string) bool {
	if len(path) < 3 || !m.listens() {
		return false
	}
	route, rest := strings.Join(path[:3], "/"), path[3:]
	var do func(http.ResponseWriter, *http.Request, []string)
	switch {
	case route == "dispatch/v1/instructions" && len(rest) > 0:
		do = m.hear
	case route == "webhook/v1/subscriptions":
		do = m.hook
	case route == "availability/v1/variations" && len(rest) == 1:
		do = m.vary
	default:
		return false
	}
	if !m.authorised(r) {
		w.Header().Set("WWW-Authenticate", "Bearer")
		fail(w, http.StatusUnauthorized, "bearer token missing, unknown or expired")
		return true
	}
	do(w, r, rest)
	return true
}

func (m *Market) listens() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.talk.on
}

// said is one answer as it comes over the wire.
type said struct {
	ID       string `json:"id"`
	Revision int    `json:"revision"`
	Reason   string `json:"reason"`
	Comment  string `json:"comment"`
}

// hear takes an accept or a reject, of one instruction or of several.
func (m *Market) hear(w http.ResponseWriter, r *http.Request, rest []string) {
	word := rest[len(rest)-1]
	if r.Method != http.MethodPost || len(rest) > 2 || word != "accept" && word != "reject" {
		fail(w, http.StatusMethodNotAllowed, "post to accept or reject")
		return
	}
	var body struct {
		said
		Instructions []said `json:"instructions"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&body); err != nil {
		fail(w, http.StatusBadRequest, "want JSON")
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(rest) == 2 {
		body.ID = rest[0]
		if status, detail := m.take(word, body.said); status != http.StatusOK {
			fail(w, status, detail)
			return
		}
		reply(w, map[string]string{"id": body.ID, "status": word + "ed"})
		return
	}
	failed := []map[string]any{}
	for _, s := range body.Instructions {
		if status, detail := m.take(word, s); status != http.StatusOK {
			failed = append(failed, map[string]any{"id": s.ID, "status": status, "detail": detail})
		}
	}
	reply(w, map[string]any{"failed": failed})
}

// take keeps an answer: one for each instruction, the first word counts.
func (m *Market) take(word string, s said) (status int, detail string) {
	if m.listedAt(s.ID) < 0 {
		return http.StatusNotFound, "no such instruction"
	}
	if word == "reject" && s.Reason == "" {
		return http.StatusBadRequest, "a rejection needs a reason"
	}
	i := slices.IndexFunc(m.talk.heard, func(h Heard) bool { return h.ID == s.ID && h.Revision == s.Revision })
	if i < 0 {
		m.talk.heard = append(m.talk.heard, Heard{ID: s.ID, Word: word, Revision: s.Revision, Reason: s.Reason,
			Comment: s.Comment, At: m.now(), Times: 1})
		return http.StatusOK, ""
	}
	m.talk.heard[i].Times++
	if m.talk.heard[i].Word == word {
		return http.StatusConflict, "answered like this before"
	}
	return http.StatusUnprocessableEntity, "answered otherwise before"
}

// hook lists, makes and removes subscriptions.
func (m *Market) hook(w http.ResponseWriter, r *http.Request, rest []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case r.Method == http.MethodGet && len(rest) == 0:
		reply(w, append([]Hook{}, m.talk.hooks...))
	case r.Method == http.MethodPost && len(rest) == 0:
		var h Hook
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&h); err != nil || h.URL == "" || h.Event == "" {
			fail(w, http.StatusBadRequest, "want url and event as JSON")
			return
		}
		m.talk.made++
		h.ID, h.Active = fmt.Sprintf("hook%d", m.talk.made), true
		m.talk.hooks = append(m.talk.hooks, h)
		m.webhook = h.URL
		reply(w, h)
	case r.Method == http.MethodDelete && len(rest) == 1:
		i := slices.IndexFunc(m.talk.hooks, func(h Hook) bool { return h.ID == rest[0] })
		if i < 0 {
			fail(w, http.StatusNotFound, "no such subscription")
			return
		}
		m.talk.hooks = slices.Delete(m.talk.hooks, i, i+1)
		w.WriteHeader(http.StatusNoContent)
	default:
		fail(w, http.StatusMethodNotAllowed, "list, post or delete")
	}
}

// vary keeps a declaration under the account's own id, or forgets it.
func (m *Market) vary(w http.ResponseWriter, r *http.Request, rest []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch r.Method {
	case http.MethodPut:
		var v Variation
		err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&v)
		if err != nil || !v.From.Before(v.To) || !slices.ContainsFunc(m.assets, func(a Asset) bool { return a.ID == v.Asset }) {
			fail(w, http.StatusBadRequest, "want asset_id, from and to as JSON")
			return
		}
		m.talk.variations[rest[0]] = v
		reply(w, v)
	case http.MethodDelete:
		if _, ok := m.talk.variations[rest[0]]; !ok {
			fail(w, http.StatusNotFound, "no such declaration")
			return
		}
		delete(m.talk.variations, rest[0])
		w.WriteHeader(http.StatusNoContent)
	default:
		fail(w, http.StatusMethodNotAllowed, "put or delete")
	}
}
