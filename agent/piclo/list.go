package piclo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"

	"flexd/agent/flex"
)

// Bounds of one list over all of its pages.
const (
	maxElements = 10_000
	maxAllPages = 4 * maxReply
)

// list fetches a list and, when the profile says so, the pages after it. It
// gives what came before an error together with the error.
func (m *Market) list(ctx context.Context, target, path string) ([]json.RawMessage, []byte, error) {
	var all []json.RawMessage
	var pages []json.RawMessage
	total := 0
	seen := map[string]bool{}
	for target != "" {
		if len(pages) >= int(m.profile.Lists.MaxPages) || seen[target] {
			return all, joined(pages), fmt.Errorf("the list at %s has more than %d pages, or goes in circles", path, len(pages))
		}
		seen[target] = true
		raw, err := m.api.get(ctx, target, maxReply)
		if err != nil {
			return all, joined(pages), err
		}
		elements, err := listOf(raw, m.profile.Lists.Items)
		if err != nil {
			return all, joined(pages), fmt.Errorf("the market's reply at %s: %w", path, err)
		}
		pages, total = append(pages, raw), total+len(raw)
		if len(all)+len(elements) > maxElements || total > maxAllPages {
			return all, joined(pages), fmt.Errorf("the list at %s has more than %d elements or %d bytes", path, maxElements, maxAllPages)
		}
		all = append(all, elements...)
		if target, err = m.next(raw, target, path); err != nil {
			return all, joined(pages), err
		}
	}
	return all, joined(pages), nil
}

// next finds the address of the following page; it is held to the same rules
// as every URL in a document.
func (m *Market) next(raw []byte, current, path string) (string, error) {
	if m.profile.Lists.Paging != pagingNext {
		return "", nil
	}
	for _, p := range m.profile.Lists.Next {
		at, ok := rawAt(raw, p)
		if !ok || bytes.Equal(bytes.TrimSpace(at), []byte("null")) {
			continue
		}
		var link string
		if json.Unmarshal(at, &link) != nil {
			return "", errors.New("the link to the next page is not text: check the profile's lists.next")
		}
		if link == "" {
			continue
		}
		here, err := url.Parse(current)
		if err != nil {
			return "", fmt.Errorf("next page: %w", err)
		}
		there, err := here.Parse(link)
		if err != nil || len(link) > maxURL {
			return "", flex.Refuse(flex.ReasonForeignURL, "the link to the next page cannot be read")
		}
		return m.at.pin(there.String(), path)
	}
	return "", nil
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
