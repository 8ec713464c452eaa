package modbus

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func writeOf(unit byte, value uint16, p Priority) Request {
	return Request{Unit: unit, Func: WriteMultiple, Addr: 40, Values: []uint16{value}, Priority: p}
}

// A write on the wire has half its timeout before a stop cuts it: its outcome
// would not be known, and most answers come well within that.
func TestAStopGivesAWriteHalfItsTimeout(t *testing.T) {
	for _, c := range []struct {
		name    string
		latency time.Duration
		silent  bool
		want    time.Duration // after which the write ends
		err     error
	}{
		{"answered in 0.4 s", 400 * time.Millisecond, false, 400 * time.Millisecond, nil},
		{"never answered", 5 * time.Millisecond, true, 500 * time.Millisecond, ErrOvertaken},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := &device{latency: time.Millisecond, dead: map[byte]bool{}}
			bubble(t, d, Quirks{Timeout: time.Second, Gap: -1}, func(t *testing.T, e *Endpoint) {
				if _, err := e.Do(t.Context(), readOf(1)); err != nil {
					t.Fatal(err)
				}
				d.mu.Lock()
				d.latency, d.dead[1] = c.latency, c.silent
				d.mu.Unlock()
				began := time.Now()
				ended := make(chan time.Duration, 1)
				var err error
				go func() {
					_, err = e.Do(t.Context(), writeOf(1, 7, Write))
					ended <- time.Since(began)
				}()
				time.Sleep(100 * time.Millisecond)
				d.mu.Lock()
				d.dead[1] = false
				d.mu.Unlock()
				if _, err := e.Do(t.Context(), writeOf(1, 0, Stop)); err != nil {
					t.Errorf("stop: %v", err)
				}
				if took := <-ended; took != c.want || !errors.Is(err, c.err) {
					t.Errorf("the write ended after %v: %v, want %v and %v", took, err, c.want, c.err)
				}
			})
		})
	}
}

// A write that the device was too busy for while its stop came is not said
// again after that stop.
func TestABusyWriteGivesWayToAStopThatCameMeanwhile(t *testing.T) {
	d := &device{latency: 100 * time.Millisecond, codes: map[byte]byte{}}
	bubble(t, d, Quirks{Timeout: time.Second, Gap: -1}, func(t *testing.T, e *Endpoint) {
		if _, err := e.Do(t.Context(), readOf(1)); err != nil {
			t.Fatal(err)
		}
		d.mu.Lock()
		d.codes[1] = DeviceBusy
		d.mu.Unlock()
		done := make(chan error, 1)
		go func() {
			_, err := e.Do(t.Context(), writeOf(1, 7, Write))
			done <- err
		}()
		time.Sleep(50 * time.Millisecond)
		d.mu.Lock()
		delete(d.codes, 1)
		d.mu.Unlock()
		if _, err := e.Do(t.Context(), writeOf(1, 0, Stop)); err != nil {
			t.Errorf("stop: %v", err)
		}
		synctest.Wait()
		if err := <-done; !errors.Is(err, ErrOvertaken) {
			t.Errorf("the older write: %v, want it to have given way", err)
		}
		time.Sleep(time.Second)
		d.mu.Lock()
		defer d.mu.Unlock()
		if want := []byte{ReadHolding, WriteMultiple, WriteMultiple}; !slices.Equal(d.funcs, want) {
			t.Errorf("the device was asked by functions %v, want %v", d.funcs, want)
		}
	})
}
