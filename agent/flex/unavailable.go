package flex

import "time"

// Unavailability is a person's declaration that an asset cannot deliver for a
// while. It is kept after its end, withdrawn or not, as part of the diary.
type Unavailability struct {
	ID     string  `json:"id"` // ULID
	Asset  AssetID `json:"asset"`
	Window Window  `json:"window"` // never open
	Reason string  `json:"reason,omitempty"`
	By     string  `json:"by"`
	At     Stamp   `json:"at"`
	// Withdrawn is when it was taken back; zero: in force.
	Withdrawn   time.Time `json:"withdrawn,omitzero"`
	WithdrawnBy string    `json:"withdrawn_by,omitempty"`
	// Closed is when its end, or its withdrawal, was announced.
	Closed time.Time `json:"closed,omitzero"`
	// What the market was told: Told counts up to 1 for the declaration and 2
	// for the withdrawal. It stays 0 where the profile has no such call.
	Told   int       `json:"told,omitempty"`
	ToldAt time.Time `json:"told_at,omitzero"`
	Tried  time.Time `json:"tried,omitzero"`
	Failed string    `json:"failed,omitempty"` // why the last try failed
}

// Stands tells whether the declaration is in force for any part of w.
func (u Unavailability) Stands(w Window) bool { return u.Withdrawn.IsZero() && u.Window.Overlaps(w) }
