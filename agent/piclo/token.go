package piclo

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"flexd/agent/flex"
	"flexd/agent/trust"
)

// Lives of the account's token.
const (
	unknownLife    = 10 * time.Minute // when the token does not say
	maxLife        = 24 * time.Hour
	renewBefore    = time.Minute
	credentialWait = time.Minute // after the market refused our credentials
	maxTokenText   = 16 << 10
)

// tokens keeps the account's bearer token. One caller at a time asks for a
// new one; the others wait for it.
type tokens struct {
	url     string
	http    *http.Client
	profile profileToken
	id      string
	key     func() (string, error)
	turn    chan struct{} // held by the one who asks

	mu      sync.Mutex
	text    string
	renewAt time.Time
	endsAt  time.Time
	// After a failed request: nobody asks again before.
	notBefore time.Time
	lastErr   error
}

// get gives a token that is good for now, renewing it early. While a renewal
// fails, the old one serves until its end.
func (t *tokens) get(ctx context.Context) (string, error) {
	if t.profile.Kind == tokenStatic {
		return t.static()
	}
	if text, _, due := t.have(); !due {
		return text, nil
	}
	select {
	case t.turn <- struct{}{}:
	case <-ctx.Done():
		return "", fmt.Errorf("market token: %w", ctx.Err())
	}
	defer func() { <-t.turn }()
	text, alive, due := t.have()
	if !due {
		return text, nil
	}
	fresh, err := t.renew(ctx)
	if err != nil && alive {
		return text, nil
	}
	return fresh, err
}

// static is the account's key itself, where the market hands out no tokens.
func (t *tokens) static() (string, error) {
	key, err := t.key()
	if err != nil {
		return "", fmt.Errorf("market.api_key cannot be read: %w", err)
	}
	if key = strings.TrimSpace(key); key == "" || len(key) > maxTokenText || !plainASCII(key) {
		return "", errors.New("market.api_key holds no usable token: one line of plain text without blanks is needed")
	}
	return key, nil
}

// have tells what is there: is it still alive, and is it due for renewal.
func (t *tokens) have() (text string, alive, due bool) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text, t.text != "" && now.Before(t.endsAt), t.text == "" || !now.Before(t.renewAt)
}

// reject forgets a token that the market did not accept.
func (t *tokens) reject(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.text == text {
		t.text = ""
	}
}

// renew asks for a token, unless it failed a moment ago.
func (t *tokens) renew(ctx context.Context) (string, error) {
	t.mu.Lock()
	wait, last := time.Until(t.notBefore), t.lastErr
	t.mu.Unlock()
	if wait > 0 {
		return "", &flex.RetryError{After: wait, Err: last}
	}
	began := time.Now()
	text, err := t.ask(ctx)
	if err != nil {
		return "", t.failed(ctx, err)
	}
	life := lifeOf(text, time.Now())
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text, t.lastErr, t.notBefore = text, nil, time.Time{}
	t.endsAt, t.renewAt = began.Add(life), began.Add(early(life))
	return text, nil
}

func (t *tokens) ask(ctx context.Context) (string, error) {
	key, err := t.key()
	if err != nil {
		return "", fmt.Errorf("market.api_key cannot be read: %w", err)
	}
	raw, err := post(ctx, t.http, t.url, map[string]string{
		string(t.profile.ClientID): t.id,
		string(t.profile.APIKey):   strings.TrimSpace(key),
	})
	if err != nil {
		return "", err
	}
	doc, err := decodeJSON(raw)
	if err != nil {
		return "", fmt.Errorf("the market's token answer is %w", err)
	}
	v, _, _ := t.profile.Pointer.find(doc)
	text, ok := v.(string)
	if !ok || text == "" || len(text) > maxTokenText || !plainASCII(text) {
		return "", errors.New("the market's token answer holds no usable token: check the profile's token.pointer")
	}
	return text, nil
}

// failed sets the pace for the next request and makes every failure one that
// may pass: credentials can be mended while we run.
func (t *tokens) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("market token: %w", err)
	}
	wait := defaultRetry // an answer that is no token may be a proxy's page
	var status *StatusError
	if errors.As(err, &status) {
		wait = credentialWait
	}
	var retry *flex.RetryError
	if errors.As(err, &retry) {
		wait, err = retry.After, retry.Err
	}
	err = fmt.Errorf("market token: %w", err)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.notBefore, t.lastErr = time.Now().Add(wait), err
	return &flex.RetryError{After: wait, Err: err}
}

// early is the age at which a token is renewed: at 80 % of its life or a
// minute before its end, whichever comes first, but not before half of it.
func early(life time.Duration) time.Duration {
	return max(life/2, min(life*4/5, life-renewBefore))
}

// lifeOf reads a JWT's own account of its life. The signature is not our
// concern: the token came over TLS from the market and goes back there.
func lifeOf(text string, now time.Time) time.Duration {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return unknownLife
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return unknownLife
	}
	var payload map[string]any
	if json.Unmarshal(raw, &payload) != nil {
		return unknownLife
	}
	c, err := trust.ParseClaims(payload)
	if err != nil || c.Expires.IsZero() {
		return unknownLife
	}
	from := now
	if !c.IssuedAt.IsZero() {
		from = c.IssuedAt // by the market's clock throughout: ours may be off
	}
	return max(time.Second, min(c.Expires.Sub(from), maxLife))
}
