package piclo

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
)

func TestTheTokenNeverLeavesTheOrigin(t *testing.T) {
	leaked := make(chan string, 10)
	evil := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { leaked <- r.Header.Get("Authorization") }))
	defer evil.Close()
	srv := newFakeMarket(t)
	srv.on("/dispatch/v1/instructions/", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, evil.URL, http.StatusTemporaryRedirect)
	})
	if _, _, err := open(t, srv.URL).List(t.Context(), testNow); err == nil || !strings.Contains(err.Error(), "another origin") {
		t.Errorf("redirect: %v", err)
	}
	if _, _, err := open(t, srv.URL).Fetch(t.Context(), evil.URL+"/dispatch/v1/instructions/"); err == nil {
		t.Error("a foreign data_url was fetched")
	}
	select {
	case h := <-leaked:
		t.Errorf("the foreign server was asked, with %q", h)
	default:
	}
}

func TestARedirectWithinTheOriginIsFollowedAFewTimes(t *testing.T) {
	srv := newFakeMarket(t)
	srv.on("/dispatch/v1/instructions/", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/v2/", http.StatusFound) })
	srv.text("/v2/", `[{"id":"a"}]`)
	if got, _, err := open(t, srv.URL).List(t.Context(), testNow); err != nil || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
	srv.on("/v2/", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/v2/", http.StatusFound) })
	if _, _, err := open(t, srv.URL).List(t.Context(), testNow); err == nil {
		t.Error("a circle of redirects was followed to its end")
	}
}

func TestACompressedBombWithoutEndIsCutAtTheBound(t *testing.T) {
	srv := newFakeMarket(t)
	srv.on("/dispatch/v1/instructions/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		zw, _ := gzip.NewWriterLevel(w, gzip.BestSpeed)
		for chunk := bytes.Repeat([]byte(" "), 1<<20); r.Context().Err() == nil; {
			if _, err := zw.Write(chunk); err != nil {
				return
			}
		}
	})
	if _, _, err := open(t, srv.URL).List(t.Context(), testNow); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("%v", err)
	}
}

func TestWhichFailuresMayPass(t *testing.T) {
	for code, temporary := range map[int]bool{500: true, 502: true, 503: true, 429: true, 408: true, 400: false, 403: false, 404: false, 410: false} {
		srv := newFakeMarket(t)
		srv.on("/dispatch/v1/instructions/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
		_, _, err := open(t, srv.URL).List(t.Context(), testNow)
		var retry *flex.RetryError
		var status *StatusError
		if errors.As(err, &retry) != temporary || !errors.As(err, &status) || status.Code != code {
			t.Errorf("%d: %v", code, err)
		}
	}
}

func TestALostConnectionMayPassAndGivingUpIsNoFailureOfTheMarket(t *testing.T) {
	srv := newFakeMarket(t)
	m := open(t, srv.URL)
	hang := make(chan struct{})
	srv.on("/dispatch/v1/instructions/", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	var retry *flex.RetryError
	if _, _, err := m.List(ctx, testNow); !errors.Is(err, context.Canceled) || errors.As(err, &retry) {
		t.Errorf("given up: %v", err)
	}
	close(hang)
	srv.Close()
	if _, _, err := m.List(t.Context(), testNow); !errors.As(err, &retry) {
		t.Errorf("market gone: %v", err)
	}
}
