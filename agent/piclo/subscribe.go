package piclo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"flexd/agent/flex"
)

// Bounds of the account's list of subscriptions.
const (
	maxSubscriptions     = 1000
	maxSubscriptionPages = 20
)

// profileSubscription says how the webhook is managed by a program.
type profileSubscription struct {
	Use    onOff          `yaml:"use"`
	Create *subscribeCall `yaml:"create"`
	List   *listCall      `yaml:"list"`
	Remove *removeCall    `yaml:"remove"`
	Items  pointers       `yaml:"items"`
	Next   pointers       `yaml:"next"`
	ID     pointers       `yaml:"id"`
	URL    pointers       `yaml:"url"`
	Event  pointers       `yaml:"event"`
	Active pointers       `yaml:"active"`
	Manual []word         `yaml:"manual"` // what a person does instead
}

// check finds what does not fit together.
func (p *profileSubscription) check() []string {
	if p.Use != useOn {
		return nil
	}
	var out []string
	if p.Create == nil || p.Create.off || p.List == nil || p.List.off || p.Remove == nil || p.Remove.off {
		out = append(out, "subscription.use is on: it needs the calls subscription.create, list and remove")
	}
	if len(p.Items) == 0 || len(p.ID) == 0 || len(p.URL) == 0 {
		out = append(out, "subscription.use is on: it needs subscription.items, id and url")
	}
	return out
}

// Subscription is a webhook as the market has it.
type Subscription struct {
	ID     string `json:"id"`
	URL    string `json:"url"`
	Event  string `json:"event,omitempty"`
	Active bool   `json:"active"` // true when the market does not say
	// Others are, after Subscribe, the account's other URLs for the same
	// event. They are told, never removed: another site may live on them.
	Others []Subscription `json:"others,omitempty"`
}

// Subscribes tells whether the market lets a program manage the webhook.
func (m *Market) Subscribes() bool { return m.profile.Subscription.Use == useOn }

var errNoSubscription = fmt.Errorf("%w: the profile has no calls to manage the webhook", flex.ErrUnsupported)

// Subscriptions lists the account's webhooks, of every event.
func (m *Market) Subscriptions(ctx context.Context) ([]Subscription, error) {
	if !m.Subscribes() {
		return nil, errNoSubscription
	}
	p := m.profile.Subscription
	v := values{"event": string(m.profile.Notification.EventName)}
	path, err := p.List.target(v)
	if err != nil {
		return nil, err
	}
	plain, _, _ := strings.Cut(path, "?")
	var out []Subscription
	seen := map[string]bool{}
	for target := m.at.base + path; target != ""; {
		if len(seen) >= maxSubscriptionPages || seen[target] {
			return out, errors.New("the market's list of subscriptions goes in circles")
		}
		seen[target] = true
		got, err := m.doAt(ctx, &p.List.call, v, target)
		if err == nil && got.cut != nil {
			err = retryable(got.cut)
		}
		if err != nil {
			return out, err
		}
		page, err := p.read(got.body)
		if err != nil {
			return out, err
		}
		if out = append(out, page...); len(out) > maxSubscriptions {
			return nil, fmt.Errorf("the market lists more than %d subscriptions", maxSubscriptions)
		}
		if target, err = m.following(p.Next, got.body, target, plain); err != nil {
			return out, err
		}
	}
	return out, nil
}

// following is the address of the next page, held to the rules of every
// address in a document; "" at the end.
func (m *Market) following(next pointers, raw []byte, current, path string) (string, error) {
	doc, err := decodeJSON(raw)
	if err != nil {
		return "", err
	}
	v, _, ok := next.find(doc)
	link, isText := v.(string)
	if !ok || !isText {
		return "", nil
	}
	here, err := url.Parse(current)
	if err != nil {
		return "", fmt.Errorf("next page: %w", err)
	}
	there, err := here.Parse(link)
	if err != nil || len(link) > maxURL {
		return "", flex.Refuse(flex.ReasonForeignURL, "the link to the next page cannot be read")
	}
	return m.at.pin(there.String(), path)
}

