package piclo

import (
	"testing"

	"flexd/agent/flex"
)

// BenchmarkVerify is what a notification costs before it is stored.
func BenchmarkVerify(b *testing.B) {
	srv := newFakeMarket(b)
	m := open(b, srv.URL)
	env := flex.Envelope{Body: []byte(sign(b, "RS256", makeKeys().market, payloadFor(srv.URL)))}
	for b.Loop() {
		if _, err := m.Verify(b.Context(), env); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkInstruction is what one instruction of a reply costs.
func BenchmarkInstruction(b *testing.B) {
	p := embeddedProfile(b)
	for b.Loop() {
		if _, err := p.instruction([]byte(goodInstruction)); err != nil {
			b.Fatal(err)
		}
	}
}
