// Package bench holds the transport against the libraries that others use, in
// one run and against one server in a process of its own. It is a module of
// its own so that the product depends on none of them.
package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	goburrow "github.com/goburrow/modbus"
	gridx "github.com/grid-x/modbus"
	simonvetter "github.com/simonvetter/modbus"

	"flexd/drivers/modbus"
)

const (
	serverRole = "FLEXD_BENCH_SERVER"
	registers  = 10
	timeout    = 2 * time.Second
)

var address string // of the server

func TestMain(m *testing.M) {
	if os.Getenv(serverRole) != "" {
		serve()
		return
	}
	os.Exit(beside(m))
}

// beside runs the benchmarks with a server beside them.
func beside(m *testing.M) int {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serverRole+"=1")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	address = strings.TrimSpace(line)
	return m.Run()
}

// serve answers every read with registers of zero.
func serve() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(ln.Addr())
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			request, answer := make([]byte, 12), make([]byte, 9+250)
			for {
				if _, err := io.ReadFull(c, request); err != nil {
					return
				}
				n := 2 * int(binary.BigEndian.Uint16(request[10:]))
				copy(answer, request[:8])
				binary.BigEndian.PutUint16(answer[4:], uint16(3+n))
				answer[8] = byte(n)
				if _, err := c.Write(answer[:9+n]); err != nil {
					return
				}
			}
		}()
	}
}

// contender is one way to read ten registers, one request at a time on one
// connection.
type contender struct {
	name string
	open func(testing.TB) func() error
}

// contenders begin with the floor: the socket alone.
func contenders() []contender {
	return []contender{{"floor", openFloor}, {"flexd", openFlexd}, {"goburrow", openGoburrow}, {"grid-x", openGridX}, {"simonvetter", openSimonvetter}}
}

// TestRead takes turns of a few requests each, so that whatever else the
// machine does falls on all alike, and prints the medians.
func TestRead(t *testing.T) {
	const rounds, turn = 300, 100
	all := contenders()
	reads := make([]func() error, len(all))
	took := make([][]time.Duration, len(all))
	for i, c := range all {
		reads[i] = c.open(t)
	}
	for round := range rounds {
		for k := range all {
			i := (k + round) % len(all) // nobody is always next to the same one
			begun := time.Now()
			for range turn {
				if err := reads[i](); err != nil {
					t.Fatal(all[i].name, err)
				}
			}
			took[i] = append(took[i], time.Since(begun)/turn)
		}
	}
	median := func(i int) time.Duration { slices.Sort(took[i]); return took[i][len(took[i])/2] }
	best := time.Duration(math.MaxInt64)
	for i := range all[2:] {
		best = min(best, median(i+2))
	}
	for i, c := range all {
		allocs := testing.AllocsPerRun(1000, func() { _ = reads[i]() })
		t.Logf("%-12s %8v a read  %5.2f of the best library's throughput  %2.0f allocations", c.name, median(i), float64(best)/float64(median(i)), allocs)
	}
}

func BenchmarkRead(b *testing.B) {
	for _, c := range contenders() {
		b.Run(c.name, func(b *testing.B) {
			read := c.open(b)
			if err := read(); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := read(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func openFloor(b testing.TB) func() error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	request, answer := []byte{0, 1, 0, 0, 0, 6, 1, 3, 0, 0, 0, registers}, make([]byte, 9+2*registers)
	return func() error {
		if _, err := c.Write(request); err != nil {
			return err
		}
		_, err := io.ReadFull(c, answer)
		return err
	}
}

func openFlexd(b testing.TB) func() error {
	e := modbus.NewEndpoint(address, modbus.Quirks{Gap: -1, Timeout: timeout}, nil)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	b.Cleanup(func() { cancel(); <-ended })
	return func() error {
		_, err := e.Do(ctx, modbus.Request{Unit: 1, Func: modbus.ReadHolding, Count: registers})
		return err
	}
}

func openGoburrow(b testing.TB) func() error {
	h := goburrow.NewTCPClientHandler(address)
	h.Timeout, h.SlaveId = timeout, 1
	b.Cleanup(func() { _ = h.Close() })
	c := goburrow.NewClient(h)
	return func() error { _, err := c.ReadHoldingRegisters(0, registers); return err }
}

func openGridX(b testing.TB) func() error {
	h := gridx.NewTCPClientHandler(address)
	h.Timeout, h.SlaveID = timeout, 1
	b.Cleanup(func() { _ = h.Close() })
	c := gridx.NewClient(h)
	return func() error { _, err := c.ReadHoldingRegisters(context.Background(), 0, registers); return err }
}

func openSimonvetter(b testing.TB) func() error {
	c, err := simonvetter.NewClient(&simonvetter.ClientConfiguration{URL: "tcp://" + address, Timeout: timeout})
	if err == nil {
		err = c.Open()
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	return func() error { _, err := c.ReadRegisters(0, registers, simonvetter.HOLDING_REGISTER); return err }
}
