package commission

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"flexd/agent/flex"
	"flexd/agent/health"
)

// CodeNotCommissioned is raised for a controlled device without a record.
const CodeNotCommissioned = "not_commissioned"

// Items declares the alarms of this room; where commissioning is required the
// absence of a record is an alarm, else worth a look.
func Items(required bool) []health.Item {
	s := health.Warning
	if required {
		s = health.Alarm
	}
	return []health.Item{{Code: CodeNotCommissioned, Severity: s, Title: "A device was not commissioned"}}
}

// Shelf keeps the records of a site. It is safe for concurrent use.
type Shelf struct {
	dir  string
	site flex.SiteID

	mu  sync.Mutex
	key ed25519.PrivateKey // nil until first used
}

// NewShelf keeps records within the data folder; nothing is touched yet.
func NewShelf(data string, site flex.SiteID) *Shelf {
	return &Shelf{dir: filepath.Join(data, "commissioning"), site: site}
}

// signer gives the key, made on first use.
func (s *Shelf) signer() (ed25519.PrivateKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.key != nil {
		return s.key, nil
	}
	if err := os.MkdirAll(s.dir, 0o750); err != nil {
		return nil, fmt.Errorf("cannot make the folder of commissioning records: %w", err)
	}
	key, err := SiteKey(s.dir)
	if err != nil {
		return nil, err
	}
	s.key = key
	return key, nil
}

// Put signs a record and keeps it in place of an older one.
func (s *Shelf) Put(r Record) (Signed, error) {
	r.Site = s.site
	key, err := s.signer()
	if err != nil {
		return Signed{}, err
	}
	signed, err := Sign(r, key)
	if err != nil {
		return Signed{}, err
	}
	raw, err := json.MarshalIndent(signed, "", "  ")
	if err != nil {
		return Signed{}, fmt.Errorf("cannot encode the commissioning record: %w", err)
	}
	return signed, replace(fileOf(s.dir, r.Device), append(raw, '\n'))
}

// ErrNone tells that a device has no record.
var ErrNone = errors.New("there is no commissioning record")

// Get loads and verifies a device's record.
func (s *Shelf) Get(id flex.DeviceID) (Record, Signed, error) {
	raw, err := load(fileOf(s.dir, id))
	if errors.Is(err, os.ErrNotExist) {
		return Record{}, Signed{}, fmt.Errorf("%w for %s: `flexd device commission %s` makes one", ErrNone, id, id)
	}
	if err != nil {
		return Record{}, Signed{}, fmt.Errorf("cannot read the commissioning record of %s: %w", id, err)
	}
	signed, err := ParseSigned(raw)
	if err != nil {
		return Record{}, Signed{}, err
	}
	key, err := s.signer()
	if err != nil {
		return Record{}, Signed{}, err
	}
	pub, _ := key.Public().(ed25519.PublicKey)
	r, err := signed.Verify(pub)
	switch {
	case err != nil:
		return Record{}, Signed{}, err
	case r.Device != id || r.Site != s.site:
		return Record{}, Signed{}, fmt.Errorf("%w: it is of %s at %s", ErrForged, r.Device, r.Site)
	}
	return r, signed, nil
}

// Standing is what the records say of a device that answers now.
type Standing struct {
	// Refusal, when set, forbids control.
	Refusal *flex.Refusal
	// Missing, when not empty, is the text of CodeNotCommissioned.
	Missing string
	Tuning  Tuning
}

// Standing judges the device by its plate. required is require_commissioning.
func (s *Shelf) Standing(id flex.DeviceID, plate flex.Nameplate, required bool) Standing {
	r, _, err := s.Get(id)
	if err == nil {
		err = r.fits(plate)
	}
	if err != nil {
		return unproven(err.Error(), required)
	}
	if p, bad := forbids(r.Problems); bad {
		return Standing{Refusal: flex.Refuse(flex.ReasonUncontrollable, "commissioning of %s found: %s", id, p.Text),
			Missing: p.Text, Tuning: r.Measured.Tune()}
	}
	if !r.Proven() {
		text := fmt.Sprintf("the commissioning of %s did not prove the direction at the meter", id)
		if r.Measured.Direction == DirectionRight {
			text = fmt.Sprintf("commissioning of %s found: %s", id, r.Problems[0].Text)
		}
		st := unproven(text, required)
		st.Tuning = r.Measured.Tune()
		return st
	}
	return Standing{Tuning: r.Measured.Tune()}
}

func unproven(text string, required bool) Standing {
	st := Standing{Missing: text}
	if required {
		st.Refusal = flex.Refuse(flex.ReasonUncontrollable, "%s, and require_commissioning is on", text)
	}
	return st
}

// fits tells whether the record is of the device that answers: the serial, or
// where there is none the model, and the same way of control.
func (r Record) fits(p flex.Nameplate) error {
	switch {
	case r.Serial != p.Serial:
		return fmt.Errorf("the commissioning record of %s is for serial %q, %q answers: commission it again", r.Device, r.Serial, p.Serial)
	case r.Serial == "" && (r.Manufacturer != p.Manufacturer || r.Model != p.Model):
		return fmt.Errorf("the commissioning record of %s is for %s %s: commission it again", r.Device, r.Manufacturer, r.Model)
	case r.Method != p.Method:
		return fmt.Errorf("%s was commissioned with %q and is controlled by %q now: commission it again", r.Device, r.Method, p.Method)
	}
	return nil
}
