package store

import (
	"bytes"
	"strings"
	"testing"

	"flexd/agent/flex"
)

// What decides, hands back or ends is taken to the last page; what asks for
// more stops before it.
func TestWhatDecidesIsTakenToTheLastPage(t *testing.T) {
	start, stop := flex.Offer{Instruction: flex.Instruction{Kind: flex.KindStart, Capacity: 1000}}, flex.Offer{Instruction: flex.Instruction{Kind: flex.KindStop}}
	for name, tc := range map[string]struct {
		change flex.Changes
		want   rank
	}{
		"a start":           {flex.Changes{Offers: []flex.Offer{start}}, starting},
		"a start beside":    {flex.Changes{Offers: []flex.Offer{stop, start}, Records: make([]flex.Record, 1)}, starting},
		"a stop":            {flex.Changes{Offers: []flex.Offer{stop}}, deciding},
		"a journal entry":   {flex.Changes{JournalOpen: make([]flex.JournalEntry, 1)}, deciding},
		"its end":           {flex.Changes{JournalClose: make([]flex.DeviceID, 1)}, deciding},
		"a transition":      {flex.Changes{Records: make([]flex.Record, 1)}, deciding},
		"a tombstone":       {flex.Changes{Tombstones: make([]flex.Tombstone, 1)}, deciding},
		"a hold":            {flex.Changes{Holds: make([]flex.Hold, 1)}, deciding},
		"the end of a hold": {flex.Changes{HoldsGone: make([]flex.AssetID, 1)}, deciding},
		"an audit line":     {flex.Changes{Audit: make([]flex.Audit, 1)}, incoming},
	} {
		if got := rankOf(tc.change); got != tc.want {
			t.Errorf("%s: rank %d, want %d", name, got, tc.want)
		}
	}
}

// A value of a later release is told as that, and never read as one of ours.
func TestAValueOfALaterReleaseIsNotRead(t *testing.T) {
	key := []byte("k")
	raw, err := encode(key, 7)
	if err != nil {
		t.Fatal(err)
	}
	var got int
	if err := decode(key, raw, &got); err != nil || got != 7 {
		t.Fatal(got, err)
	}
	later := bytes.Replace(raw, []byte(`"v":1`), []byte(`"v":2`), 1)
	if err := decode(key, later, &got); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("%s: %v", later, err)
	}
}
