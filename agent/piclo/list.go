package piclo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// Bounds of one list over all of its pages.
const (
	maxElements = 10_000
	maxAllPages = 4 * maxReply
)

// list fetches a list and, when the profile says so, the pages after it. It
// gives what came before an error together with the error.
func (m *Market) list(ctx context.Context, target, path string) ([]json.RawMessage, []byte, error) {
	var all, pages []json.RawMessage
	total := 0
	turn := m.turner(target, path)
	for target != "" {
		if len(pages) >= int(m.profile.Lists.MaxPages) {
			return all, joined(pages), fmt.Errorf("the list at %s has more than %d pages, or goes in circles", path, len(pages))
		}
		raw, header, err := m.api.get(ctx, target, maxReply)
		if turn.past(len(pages), err) {
			break
		}
		if err != nil {
			return all, joined(pages), err
		}
		got, err := listIn(raw, m.profile.Lists.Items, m.profile.Lists.Single)
		if err != nil {
			return all, joined(pages), fmt.Errorf("the market's reply at %s: %w", path, err)
		}
		if len(all)+len(got.elements) > maxElements || total+len(raw) > maxAllPages {
			return all, joined(pages), fmt.Errorf("the list at %s has more than %d elements or %d bytes", path, maxElements, maxAllPages)
		}
		next, err := turn.next(page{raw: raw, header: header, at: target, list: got})
		if errors.Is(err, errSamePage) {
			return all, joined(pages), fmt.Errorf("the list at %s: %w", path, err)
		}
		pages, total = append(pages, raw), total+len(raw)
		all = append(all, got.elements...)
		if err != nil {
			return all, joined(pages), fmt.Errorf("the list at %s: %w", path, err)
		}
		target = next
	}
	return all, joined(pages), nil
}

// joined is the raw reply: one page as it came, several as a JSON list.
func joined(pages []json.RawMessage) []byte {
	switch len(pages) {
	case 0:
		return nil
	case 1:
		return pages[0]
	}
	raw, err := json.Marshal(pages)
	if err != nil {
		return nil // pages were checked as JSON
	}
	return raw
}
