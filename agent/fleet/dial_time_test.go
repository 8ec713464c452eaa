package fleet

import (
	"testing"
	"time"
)

func TestTheBrokersCertificateIsJudgedAtTheGivenInstant(t *testing.T) {
	want := time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC)
	conf, err := (&Fleet{cfg: Config{CertAt: func() time.Time { return want }}}).tlsConfig("broker.example")
	if err != nil {
		t.Fatal(err)
	}
	if conf.Time == nil || !conf.Time().Equal(want) {
		t.Error("the broker's certificate is not judged at the given instant")
	}
}
