package modbus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// dialer connects so that nothing said on the connection outlives it. A
// socket that is closed in the usual way leaves what the peer has not
// acknowledged with the kernel, which goes on sending it for minutes, after
// the process is dead as well: a setpoint could arrive after the release that
// followed it on the next connection. With a linger time of 0 every end of the
// socket, kill -9 included, is a reset that discards it. patience is how long
// bytes may stay unacknowledged before the kernel does the same by itself,
// where the platform can.
//
// A port other than 0 is the local one to connect from. A reset that is lost
// on a dead link leaves the device with a connection of which it knows no end,
// and many devices serve one alone; a new one from the same port makes its TCP
// ask, and the answer to that ends the old one (RFC 9293, 3.5.1).
func dialer(patience time.Duration) func(ctx context.Context, addr string, port int) (net.Conn, error) {
	return func(ctx context.Context, addr string, port int) (net.Conn, error) {
		var d net.Dialer
		if port != 0 {
			d.LocalAddr = &net.TCPAddr{Port: port}
		}
		conn, err := d.DialContext(ctx, "tcp", addr)
		if errors.Is(err, syscall.EADDRINUSE) { // somebody else has it by now
			d.LocalAddr = nil
			conn, err = d.DialContext(ctx, "tcp", addr)
		}
		if err != nil {
			return nil, err
		}
		if err := resetOnClose(conn, patience); err != nil {
			_ = conn.Close()
			return nil, err
		}
		return conn, nil
	}
}

func resetOnClose(conn net.Conn, patience time.Duration) error {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return fmt.Errorf("%T is not a TCP connection", conn)
	}
	if err := tcp.SetLinger(0); err != nil {
		return fmt.Errorf("cannot have the connection reset when it ends: %w", err)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return fmt.Errorf("cannot reach the socket of the connection: %w", err)
	}
	var set error
	if err := raw.Control(func(fd uintptr) { set = userTimeout(fd, patience) }); err != nil {
		return fmt.Errorf("cannot reach the socket of the connection: %w", err)
	}
	if set != nil {
		return fmt.Errorf("cannot bound how long the kernel sends for the connection: %w", set)
	}
	return nil
}
