// Package trust judges signatures: JSON Web Signatures (compact, in JSON, or
// detached) against public keys that were fetched from where they are
// published.
//
// In: raw bytes of a token, raw bytes of a key document (PEM, JWK, JWKS and
// the usual wrappings), a list of allowed algorithms, the instant and how far
// the clock is trusted. Out: the bytes that were signed, or an error that
// says whether the token is malformed, forbidden, wrongly signed, or cannot
// be judged for want of a fresh key.
//
// It must never look into a payload before its signature holds, accept a key
// that comes with the message, an unsigned token or a shared secret, or call
// a signature wrong before it was checked with a key fetched after the
// message came. It is the only user of golang-jwt outside the demonstration.
package trust
