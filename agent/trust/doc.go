// Package trust judges signatures: JSON Web Signatures (compact, in JSON, or
// detached) against public keys that were fetched from where they are
// published.
//
// It also judges what a system operator signed inside an instruction, by a
// scheme and over a canonical form that two parties agreed off the platform
// (Operators), and makes such signatures for test vectors.
//
// In: raw bytes of a token, raw bytes of a key document (PEM, JWK, JWKS and
// the usual wrappings), a list of allowed algorithms, the instant and how far
// the clock is trusted; an instruction as it came, and functions that read an
// operator's keys. Out: the bytes that were signed, or an error that says
// whether the token is malformed, forbidden, wrongly signed, or cannot be
// judged for want of a fresh key.
//
// It must never look into a payload before its signature holds, accept a key
// that comes with the message, an unsigned token or a shared secret in place
// of the market's key, or call a signature wrong before it was checked with a
// key fetched after the message came. A key that cannot be read makes no
// signature wrong either. It is the only user of golang-jwt outside the
// demonstration.
package trust
