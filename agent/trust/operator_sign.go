package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// SignAs signs a canonical form the way an operator would, for test vectors:
// private is PEM (PKCS #8, PKCS #1 or SEC 1) or a shared secret.
func SignAs(scheme, encoding string, private, message []byte) (string, error) {
	sum := sha256.Sum256(message)
	if scheme == SchemeHMAC {
		secret, err := parseSecret(private)
		if err != nil {
			return "", err
		}
		m := hmac.New(sha256.New, secret)
		m.Write(message)
		return encodeSignature(encoding, m.Sum(nil)), nil
	}
	key, err := parsePrivate(private)
	if err != nil {
		return "", err
	}
	if err := checkPublic(key.Public()); err != nil {
		return "", err
	}
	if err := fitsScheme(scheme, key.Public()); err != nil {
		return "", err
	}
	signed, opts := sum[:], crypto.SignerOpts(crypto.SHA256)
	switch scheme {
	case SchemeEd25519:
		signed, opts = message, crypto.Hash(0)
	case SchemeRSAPSS:
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	}
	sig, err := key.Sign(rand.Reader, signed, opts)
	if err != nil {
		return "", fmt.Errorf("sign with %s: %w", scheme, err)
	}
	return encodeSignature(encoding, sig), nil
}

// parsePrivate reads a private key from PEM.
func parsePrivate(raw []byte) (crypto.Signer, error) {
	for {
		var block *pem.Block
		if block, raw = pem.Decode(raw); block == nil {
			return nil, errors.New("no private key: expected PEM with PRIVATE KEY in it")
		}
		var (
			key any
			err error
		)
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case "EC PARAMETERS":
			continue // openssl ecparam writes them before the key
		default:
			return nil, fmt.Errorf("PEM block %q is not a private key that can be read", clip(block.Type))
		}
		if err != nil {
			return nil, fmt.Errorf("private key: %w", err)
		}
		signer, ok := key.(crypto.Signer)
		if !ok {
			return nil, fmt.Errorf("a private key of type %T cannot sign", key)
		}
		return signer, nil
	}
}

// NewOperatorKey makes a key for a scheme: the private half to keep, and the
// public half for the other party, both as they go into files. A shared
// secret has one half.
func NewOperatorKey(scheme string) (private, public []byte, err error) {
	var key crypto.Signer
	switch scheme {
	case SchemeEd25519:
		var ed ed25519.PrivateKey
		_, ed, err = ed25519.GenerateKey(rand.Reader)
		key = ed
	case SchemeECDSA:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case SchemeRSAPSS:
		key, err = rsa.GenerateKey(rand.Reader, 3072) // NIST SP 800-57: beyond 2030
	case SchemeHMAC:
		secret := make([]byte, sha256.Size)
		if _, err := rand.Read(secret); err != nil {
			return nil, nil, fmt.Errorf("make a secret: %w", err)
		}
		return []byte("hex:" + hex.EncodeToString(secret) + "\n"), nil, nil
	default:
		return nil, nil, fmt.Errorf("there is no scheme %q: use %s", clip(scheme), strings.Join(Schemes(), ", "))
	}
	if err != nil {
		return nil, nil, fmt.Errorf("make a key for %s: %w", scheme, err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("write the private key: %w", err)
	}
	pub, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, nil, fmt.Errorf("write the public key: %w", err)
	}
	return encodePEM("PRIVATE KEY", der), encodePEM("PUBLIC KEY", pub), nil
}

func encodePEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
