package piclo

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestTheDatesOfTheMarketsAnswersAreTold(t *testing.T) {
	want := time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)
	for _, tc := range []struct {
		name, date, age string
		told            bool
	}{
		{"a date", want.Format(http.TimeFormat), "", true},
		{"out of a cache", want.Format(http.TimeFormat), "7", false},
		{"no date", "soon", "", false},
		{"a date of another age", time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC).Format(http.TimeFormat), "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Date", tc.date)
				if tc.age != "" {
					w.Header().Set("Age", tc.age)
				}
			}))
			defer srv.Close()
			at, err := (&Profile{}).parseOrigins(srv.URL, nil, false)
			if err != nil {
				t.Fatal(err)
			}
			told, before := 0, time.Now()
			c := safeClient(nil, at, nil, func(date, sent, got time.Time) {
				if told++; !date.Equal(want) || sent.Before(before) || got.Before(sent) {
					t.Errorf("told %v, asked %v after the beginning, answered %v after it", date, sent.Sub(before), got.Sub(before))
				}
			})
			resp, err := c.Get(srv.URL)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			c.CloseIdleConnections()
			if (told == 1) != tc.told {
				t.Errorf("told %d times", told)
			}
		})
	}
}
