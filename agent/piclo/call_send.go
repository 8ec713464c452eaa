package piclo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"

	"flexd/agent/flex"
)

// maxAnswer bounds what is read of the reply to a call.
const maxAnswer = 1 << 20

// answered is what came back: the status was good, the body may be broken
// all the same.
type answered struct {
	verdict verdict
	body    []byte
	cut     error // why the body is not whole
}

// callError is a call that the market did not take.
type callError struct {
	StatusError
	Detail string // the market's own words
}

// Error adds the market's words to what the status says.
func (e *callError) Error() string {
	if e.Detail == "" {
		return e.StatusError.Error()
	}
	return e.StatusError.Error() + ": it says " + fmt.Sprintf("%q", e.Detail)
}

// Unwrap gives the status.
func (e *callError) Unwrap() error { return &e.StatusError }

// do makes one call. The error is a *flex.RetryError when the same call may
// work later; it is flex.ErrUncertain when the market may have taken it
// without our hearing so, and flex.ErrNotSent when it has certainly not.
func (m *Market) do(ctx context.Context, c *call, v values) (answered, error) {
	path, err := c.target(v)
	if err != nil {
		return answered{}, err
	}
	return m.doAt(ctx, c, v, m.at.base+path)
}

// doAt makes a call to a URL that is known to be the market's.
func (m *Market) doAt(ctx context.Context, c *call, v values, target string) (answered, error) {
	var raw []byte
	if c.body != nil {
		var err error
		if raw, err = c.body.marshal(v); err != nil {
			return answered{}, err
		}
	}
	return m.api.send(ctx, c, target, raw)
}

// send makes a call with the account's token, once more with a new token
// when the market says 401: that request was refused before it was read, so
// it has done nothing.
func (c *client) send(ctx context.Context, what *call, target string, raw []byte) (answered, error) {
	for attempt := 0; ; attempt++ {
		token, err := c.token.get(ctx)
		if err != nil {
			return answered{}, retryable(fmt.Errorf("%w: %w", flex.ErrNotSent, err))
		}
		got, err := c.once(ctx, what, target, raw, token)
		var status *StatusError
		if !errors.As(err, &status) || status.Code != http.StatusUnauthorized {
			return got, err
		}
		c.token.reject(token)
		if attempt > 0 {
			return got, err
		}
	}
}

// retryable makes an error temporary, with the wait that it knows of.
func retryable(err error) error {
	var retry *flex.RetryError
	after := defaultRetry
	if errors.As(err, &retry) {
		after = retry.After
	}
	return &flex.RetryError{After: after, Err: err}
}

// once sends one request and judges its status. A redirect is not followed:
// it would turn an answer into a mere question (RFC 9110 section 15.4), whose
// success says nothing.
func (c *client) once(ctx context.Context, what *call, target string, raw []byte, token string) (answered, error) {
	hc := *c.http
	hc.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	var sent atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }})
	req, err := newCall(traced, what.method, target, raw)
	if err != nil {
		return answered{}, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	name := req.Method + " " + req.URL.Path
	resp, err := hc.Do(req)
	if err != nil {
		return answered{}, lost(ctx, name, err, sent.Load())
	}
	defer resp.Body.Close() // read or abandoned
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	got := answered{verdict: what.meaning(resp.StatusCode), body: body, cut: err}
	if err == nil && len(body) > maxAnswer {
		got.body, got.cut = nil, fmt.Errorf("the market's answer to %s is larger than %d bytes", name, maxAnswer)
	}
	if got.verdict == verdictTaken || got.verdict == verdictAlready {
		return got, nil
	}
	return got, what.refused(resp, name, body)
}

// newCall makes the request. Without a body it says so, as some servers want
// a length even of nothing.
func newCall(ctx context.Context, method, target string, raw []byte) (*http.Request, error) {
	var body io.Reader = http.NoBody
	if raw != nil {
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, fmt.Errorf("market request: %w", err)
	}
	if raw != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "flexd")
	return req, nil
}

// lost is a request without an answer. Once its head was written the market
// may have acted on it, even when it was us who gave up waiting.
func lost(ctx context.Context, name string, err error, sent bool) error {
	mark := flex.ErrNotSent
	if sent {
		mark = flex.ErrUncertain
	}
	err = transient(ctx, name, err)
	return retryable(fmt.Errorf("%w: %w", mark, err))
}

// transient is the cause without the wait around it.
func transient(ctx context.Context, name string, err error) error {
	err = temporary(ctx, name, err)
	var retry *flex.RetryError
	if errors.As(err, &retry) {
		return retry.Err
	}
	return err
}

// printable makes an outside text fit for a log line.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if !visible(string(r)) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, " "))
	if r := []rune(s); len(r) > 200 {
		s = string(r[:200])
	}
	return s
}

// refused turns a status into an error. A gateway that waited in vain does
// not know what became of the request.
func (c *call) refused(resp *http.Response, name string, body []byte) error {
	status := &callError{StatusError: StatusError{Code: resp.StatusCode, What: name}}
	if doc, err := decodeJSON(body); err == nil {
		if v, _, ok := c.why.find(doc); ok {
			status.Detail = printable(fmt.Sprint(v))
		}
	}
	if c.meaning(resp.StatusCode) == verdictFinal {
		return status
	}
	var err error = status
	wait := defaultRetry
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		wait = credentialWait
	case http.StatusTooManyRequests:
		wait = busyRetry
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		err = fmt.Errorf("%w: %w", flex.ErrUncertain, status)
	}
	return &flex.RetryError{After: retryAfter(resp.Header, wait), Err: err}
}
