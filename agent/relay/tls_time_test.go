package relay

import (
	"testing"
	"time"
)

func TestTheBrokersCertificateIsJudgedNoEarlierThanTheBuild(t *testing.T) {
	built := time.Now().AddDate(20, 0, 0).UTC()
	cfg := &Config{Webhook: Webhook{Listen: "127.0.0.1:0", Plain: true}, Broker: Broker{URL: "mqtts://broker.example:8883"},
		Limits: Limits{MaxBody: 1, PerSecond: 1, Queue: 1, InFlight: 1, Timeout: time.Second}}
	r, err := New(cfg, Options{Built: built})
	if err != nil {
		t.Fatal(err)
	}
	conf, err := r.link.files.tls("broker.example")
	if err != nil {
		t.Fatal(err)
	}
	if conf.Time == nil || !conf.Time().Equal(built) {
		t.Error("on a machine whose clock is behind the build, the broker's certificate is not judged at the build time")
	}
}
