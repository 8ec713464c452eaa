package agent_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"flexd/drivers/sim"
)

// capture is tshark listening on loopback to the ports of some devices.
type capture struct {
	t     *testing.T
	file  string
	ports []string
	cmd   *exec.Cmd
	said  *logBuffer
}

func needTshark(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("tshark"); err != nil {
		lacking(t, "tshark", err)
	}
}

// newCapture listens from now on.
func newCapture(t *testing.T, devices ...*sim.Device) *capture {
	t.Helper()
	needTshark(t)
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: THE WIRE WAS NOT READ: only root may capture on loopback")
	}
	c := &capture{t: t, file: filepath.Join(t.TempDir(), "wire.pcapng"), said: &logBuffer{}}
	var filter []string
	for _, d := range devices {
		_, port, err := net.SplitHostPort(d.Addr())
		must(t, err)
		c.ports = append(c.ports, port)
		filter = append(filter, "tcp port "+port)
	}
	c.cmd = exec.Command("tshark", "-i", "lo", "-f", strings.Join(filter, " or "), "-w", c.file)
	c.cmd.Stderr = c.said
	must(t, c.cmd.Start())
	t.Cleanup(func() { _ = c.cmd.Process.Kill(); _ = c.cmd.Wait() })
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		// The file has its header once the interface is open.
		if info, err := os.Stat(c.file); err == nil && info.Size() > 0 {
			return c
		}
		if strings.Contains(c.said.String(), "permission") {
			t.Skipf("SKIPPED: THE WIRE WAS NOT READ: no capture is allowed here: %s", c.said)
		}
		if time.Now().After(end) {
			t.Fatalf("tshark does not capture: %s", c.said)
		}
	}
}

// end stops listening.
func (c *capture) end() {
	c.t.Helper()
	must(c.t, c.cmd.Process.Signal(syscall.SIGINT))
	_ = c.cmd.Wait()
}

// packet is one packet as tshark takes it apart. Requests and answers that
// share a packet come as several frames.
type packet struct {
	number  string
	at      time.Time
	stream  string
	toward  string // the device's port, when it is a request
	from    string // the device's port, when it is an answer
	opening bool
	payload int
	frames  []frame
	faults  string // what tshark finds malformed, or a refusal
}

// frame is one Modbus message.
type frame struct{ transaction, function, address, count int }

// packets lets tshark read the capture.
func (c *capture) packets() []packet {
	c.t.Helper()
	fields := []string{"frame.number", "frame.time_epoch", "tcp.stream", "tcp.srcport", "tcp.dstport", "tcp.flags", "tcp.len",
		"mbtcp.trans_id", "modbus.func_code", "modbus.reference_num", "modbus.word_cnt", "modbus.exception_code", "_ws.malformed", "_ws.malformed.expert", "_ws.expert.message", "mbtcp.prot_id"}
	args := []string{"-r", c.file, "-o", "mbtcp.tcp.port:" + strings.Join(c.ports, ","), "-T", "fields", "-E", "separator=/t", "-E", "occurrence=a", "-E", "aggregator=;"}
	for _, p := range c.ports {
		args = append(args, "-d", "tcp.port=="+p+",mbtcp")
	}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	cmd := exec.Command("tshark", args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		c.t.Fatalf("tshark cannot read its own capture: %v: %s", err, errs.String())
	}
	var all []packet
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		v := strings.Split(lines.Text(), "\t")
		if len(v) != len(fields) {
			c.t.Fatalf("tshark prints %q, want %d fields", lines.Text(), len(fields))
		}
		all = append(all, c.packet(v))
	}
	return all
}

func (c *capture) packet(v []string) packet {
	seconds, err := strconv.ParseFloat(v[1], 64)
	must(c.t, err)
	p := packet{number: v[0], at: time.UnixMicro(int64(seconds * 1e6)), stream: v[2], payload: c.number(v[6])}
	if slices.Contains(c.ports, v[4]) {
		p.toward = v[4]
	} else {
		p.from = v[3]
	}
	flags, err := strconv.ParseUint(v[5], 0, 16)
	must(c.t, err)
	p.opening = flags&0x12 == 0x02 // SYN without ACK
	ids, functions := split(v[7]), split(v[8])
	addresses, counts := split(v[9]), split(v[10])
	for i := range ids {
		f := frame{transaction: c.number(ids[i]), function: -1, address: -1}
		if i < len(functions) {
			f.function = c.number(functions[i])
		}
		if i < len(addresses) && i < len(counts) && len(ids) == 1 {
			f.address, f.count = c.number(addresses[i]), c.number(counts[i])
		}
		p.frames = append(p.frames, f)
	}
	// "No such register" is how a device says that its chain begins elsewhere.
	if refused := v[11] != "" && (v[11] != "2" || slices.ContainsFunc(p.frames, isWrite)); refused || v[12]+v[13] != "" || strings.Trim(v[15], "0;x") != "" {
		p.faults = fmt.Sprintf("malformed %q, exception %q, protocol %q: %s", v[12]+v[13], v[11], v[15], v[14])
	}
	return p
}

