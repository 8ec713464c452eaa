package trust

import (
	"crypto/rsa"
	"math/big"
	"testing"
)

// An RSA key whose exponent is small or even is nobody's.
func TestAnUnsafeExponentIsRefused(t *testing.T) {
	n := new(big.Int).Lsh(big.NewInt(1), 2047)
	for e, good := range map[int]bool{1: false, 2: false, 3: true, 4: false, 65536: false, 65537: true} {
		if err := checkPublic(&rsa.PublicKey{N: n, E: e}); (err == nil) != good {
			t.Errorf("exponent %d: %v", e, err)
		}
	}
}
