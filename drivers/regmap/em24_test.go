package regmap_test

import (
	"strings"
	"testing"
	"time"

	strangers "flexd/drivers/drivertest/makers"
	"flexd/drivers/regmap"
)

// An EM24 in another application than H tells export as import: no power is
// taken from it, and what to do is said.
func TestAnEM24NeedsItsApplication(t *testing.T) {
	for _, virgin := range []bool{false, true} {
		m, err := regmap.Load("carlo-gavazzi-em24", "")
		if err != nil {
			t.Fatal(err)
		}
		dev := strangers.NewEM24(time.Now, strangers.MeterOptions{Virgin: virgin})
		dev.SetGrid(2500) // export
		d, err := regmap.New(regmap.Config{ID: "grid", Endpoint: "h:1", Unit: 1, Map: m, Bus: dev, Sign: "import_positive"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		r, err := d.Read(t.Context())
		switch {
		case err != nil:
			t.Fatal(err)
		case !virgin && (r.Power == nil || *r.Power != 2500 || len(r.Events) > 0):
			t.Errorf("%+v", r)
		case virgin && (r.Power != nil || !strings.Contains(strings.Join(r.Events, " "), "set its application to H")):
			t.Errorf("%+v", r)
		}
	}
}
