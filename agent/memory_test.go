package agent_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"flexd/drivers/sim"
)

// BenchmarkResident runs the real program for a while over simulated devices
// and reads what the kernel says of it: resident memory and the share of one
// core, at a reading a second and device.
func BenchmarkResident(b *testing.B) {
	for _, n := range []int{1, 64} {
		b.Run(fmt.Sprintf("devices=%d", n), func(b *testing.B) {
			plant := sim.NewPlant(sim.Config{Tick: 200 * time.Millisecond})
			var devices strings.Builder
			for i := range n {
				d, err := plant.AddBattery(sim.Battery{Rated: 10_000, Capacity: 20_000, SoC: 0.5})
				must(b, err)
				fmt.Fprintf(&devices, "  - {id: bat%d, driver: sunspec, role: storage, address: '%s'}\n", i, d.Addr())
			}
			ctx, cancel := context.WithCancel(context.Background())
			var wg sync.WaitGroup
			wg.Go(func() { _ = plant.Run(ctx) })
			b.Cleanup(func() { cancel(); wg.Wait() })
			for b.Loop() {
				resident(b, devices.String())
			}
		})
	}
}

// resident runs one process for ten seconds.
func resident(b *testing.B, devices string) {
	dir := b.TempDir()
	must(b, os.WriteFile(filepath.Join(dir, "key"), []byte("k"), 0o600))
	config := filepath.Join(dir, "flexd.yaml")
	must(b, os.WriteFile(config, []byte("site: {id: bench}\nmarket: {base_url: 'http://127.0.0.1:9', client_id: x, api_key: {file: key}}\ndata: state\n"+
		"local: {listen: off, socket: flexd.sock}\ndevices:\n"+devices), 0o600))
	bin, err := program()
	must(b, err)
	cmd := exec.Command(bin, "run", "--config", config, "--log-level", "error")
	must(b, cmd.Start())
	defer func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() }()
	time.Sleep(5 * time.Second) // every device is identified
	before := ticks(b, cmd.Process.Pid)
	time.Sleep(5 * time.Second)
	used := ticks(b, cmd.Process.Pid) - before
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	must(b, err)
	for line := range strings.Lines(string(status)) {
		if kb, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.Atoi(strings.Fields(kb)[0])
			must(b, err)
			b.ReportMetric(float64(n)/1024, "rss-MiB")
		}
	}
	b.ReportMetric(float64(used)/5, "core-%") // 100 ticks are a second (proc(5), USER_HZ)
}

// ticks is the processor time used so far.
func ticks(b *testing.B, pid int) int {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	must(b, err)
	fields := strings.Fields(string(stat))
	user, err := strconv.Atoi(fields[13])
	must(b, err)
	system, err := strconv.Atoi(fields[14])
	must(b, err)
	return user + system
}
