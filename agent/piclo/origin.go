package piclo

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"flexd/agent/flex"
)

// maxURL bounds every URL that comes from outside.
const maxURL = 4096

// origin is one place of the market's API. The account's token goes nowhere
// else.
type origin struct {
	base   string // without the slash at the end
	scheme string
	host   string // lower case, with port
	prefix string // path of base, without the slash at the end
}

// parseOrigin reads a setting. Without TLS it is accepted for loopback
// addresses only, unless insecure says so aloud.
func parseOrigin(key, base string, insecure bool) (origin, error) {
	u, err := url.Parse(strings.TrimRight(base, "/"))
	if err != nil || len(base) > 1024 || !plainASCII(base) {
		return origin{}, fmt.Errorf("%s %q is not a URL", key, clip(base))
	}
	if u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" {
		return origin{}, fmt.Errorf(`%s %q: write it as "https://api.picloflex.com"`, key, clip(base))
	}
	if u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.ContainsAny(u.EscapedPath(), `%\`) || dotted(u.Path) {
		return origin{}, fmt.Errorf("%s %q: only scheme, host and a plain path belong there", key, clip(base))
	}
	if u.Scheme == "http" && !insecure && !loopback(u.Hostname()) {
		return origin{}, fmt.Errorf("%s %q sends the account's key in the clear: use https, or set insecure: true", key, clip(base))
	}
	return origin{base: u.String(), scheme: u.Scheme, host: hostPort(u), prefix: u.Path}, nil
}

func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// hostPort is the host in lower case with its port, the default one included.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// same tells whether u is of this origin, whatever its path.
func (o origin) same(u *url.URL) bool {
	return u.Scheme == o.scheme && hostPort(u) == o.host && u.User == nil
}

// pin admits a URL from a document only when scheme, host, port and the
// prefix equal one that is configured: otherwise our token leaks or an internal
// service is reached. It gives the URL as it may be requested.
func (o origins) pin(raw, path string) (string, error) {
	refuse := func(format string, args ...any) (string, error) {
		return "", flex.Refuse(flex.ReasonForeignURL, "the URL %s", fmt.Sprintf(format, args...))
	}
	if len(raw) > maxURL {
		return refuse("is longer than %d characters", maxURL)
	}
	if !plainASCII(raw) || strings.ContainsAny(raw, "\\#") {
		return refuse("holds a character that has no place in it")
	}
	u, err := url.Parse(raw)
	if err != nil || u.Opaque != "" {
		return refuse("cannot be read")
	}
	at, ours := o.of(u)
	if !ours || strings.HasSuffix(u.Host, ":") {
		return "", o.stranger(u)
	}
	escaped := u.EscapedPath()
	if !below(escaped, at.prefix+path) || !below(u.Path, at.prefix+path) {
		return refuse("does not begin with %s%s", at.prefix, path)
	}
	if err := checkEscapes(escaped, u.Path); err != nil {
		return refuse("%v", err)
	}
	return u.String(), nil
}

// below tells whether got is the path or one under it; a path without its
// slash at the end does not admit names that only begin alike.
func below(got, path string) bool {
	if strings.HasSuffix(path, "/") {
		return strings.HasPrefix(got, path)
	}
	return got == path || strings.HasPrefix(got, path+"/")
}

// checkEscapes refuses every way in which a server could read another path
// than the one that was compared.
func checkEscapes(escaped, plain string) error {
	low := strings.ToLower(escaped)
	for _, bad := range []string{"%2f", "%5c", "%2e", "%25", "%00"} {
		if strings.Contains(low, bad) {
			return fmt.Errorf("hides a character as %s", bad)
		}
	}
	switch {
	case dotted(plain):
		return errors.New("has a dot segment")
	case strings.ContainsAny(plain, "\\;"):
		return errors.New("has a path parameter or a backslash")
	case strings.Contains(plain, "//"):
		return errors.New("has an empty path segment")
	case !visible(plain):
		return errors.New("hides a control character")
	}
	return nil
}

// dotted tells whether the path has a segment of dots only.
func dotted(path string) bool {
	for seg := range strings.SplitSeq(path, "/") {
		if seg != "" && strings.Trim(seg, ".") == "" {
			return true
		}
	}
	return false
}

// plainASCII tells whether s is visible ASCII without blanks.
func plainASCII(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

// visible tells whether s is valid text without control characters.
func visible(s string) bool {
	for _, c := range s {
		if c < ' ' || c >= 0x7f && c < 0xa0 || c == '\ufffd' || c == '\u2028' || c == '\u2029' {
			return false
		}
	}
	return true
}

// clip bounds an outside text that is quoted in an error.
func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}
