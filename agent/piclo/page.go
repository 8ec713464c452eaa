package piclo

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"flexd/agent/flex"
)

// errSamePage is a market that gives the same page for another number.
var errSamePage = errors.New("another page number gives the same page again: set lists.paging to none when this market has no pages")

// page is one reply of a list.
type page struct {
	raw    []byte
	header http.Header
	at     string // the address it came from
	list   listing
}

// turner finds the address of the page that follows, by the profile's kind
// of paging. Every address is held to the rules of every URL in a document.
type turner struct {
	m       *Market
	path    string
	first   string // of page numbers: the address without one
	number  int
	seen    map[string]bool
	content [sha256.Size]byte
}

func (m *Market) turner(target, path string) *turner {
	return &turner{m: m, path: path, first: target, number: m.profile.Lists.FirstPage, seen: map[string]bool{target: true}}
}

// past tells whether an error only says that the last page is behind us: some
// markets answer a page number beyond the end with 404.
func (t *turner) past(pages int, err error) bool {
	var status *StatusError
	return pages > 0 && t.m.profile.Lists.Paging == pagingPage && errors.As(err, &status) && status.Code == http.StatusNotFound
}

// next gives the following address, "" at the end.
func (t *turner) next(got page) (string, error) {
	var link string
	var err error
	switch t.m.profile.Lists.Paging {
	case pagingNext:
		link, err = nextField(got.raw, t.m.profile.Lists.Next)
	case pagingLink:
		link, err = nextLink(got.header.Values("Link"))
	case pagingPage:
		return t.numbered(got)
	}
	if err != nil || link == "" {
		return "", err
	}
	here, err := url.Parse(got.at)
	if err != nil {
		return "", flex.Refuse(flex.ReasonForeignURL, "the page's own address cannot be read")
	}
	there, err := here.Parse(link)
	if err != nil || len(link) > maxURL {
		return "", flex.Refuse(flex.ReasonForeignURL, "the link to the next page cannot be read")
	}
	target, err := t.m.at.pin(there.String(), t.path)
	if err == nil && t.seen[target] {
		err = errors.New("its pages go in circles")
	}
	t.seen[target] = true
	return target, err
}

// numbered counts pages until one is empty. A page with the content of the
// one before is no progress but a parameter that nobody reads.
func (t *turner) numbered(got page) (string, error) {
	if len(got.list.elements) == 0 || got.list.single {
		return "", nil
	}
	sum := sha256.Sum256(got.raw)
	if t.content == sum {
		return "", errSamePage
	}
	t.content = sum
	t.number++
	u, err := url.Parse(t.first)
	if err != nil {
		return "", flex.Refuse(flex.ReasonForeignURL, "the page's own address cannot be read")
	}
	q := u.Query()
	q.Set(t.m.profile.Lists.Page, strconv.Itoa(t.number))
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// nextField reads the link from the reply.
func nextField(raw []byte, at pointers) (string, error) {
	for _, p := range at {
		v, ok := rawAt(raw, p)
		if !ok || bytes.Equal(bytes.TrimSpace(v), []byte("null")) {
			continue
		}
		var link string
		if json.Unmarshal(v, &link) != nil {
			return "", errors.New("the link to the next page is not text: check the profile's lists.next")
		}
		if link != "" {
			return link, nil
		}
	}
	return "", nil
}

// Bounds of the Link header.
const (
	maxLinkHeader = 16 << 10
	maxLinks      = 50
)

// nextLink reads the target with the relation "next" from Link headers (RFC
// 8288 section 3). Two different ones are no answer.
func nextLink(values []string) (string, error) {
	found := ""
	for _, v := range values {
		if len(v) > maxLinkHeader {
			return "", errors.New("the Link header is too long")
		}
		for n := 0; ; n++ {
			target, rels, rest, ok := oneLink(v)
			if !ok || n >= maxLinks {
				if strings.Trim(v, " \t,") != "" {
					return "", errors.New("the Link header cannot be read")
				}
				break
			}
			v = rest
			if !slices.Contains(rels, "next") {
				continue
			}
			if found != "" && found != target {
				return "", errors.New("the Link header names two next pages")
			}
			found = target
		}
	}
	return found, nil
}

// oneLink takes one link-value off the front: <target>; param; param, rest.
func oneLink(s string) (target string, rels []string, rest string, ok bool) {
	s = strings.TrimLeft(s, " \t,")
	if !strings.HasPrefix(s, "<") {
		return "", nil, s, false
	}
	target, s, ok = strings.Cut(s[1:], ">")
	if !ok {
		return "", nil, s, false
	}
	relGiven := false
	for {
		s = strings.TrimLeft(s, " \t")
		if !strings.HasPrefix(s, ";") {
			break
		}
		var name, value string
		if name, value, s, ok = oneParam(s[1:]); !ok {
			return "", nil, s, false
		}
		if strings.EqualFold(name, "rel") && !relGiven { // later ones do not count, section 3.3
			relGiven = true
			rels = strings.Fields(strings.ToLower(value))
		}
	}
	if s != "" && s[0] != ',' {
		return "", nil, s, false
	}
	return target, rels, s, true
}

// oneParam takes name, or name=value with the value bare or quoted.
func oneParam(s string) (name, value, rest string, ok bool) {
	i := strings.IndexAny(s, "=;,")
	if i < 0 || s[i] != '=' {
		if i < 0 {
			i = len(s)
		}
		return strings.Trim(s[:i], " \t"), "", s[i:], true
	}
	name, s = strings.Trim(s[:i], " \t"), strings.TrimLeft(s[i+1:], " \t")
	if !strings.HasPrefix(s, `"`) {
		if i = strings.IndexAny(s, ";,"); i < 0 {
			i = len(s)
		}
		return name, strings.Trim(s[:i], " \t"), s[i:], true
	}
	var b strings.Builder
	for j := 1; j < len(s); j++ {
		switch {
		case s[j] == '\\' && j+1 < len(s):
			j++
			b.WriteByte(s[j])
		case s[j] == '"':
			return name, b.String(), s[j+1:], true
		default:
			b.WriteByte(s[j])
		}
	}
	return "", "", s, false
}