func split(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ";")
}

func (c *capture) number(s string) int {
	c.t.Helper()
	n, err := strconv.ParseInt(s, 0, 64)
	must(c.t, err)
	return int(n)
}

// controls are the registers that an order may change, by the models. What a
// driver may write is said here a second time, on purpose.
func controls(d *sim.Device) map[int]bool {
	out := map[int]bool{}
	for model, names := range map[int][]string{
		123: {"WMaxLimPct", "WMaxLimPct_WinTms", "WMaxLimPct_RvrtTms", "WMaxLimPct_RmpTms", "WMaxLim_Ena"},
		124: {"StorCtl_Mod", "OutWRte", "InWRte", "InOutWRte_WinTms", "InOutWRte_RvrtTms", "InOutWRte_RmpTms", "ChaGriSet"},
		704: {"WMaxLimPctEna", "WMaxLimPct", "WMaxLimPctRvrt", "WMaxLimPctEnaRvrt", "WMaxLimPctRvrtTms",
			"WSetEna", "WSetMod", "WSet", "WSetRvrt", "WSetPct", "WSetPctRvrt", "WSetEnaRvrt", "WSetRvrtTms"},
	} {
		for _, n := range names {
			addr, words, ok := d.Point(model, n)
			for i := range words {
				if ok {
					out[int(addr)+i] = true
				}
			}
		}
	}
	return out
}

// The wire, read by a program that is not ours while flexd does a whole
// dispatch: only whole and answered frames, one connection to each device, the
// gap kept, nothing written but the points of control, and the lease renewed
// in time.
func TestTheWireByTshark(t *testing.T) {
	t.Parallel()
	for _, k := range []struct {
		name    string
		battery sim.Battery
		timer   string
		model   int
	}{
		{"124", aBattery(sim.Options{PctSF: -1, Base: sim.Base50000, Vendor: true}), "InOutWRte_RvrtTms", 124},
		{"704", der(sim.Options{PctSF: -2, Base: sim.Base0, Vendor: true}), "WSetRvrtTms", 704},
	} {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, siteOptions{batteries: []sim.Battery{k.battery}, load: 700})
			bat := s.devices[0]
			c := newCapture(t, bat)
			readTheWire(t, s, k.model, k.timer, c)
		})
		t.Run(k.name+" by a tap", func(t *testing.T) {
			t.Parallel()
			p := newTap(t)
			readTheWire(t, newSite(t, siteOptions{batteries: []sim.Battery{k.battery}, load: 700, front: p.front}), k.model, k.timer, p)
		})
	}
}

// listener writes down what passes on the wire.
type listener interface {
	end()
	packets() []packet
	heard() []string
}

func (c *capture) heard() []string { return c.ports }

// readTheWire judges what passes while flexd does a whole dispatch.
func readTheWire(t *testing.T, s *site, model int, timer string, c listener) {
	t.Helper()
	bat := s.devices[0]
	s.inside()
	start := second(2 * time.Second)
	end := start.Add(24 * time.Second) // longer than one renewal takes
	s.instruct(ask("i1", "0.00333", "export", start, end))
	until(start.Add(2 * time.Second))
	fallback, ok := bat.Value(model, timer)
	if !ok || fallback <= 0 {
		t.Fatalf("no fall-back is armed: %v", fallback)
	}
	s.await(time.Until(end)+5*time.Second, "completed", func() bool { return s.ear.has("i1", "completed") })
	s.kill()
	c.end()
	w := wire{t: t, packets: c.packets()}
	w.whole()
	w.answered()
	w.oneConnection(c.heard())
	w.paced(50 * time.Millisecond)
	w.onlyControls(controls(bat))
	w.renewed(start, end, time.Duration(fallback)*time.Second/2)
}

// wire judges what was captured.
type wire struct {
	t       *testing.T
	packets []packet
}

