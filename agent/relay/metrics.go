package relay

import (
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// outcomes are what can become of a request that reached this room; the set is
// closed, so that nobody outside can make labels.
type outcome int

const (
	accepted outcome = iota
	tooLarge
	tooMany
	brokerAway
	unprovenTopic
	queueFull
	noAnswer
	outcomes
)

// labels of the outcomes: the status that the sender was told, and why.
var labels = [outcomes][2]string{
	accepted: {"202", "acknowledged"}, tooLarge: {"413", "too_large"}, tooMany: {"503", "source_limit"},
	brokerAway: {"503", "broker_away"}, unprovenTopic: {"503", "topic_unproven"}, queueFull: {"503", "queue_full"},
	noAnswer: {"503", "no_acknowledgement"},
}

// bounds of the histogram, in seconds.
var bounds = [...]float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}

// counts are what a relay counts.
type counts struct {
	log         *slog.Logger
	requests    [outcomes]atomic.Uint64
	connections atomic.Uint64
	beats       atomic.Uint64
	inFlight    atomic.Int64

	mu       sync.Mutex
	acked    uint64
	failed   uint64
	buckets  [len(bounds)]uint64
	duration time.Duration
	alarms   map[string]bool
}

func newCounts(log *slog.Logger) *counts { return &counts{log: log, alarms: map[string]bool{}} }

// published counts one publish and how long its acknowledgement took.
func (c *counts) published(took time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.failed++
		return
	}
	c.acked++
	c.duration += took
	for i, b := range bounds {
		if took.Seconds() <= b {
			c.buckets[i]++
		}
	}
}

// Raise and Clear make counts the webhook's health: there is no agent here to
// hold alarms.
func (c *counts) Raise(code, _, text string) {
	if c.alarm(code, true) {
		c.log.Error("an alarm of the webhook", "code", code, "text", text)
	}
}

// Clear ends an alarm.
func (c *counts) Clear(code, _ string) {
	if c.alarm(code, false) {
		c.log.Info("an alarm of the webhook is over", "code", code)
	}
}

// alarm tells whether that is news.
func (c *counts) alarm(code string, on bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	news := c.alarms[code] != on
	c.alarms[code] = on
	return news
}

// write gives the counts in Prometheus' text format.
func (c *counts) write(w io.Writer, l *link, started time.Time) {
	metric := func(name, kind, help string) { fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind) }
	gauge := func(name, help string, v float64) {
		metric(name, "gauge", help)
		fmt.Fprintf(w, "%s %g\n", name, v)
	}
	metric("flexd_relay_requests_total", "counter", "Requests to a known path, by the answer.")
	for i, l := range labels {
		fmt.Fprintf(w, "flexd_relay_requests_total{status=%q,why=%q} %d\n", l[0], l[1], c.requests[i].Load())
	}
	c.mu.Lock()
	acked, failed, buckets, sum, alarms := c.acked, c.failed, c.buckets, c.duration, 0
	for _, on := range c.alarms {
		if on {
			alarms++
		}
	}
	c.mu.Unlock()
	metric("flexd_relay_publishes_total", "counter", "Envelopes published, by what became of them.")
	fmt.Fprintf(w, "flexd_relay_publishes_total{result=\"acknowledged\"} %d\nflexd_relay_publishes_total{result=\"failed\"} %d\n", acked, failed)
	const h = "flexd_relay_publish_seconds"
	metric(h, "histogram", "Time until the broker acknowledged.")
	for i, b := range bounds {
		fmt.Fprintf(w, "%s_bucket{le=\"%g\"} %d\n", h, b, buckets[i])
	}
	fmt.Fprintf(w, "%s_bucket{le=\"+Inf\"} %d\n%s_sum %g\n%s_count %d\n", h, acked, h, sum.Seconds(), h, acked)
	connected, since, _ := l.status()
	up := 0.0
	if connected {
		up = 1
	}
	gauge("flexd_relay_connected", "1 while the broker is connected.", up)
	gauge("flexd_relay_connected_since_seconds", "When that began, as Unix time.", float64(since.Unix()))
	metric("flexd_relay_connections_total", "counter", "Connections to the broker that held.")
	fmt.Fprintf(w, "flexd_relay_connections_total %d\n", c.connections.Load())
	metric("flexd_relay_beats_total", "counter", "Beats published.")
	fmt.Fprintf(w, "flexd_relay_beats_total %d\n", c.beats.Load())
	gauge("flexd_relay_queue", "Envelopes that wait to be published.", float64(len(l.queue)))
	gauge("flexd_relay_in_flight", "Envelopes published and not acknowledged.", float64(c.inFlight.Load()))
	gauge("flexd_relay_topics", "Topics of all routes.", float64(len(l.order)))
	gauge("flexd_relay_topics_unproven", "Topics that nothing came back from.", float64(l.unproven()))
	gauge("flexd_relay_alarms", "Alarms of the webhook, its certificate's among them.", float64(alarms))
	gauge("flexd_relay_start_seconds", "When this relay started, as Unix time.", float64(started.Unix()))
}
