package modbus

import (
	"context"
	"net"
	"testing"
	"time"
)

// A local port that somebody else has by now costs nothing.
func TestAPortThatIsTakenIsNoReasonNotToConnect(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := dialer(time.Second)(context.Background(), ln.Addr().String(), ln.Addr().(*net.TCPAddr).Port)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}
