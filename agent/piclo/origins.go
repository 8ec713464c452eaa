package piclo

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"flexd/agent/flex"
)

// origins are the places of the market's API: the configured one, which is
// asked, and others to which it may point.
type origins struct {
	origin
	others  []origin
	related words // domains of the market's house: to them it may move
}

// parseOrigins reads market.base_url and the others, of the site's
// configuration and of the profile.
func (p *Profile) parseOrigins(base string, others []string, insecure bool) (origins, error) {
	first, err := parseOrigin("market.base_url", base, insecure)
	all := origins{origin: first, related: p.API.Related}
	if err != nil {
		return all, err
	}
	for _, o := range p.API.Origins {
		others = append(others[:len(others):len(others)], string(o))
	}
	for _, other := range others {
		o, err := parseOrigin("market.origins", other, insecure)
		if err != nil {
			return all, err
		}
		all.others = append(all.others, o)
	}
	return all, nil
}

// of finds the origin that a URL belongs to.
func (o origins) of(u *url.URL) (origin, bool) {
	for _, one := range append([]origin{o.origin}, o.others...) {
		if one.same(u) {
			return one, true
		}
	}
	return origin{}, false
}

// stranger refuses a URL outside of all origins. Where it is near, the market
// may have moved, which is for a person to decide: with our token whoever owns
// the address could act in our name.
func (o origins) stranger(u *url.URL) *flex.Refusal {
	if u.Scheme == "https" && u.User == nil && o.near(u.Hostname()) {
		at := "https://" + strings.ToLower(u.Host)
		return flex.Refuse(flex.ReasonMovedURL, "the URL is at %s, which is not configured but related to %s: if the market says that it has moved there, add it as market.origins: [%q], or make it market.base_url",
			at, o.base, at)
	}
	return flex.Refuse(flex.ReasonForeignURL, "the URL is not on the configured market (%s://%s)", o.scheme, o.host)
}

// near tells whether a host may well be of the same house: another one of the
// same domain, the same name under another top-level domain, or one of the
// profile's related domains. It is a hint for a person, nothing is asked there.
func (o origins) near(host string) bool {
	domain, name := domainOf(host)
	if name == "" {
		return false
	}
	for _, one := range append([]origin{o.origin}, o.others...) {
		_, own := domainOf(hostOf(one))
		if own == name {
			return true
		}
	}
	return slices.ContainsFunc(o.related, func(d string) bool { return strings.EqualFold(d, domain) })
}

func hostOf(o origin) string {
	u, err := url.Parse(o.base)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// domainOf is what somebody registered, as far as that can be told without a
// list of all registries, and its first label; "" for addresses and bare names.
func domainOf(host string) (domain, name string) {
	labels := strings.Split(strings.ToLower(strings.TrimSuffix(host, ".")), ".")
	if _, err := netip.ParseAddr(host); err == nil || len(labels) < 2 || slices.Contains(labels, "") {
		return "", ""
	}
	n := 2
	if last := len(labels) - 1; len(labels) > 2 && len(labels[last]) == 2 && len(labels[last-1]) <= 3 {
		n = 3 // co.uk, com.au
	}
	labels = labels[len(labels)-n:]
	return strings.Join(labels, "."), labels[0]
}