// whole wants every byte to belong to a message that tshark understands, and
// none to be a refusal.
func (w wire) whole() {
	w.t.Helper()
	n := 0
	for _, p := range w.packets {
		if p.faults != "" {
			w.t.Errorf("packet %s: %s", p.number, p.faults)
		}
		if p.payload > 0 && len(p.frames) != 1 {
			w.t.Errorf("packet %s: %d messages in %d bytes, want one", p.number, len(p.frames), p.payload)
		}
		n += len(p.frames)
	}
	if n < 100 {
		w.t.Errorf("only %d messages were captured", n)
	}
	w.t.Logf("%d packets, %d messages", len(w.packets), n)
}

// answered wants each request to have its own answer before the next one. The
// end of the program may cut the last.
func (w wire) answered() {
	w.t.Helper()
	open := map[string]*frame{}
	for _, p := range w.packets {
		for _, f := range p.frames {
			asked := open[p.stream]
			switch {
			case p.toward != "" && asked != nil:
				w.t.Errorf("packet %s: transaction %d before %d was answered", p.number, f.transaction, asked.transaction)
			case p.toward == "" && asked == nil:
				w.t.Errorf("packet %s: transaction %d answers no request", p.number, f.transaction)
			case p.toward == "" && (asked.transaction != f.transaction || asked.function != f.function):
				w.t.Errorf("packet %s: answers transaction %d function %d to %d and %d", p.number, f.transaction, f.function, asked.transaction, asked.function)
			}
			delete(open, p.stream)
			if p.toward != "" {
				open[p.stream] = &f
			}
		}
	}
}

func (w wire) oneConnection(ports []string) {
	w.t.Helper()
	for _, port := range ports {
		n := 0
		for _, p := range w.packets {
			if p.opening && p.toward == port {
				n++
			}
		}
		if n != 1 {
			w.t.Errorf("%d connections to port %s, want one", n, port)
		}
	}
}

// paced wants a pause after each answer. The capture sees the answer before
// flexd does, and the request after it.
func (w wire) paced(gap time.Duration) {
	w.t.Helper()
	answered := map[string]time.Time{}
	for _, p := range w.packets {
		if len(p.frames) == 0 {
			continue
		}
		if p.toward == "" {
			answered[p.stream] = p.at
		} else if last, ok := answered[p.stream]; ok && p.at.Sub(last) < gap-time.Millisecond {
			w.t.Errorf("packet %s: %v after the answer before, want %v", p.number, p.at.Sub(last), gap)
		}
	}
}

const writeMultiple = 16

func isWrite(f frame) bool { return f.function != 3 && f.function != 4 }

func (w wire) onlyControls(allowed map[int]bool) {
	w.t.Helper()
	for _, p := range w.packets {
		for _, f := range p.frames {
			if p.toward == "" || !isWrite(f) {
				continue
			}
			if f.function != writeMultiple || f.count < 1 {
				w.t.Errorf("packet %s: function %d for %d registers", p.number, f.function, f.count)
			}
			for a := f.address; a < f.address+f.count; a++ {
				if !allowed[a] {
					w.t.Errorf("packet %s: writes register %d, which is no point of control", p.number, a)
				}
			}
		}
	}
}

// renewed wants the writes of the window to be no further apart than allowed,
// and none before it.
func (w wire) renewed(start, end time.Time, most time.Duration) {
	w.t.Helper()
	last, rounds := start, 0
	for _, p := range w.packets {
		if p.toward == "" || !slices.ContainsFunc(p.frames, isWrite) {
			continue
		}
		if p.at.Before(start.Add(-10 * time.Millisecond)) {
			w.t.Errorf("packet %s: written %v before the window", p.number, start.Sub(p.at))
		}
		if p.at.After(end) {
			continue
		}
		gap := p.at.Sub(last)
		if gap > most {
			w.t.Errorf("packet %s: written %v after the write before, want %v", p.number, gap, most)
		}
		if gap > time.Second || rounds == 0 {
			rounds++
			w.t.Logf("written %v into the window, %v after the write before", p.at.Sub(start).Round(time.Millisecond), gap.Round(time.Millisecond))
		}
		last = p.at
	}
	if rounds < 2 {
		w.t.Errorf("%d rounds of writes, want the order and at least one renewal", rounds)
	}
	if gap := end.Sub(last); gap > most {
		w.t.Errorf("nothing was written in the last %v", gap)
	}
}
