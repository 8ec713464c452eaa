package piclo

import (
	"net/http"
	"time"
)

// Heard takes the date of an answer that was asked for at sent and came at got.
type Heard func(date, sent, got time.Time)

// dated tells the date of every answer. One from a cache is none.
type dated struct {
	next  http.RoundTripper
	heard Heard
}

// RoundTrip passes the request on.
func (d dated) RoundTrip(req *http.Request) (*http.Response, error) {
	sent := time.Now()
	resp, err := d.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil && resp.Header.Get("Age") == "" && at.Year() >= 2000 && at.Year() < 2200 {
		d.heard(at, sent, time.Now())
	}
	return resp, nil
}

// CloseIdleConnections closes those of the transport behind.
func (d dated) CloseIdleConnections() {
	if c, ok := d.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