// read reads one page.
func (p *profileSubscription) read(raw []byte) ([]Subscription, error) {
	list, err := listOf(raw, p.Items)
	if err != nil {
		return nil, fmt.Errorf("the market's subscriptions: %w", err)
	}
	out := make([]Subscription, 0, min(len(list), maxSubscriptions))
	for _, e := range list {
		s, err := p.one(e)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// one reads a subscription. It is shown to a person: what hides control
// characters is refused.
func (p *profileSubscription) one(raw json.RawMessage) (Subscription, error) {
	doc, err := decodeJSON(raw)
	if err != nil {
		return Subscription{}, err
	}
	s := Subscription{Active: true}
	for _, f := range []struct {
		at    pointers
		to    *string
		limit int
	}{{p.ID, &s.ID, maxID}, {p.URL, &s.URL, maxURL}, {p.Event, &s.Event, maxID}} {
		v, name, ok := f.at.find(doc)
		if !ok {
			continue
		}
		switch v.(type) {
		case string, json.Number:
			*f.to = fmt.Sprint(v)
		}
		if *f.to == "" || len(*f.to) > f.limit || !visible(*f.to) {
			return s, fmt.Errorf("a subscription's %s cannot be read", name)
		}
	}
	if s.ID == "" || s.URL == "" {
		return s, errors.New("a subscription has no id or no url: check the profile's subscription.id and url")
	}
	if v, _, ok := p.Active.find(doc); ok {
		s.Active = v == true || strings.EqualFold(fmt.Sprint(v), "active")
	}
	return s, nil
}

// Subscribe makes the market send its notifications to a URL. When it does
// so already, nothing is changed.
func (m *Market) Subscribe(ctx context.Context, hook string) (Subscription, error) {
	if !m.Subscribes() {
		return Subscription{}, errNoSubscription
	}
	if err := checkHook(hook); err != nil {
		return Subscription{}, err
	}
	found, ok, err := m.subscribed(ctx, hook)
	if err != nil || ok {
		return found, err
	}
	_, made := m.do(ctx, &m.profile.Subscription.Create.call,
		values{"url": hook, "event": string(m.profile.Notification.EventName)})
	if made != nil && !errors.Is(made, flex.ErrUncertain) {
		return Subscription{}, made
	}
	// The list tells what became of it, also when the answer was lost.
	found, ok, err = m.subscribed(ctx, hook)
	switch {
	case err != nil || ok:
		return found, err
	case made != nil:
		return Subscription{}, made
	}
	return Subscription{}, errors.New("the market took the subscription and does not list it: look at the account")
}

// subscribed looks for a URL among the subscriptions to our event.
func (m *Market) subscribed(ctx context.Context, hook string) (found Subscription, ok bool, err error) {
	all, err := m.Subscriptions(ctx)
	if err != nil {
		return found, false, err
	}
	var others []Subscription
	for _, s := range all {
		switch {
		case !m.ours(s):
		case sameURL(s.URL, hook) && (!ok || s.Active && !found.Active):
			found, ok = s, true
		case !sameURL(s.URL, hook):
			others = append(others, s)
		}
	}
	found.Others = others
	if ok && !found.Active {
		return found, true, fmt.Errorf("the subscription %s to this address is there and switched off: switch it on in the account, or unsubscribe first", found.ID)
	}
	return found, ok, nil
}

// ours tells whether a subscription is to our event. A market that names no
// event has only one.
func (m *Market) ours(s Subscription) bool {
	return s.Event == "" || s.Event == string(m.profile.Notification.EventName)
}

// Unsubscribe takes away the subscription with an id, or those of our event
// to a URL.
func (m *Market) Unsubscribe(ctx context.Context, idOrURL string) error {
	all, err := m.Subscriptions(ctx)
	if err != nil {
		return err
	}
	var errs []error
	n := 0
	for _, s := range all {
		if s.ID != idOrURL && (!m.ours(s) || !sameURL(s.URL, idOrURL)) {
			continue
		}
		n++
		_, err := m.do(ctx, &m.profile.Subscription.Remove.call, values{"id": s.ID, "url": s.URL, "event": s.Event})
		errs = append(errs, err)
	}
	if n == 0 {
		return fmt.Errorf("no subscription has the id or the url %q", clip(idOrURL))
	}
	return errors.Join(errs...)
}

// checkHook refuses an address that no market could call.
func checkHook(hook string) error {
	u, err := url.Parse(hook)
	if err != nil || len(hook) > maxURL || !plainASCII(hook) || u.Scheme != "https" && u.Scheme != "http" ||
		u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return fmt.Errorf(`the webhook's address %q: write it as "https://host/path"`, clip(hook))
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		return fmt.Errorf("the webhook's address %q is not encrypted: use https", clip(hook))
	}
	return nil
}

// sameURL compares addresses as a server would.
func sameURL(a, b string) bool {
	if a == b {
		return true
	}
	x, err1 := url.Parse(a)
	y, err2 := url.Parse(b)
	if err1 != nil || err2 != nil || x.Host == "" {
		return false
	}
	return strings.EqualFold(x.Scheme, y.Scheme) && hostPort(x) == hostPort(y) &&
		x.EscapedPath() == y.EscapedPath() && x.RawQuery == y.RawQuery
}

// ManualSteps are what a person does where the profile has no call.
func (m *Market) ManualSteps(hook string) []string {
	event := string(m.profile.Notification.EventName)
	out := []string{
		"sign in to the account whose API is " + m.at.base + "; the account needs machine-user credentials and, asked for separately, the dispatch permission: the market's support gives both",
	}
	for _, w := range m.profile.Subscription.Manual {
		out = append(out, string(w))
	}
	return append(out,
		"subscribe the endpoint "+hook+" to the event "+event,
		"do not subscribe it to the other dispatch webhook type, unless the market told you so for your competition: it is refused here",
		"remove older endpoints of this site from the event "+event+", or leave them knowingly: each is sent every notification",
		"ask for a test notification, and look with `flexd status` whether it arrived")
}
