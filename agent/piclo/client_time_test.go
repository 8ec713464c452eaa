package piclo

import (
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// The certificate of httptest is good from 1970 to 2084.
func TestTheMarketsCertificateIsJudgedAtTheGivenInstant(t *testing.T) {
	srv := httptest.NewTLSServer(http.NotFoundHandler())
	defer srv.Close()
	at, err := (&Profile{}).parseOrigins(srv.URL, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	for year, good := range map[int]bool{2050: true, 2100: false, 1960: false} {
		c := safeClient(nil, at, func() time.Time { return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC) }, nil)
		tr := c.Transport.(*http.Transport)
		tr.TLSClientConfig.RootCAs = x509.NewCertPool()
		tr.TLSClientConfig.RootCAs.AddCert(srv.Certificate())
		resp, err := c.Get(srv.URL)
		if err == nil {
			_ = resp.Body.Close()
		}
		tr.CloseIdleConnections()
		var invalid x509.CertificateInvalidError
		expired := errors.As(err, &invalid) && invalid.Reason == x509.Expired
		if good && err != nil || !good && !expired {
			t.Errorf("in %d the answer is %v; good should be %t", year, err, good)
		}
	}
}
