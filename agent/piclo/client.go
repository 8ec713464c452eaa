package piclo

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"flexd/agent/flex"
)

// Bounds of every exchange with the market.
const (
	maxReply     = 8 << 20
	maxSmall     = 64 << 10 // token and key documents
	callTimeout  = 30 * time.Second
	maxRedirects = 3

	defaultRetry = 5 * time.Second  // after a failure that names no wait
	busyRetry    = 30 * time.Second // after 429 without Retry-After
	maxRetry     = 5 * time.Minute  // a stop may wait: longer is not believed
)

// StatusError is an answer that trying again soon will not change.
type StatusError struct {
	Code int
	What string // method and path
}

// Error says what to look at.
func (e *StatusError) Error() string {
	hint := ""
	switch e.Code {
	case http.StatusUnauthorized:
		hint = ": check market.client_id and market.api_key"
	case http.StatusForbidden:
		hint = ": the account lacks the permission, ask the market's support for it"
	case http.StatusNotFound:
		hint = ": check market.base_url and the profile's paths"
	}
	return fmt.Sprintf("the market answers %s with %d %s%s", e.What, e.Code, http.StatusText(e.Code), hint)
}

// Is lets other rooms tell that there is nothing.
func (e *StatusError) Is(target error) bool {
	return target == flex.ErrNothingThere && e.Code == http.StatusNotFound
}

// client makes authorised requests to the market.
type client struct {
	http  *http.Client
	token *tokens
}

// safeTransport is ours alone: bounded in every phase, TLS 1.2 or newer, and
// without a proxy, since the environment is no second configuration. The
// server's certificate is judged at the instant that certAt gives; nil: now.
func safeTransport(certAt func() time.Time) *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, Time: certAt},
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  20 * time.Second,
		ExpectContinueTimeout:  time.Second,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConnsPerHost:    4,
		MaxConnsPerHost:        32, // what hangs leaves room for the token and for polls
		MaxResponseHeaderBytes: 64 << 10,
		ForceAttemptHTTP2:      true,
	}
}

// safeClient bounds a client and keeps it at its origins. A given client is
// copied, never changed; certAt is for the transport that it lacks.
func safeClient(given *http.Client, at origins, certAt func() time.Time, heard Heard) *http.Client {
	c := &http.Client{}
	if given != nil {
		*c = *given
	}
	if c.Transport == nil {
		c.Transport = safeTransport(certAt)
	}
	if heard != nil {
		c.Transport = dated{c.Transport, heard}
	}
	if c.Timeout <= 0 || c.Timeout > callTimeout {
		c.Timeout = callTimeout
	}
	c.Jar = nil
	c.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if _, ours := at.of(r.URL); !ours {
			return fmt.Errorf("the market redirects to another origin: refused: %w", at.stranger(r.URL))
		}
		if len(via) > maxRedirects {
			return errors.New("the market redirects in circles")
		}
		// The library drops it between hosts; this one is ours as well.
		if token := via[0].Header.Get("Authorization"); token != "" {
			r.Header.Set("Authorization", token)
		}
		return nil
	}
	return c
}

// get fetches a URL of the market with the account's token, once more with a
// new token when the market says 401.
func (c *client) get(ctx context.Context, target string, limit int64) ([]byte, http.Header, error) {
	for attempt := 0; ; attempt++ {
		token, err := c.token.get(ctx)
		if err != nil {
			return nil, nil, err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
		if err != nil {
			return nil, nil, fmt.Errorf("market request: %w", err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		body, header, err := exchange(c.http, req, limit)
		var status *StatusError
		if attempt > 0 || !errors.As(err, &status) || status.Code != http.StatusUnauthorized {
			return body, header, err
		}
		c.token.reject(token)
	}
}

// exchange sends one request and reads a bounded answer. Compression is
// undone as a stream, so the bound holds for what it unpacks to.
func exchange(hc *http.Client, req *http.Request, limit int64) ([]byte, http.Header, error) {
	what := req.Method + " " + req.URL.Path
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "flexd")
	resp, err := hc.Do(req)
	if err != nil {
		return nil, nil, temporary(req.Context(), what, err)
	}
	defer resp.Body.Close() // read or abandoned
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		_, _ = io.CopyN(io.Discard, resp.Body, 4096) // lets the connection be used again
		return nil, nil, refusedBy(resp, what)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, nil, temporary(req.Context(), what, err)
	}
	if int64(len(body)) > limit {
		return nil, nil, fmt.Errorf("the market's answer to %s is larger than %d bytes", what, limit)
	}
	return bytes.TrimPrefix(body, byteOrderMark), resp.Header, nil
}

// temporary marks what may work at the next try. The URL is left out of the
// text: its query is nobody else's business.
func temporary(ctx context.Context, what string, err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	err = fmt.Errorf("%s: %w", what, err)
	if ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return err // we gave up ourselves
	}
	return &flex.RetryError{After: defaultRetry, Err: err}
}

// refusedBy turns a status into a temporary or a lasting error.
func refusedBy(resp *http.Response, what string) error {
	status := &StatusError{Code: resp.StatusCode, What: what}
	switch {
	case resp.StatusCode == http.StatusTooManyRequests:
		return &flex.RetryError{After: retryAfter(resp.Header, busyRetry), Err: status}
	case resp.StatusCode >= 500, resp.StatusCode == http.StatusRequestTimeout, resp.StatusCode == http.StatusTooEarly:
		return &flex.RetryError{After: retryAfter(resp.Header, defaultRetry), Err: status}
	}
	return status
}

// retryAfter reads RFC 9110 section 10.2.3: seconds or a date, measured
// against the answer's own date when it has one, since our clock may be off.
func retryAfter(h http.Header, otherwise time.Duration) time.Duration {
	v := h.Get("Retry-After")
	if v == "" {
		return otherwise
	}
	var wait time.Duration
	if n, err := strconv.ParseUint(v, 10, 31); err == nil {
		wait = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(v); err == nil {
		from, err := http.ParseTime(h.Get("Date"))
		if err != nil {
			from = time.Now()
		}
		wait = at.Sub(from)
	} else {
		return otherwise
	}
	return max(time.Second, min(wait, maxRetry))
}

// post sends a small JSON object without authorisation.
func post(ctx context.Context, hc *http.Client, target string, body any) ([]byte, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("market request: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("market request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	reply, _, err := exchange(hc, req, maxSmall)
	return reply, err
}
