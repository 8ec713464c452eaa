package ingress

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"flexd/agent/flex"
)

// serve answers one request.
func (w *Webhook) serve(rw http.ResponseWriter, r *http.Request) {
	defer func() {
		if f := recover(); f != nil {
			w.log.Error("a fault while a webhook request was served", "fault", f, "stack", string(debug.Stack()))
			answer{status: http.StatusServiceUnavailable, retry: retrySoon, text: "internal fault, send it again"}.write(rw)
		}
	}()
	received := time.Now().UTC()
	remote, named := proxies(w.cfg.TrustedProxies).source(r)
	src, source := sourceOf(remote)
	alone := named || !w.shared(remote)
	if alone && r.Method == http.MethodPost && w.fails.blocked(src, received) {
		refuse(rw, answer{status: http.StatusTooManyRequests, retry: time.Second, text: "too many notifications from here were not authentic"})
		return
	}
	if w.crowd.over(r.Context()) {
		refuse(rw, answer{status: http.StatusServiceUnavailable, retry: retrySoon, text: "too many connections from here at once"})
		return
	}
	if a, ok := w.admit(r, received); !ok {
		refuse(rw, a)
		return
	}
	if r.Method != http.MethodPost {
		w.ping(rw, r)
		return
	}
	body, a, ok := w.read(rw, r)
	if !ok {
		refuse(rw, a)
		return
	}
	if len(body) == 0 && (w.cfg.Signed == nil || !w.cfg.Signed(r.Header)) {
		w.ping(rw, r)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), handleTime)
	defer cancel()
	a = answerTo(w.routes[r.URL.Path].Accept(ctx, flex.Envelope{
		Door: flex.DoorWebhook, Received: received, Source: source, Shared: !alone, Header: r.Header, Body: body,
	}))
	if a.failed && alone {
		w.fails.note(src, received)
	}
	a.write(rw)
}

// refuse answers without reading the body, and ends the connection: the rest
// of it is nobody's.
func refuse(rw http.ResponseWriter, a answer) {
	rw.Header().Set("Connection", "close")
	a.write(rw)
}

// admit judges what can be judged without the body.
func (w *Webhook) admit(r *http.Request, now time.Time) (answer, bool) {
	if !w.rate.AllowN(now, 1) {
		return answer{status: http.StatusTooManyRequests, retry: time.Second, text: "too many requests"}, false
	}
	if w.routes[r.URL.Path] == nil {
		return answer{status: http.StatusNotFound, text: "there is nothing here"}, false
	}
	if r.Method != http.MethodPost && r.Method != http.MethodGet && r.Method != http.MethodHead {
		return answer{status: http.StatusMethodNotAllowed, text: "notifications are posted"}, false
	}
	if countOf(r.Header) > maxHeaders {
		return answer{status: http.StatusRequestHeaderFieldsTooLarge, text: "too many headers"}, false
	}
	if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return answer{status: http.StatusUnsupportedMediaType, text: "compressed bodies are not taken"}, false
	}
	if r.ContentLength > maxBody {
		drain(r)
		return answer{status: http.StatusRequestEntityTooLarge, text: "the body is larger than 1 MiB"}, false
	}
	return answer{}, true
}

// drain reads on for a while, so that a sender that is a little too large hears
// the answer instead of a reset connection. The read deadline bounds it.
func drain(r *http.Request) { _, _ = io.CopyN(io.Discard, r.Body, maxBody) }

// read takes the body within its bounds. What is small needs no place; beyond
// that there are places for a few, and the slowest loses its own.
func (w *Webhook) read(rw http.ResponseWriter, r *http.Request) ([]byte, answer, bool) {
	from := http.MaxBytesReader(rw, r.Body, maxBody)
	body, err := io.ReadAll(io.LimitReader(from, smallBody+1))
	if err == nil && len(body) > smallBody {
		w.crowd.grow(r.Context())
		var rest []byte
		rest, err = io.ReadAll(from)
		body = append(body, rest...)
	}
	var large *http.MaxBytesError
	switch {
	case err == nil:
		w.crowd.whole(r.Context())
		return body, answer{}, true
	case errors.As(err, &large):
		drain(r)
		return nil, answer{status: http.StatusRequestEntityTooLarge, text: "the body is larger than 1 MiB"}, false
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, answer{status: http.StatusRequestTimeout, text: "the body came too slowly"}, false
	default:
		return nil, answer{status: http.StatusBadRequest, text: "the body ended early"}, false
	}
}

func countOf(h http.Header) int {
	n := 0
	for _, values := range h {
		n += len(values)
	}
	return n
}
