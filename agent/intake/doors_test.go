package intake

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

func TestOneInstructionByThreeDoorsActsOnceAndEachDoorIsNoted(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(nil)
		r.market.count = 1
		r.market.sets["u"] = []flex.Instruction{start("i1", "a")}
		r.market.sets["list"] = r.market.sets["u"]
		r.start(t)
		first := time.Now()
		if err := r.Accept(t.Context(), body("u")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		if err := r.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * time.Second)
		relayed := body("u")
		relayed.Door, relayed.Received = flex.DoorRelay, time.Now()
		if err := r.Accept(t.Context(), relayed); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		for range 3 {
			_ = r.Poll(t.Context())
		}
		synctest.Wait()
		if n := len(r.book.offers); n != 1 {
			t.Fatalf("%d offers", n)
		}
		got := map[flex.Door]time.Duration{}
		for _, s := range r.book.sights {
			if _, twice := got[s.Door]; twice || s.Instruction != "i1" {
				t.Errorf("sighting %+v", s)
			}
			got[s.Door] = s.At.Sub(first).Round(time.Second)
		}
		if fmt.Sprint(got) != "map[poll:3s relay:7s webhook:0s]" {
			t.Errorf("sightings %v", got)
		}
	})
}

func TestADoorThatComesWhileTheFirstIsBeingStoredIsNoted(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(nil)
		r.market.count = 1
		r.market.offer("u", start("i1", "a"))
		r.book.gate = make(chan struct{})
		r.start(t)
		accepted := make(chan error, 2)
		for _, door := range []flex.Door{flex.DoorWebhook, flex.DoorRelay} {
			env := body("u")
			env.Door = door
			go func() { accepted <- r.Accept(t.Context(), env) }()
			time.Sleep(time.Second)
		}
		close(r.book.gate)
		if err := errors.Join(<-accepted, <-accepted); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * refetchGap)
		synctest.Wait()
		n, _, _ := r.book.Notice(idOf("u"))
		if n.State != flex.NoticeFetched || len(n.Doors) != 2 {
			t.Errorf("notice %+v", n)
		}
		if got := r.book.ids(); len(got) != 1 || len(r.book.sights) != 2 {
			t.Errorf("offers %v, sightings %+v", got, r.book.sights)
		}
	})
}

func TestWhatTheMarketSentIsKeptAsItCame(t *testing.T) {
	r := newRig(nil)
	r.market.sets["list"] = []flex.Instruction{start("i1", "a")}
	r.market.raw = []byte(`[{"id":"i1"}]`)
	for range 3 {
		if err := r.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.book.replies) != 1 {
		t.Fatalf("%d replies kept, want the one that brought something", len(r.book.replies))
	}
	text, err := io.ReadAll(flate.NewReader(bytes.NewReader(r.book.replies[0].Raw)))
	if err != nil || !bytes.Equal(text, r.market.raw) || r.book.replies[0].Bytes != len(text) || len(r.book.replies[0].Hash) != 64 {
		t.Errorf("%+v: %q, %v", r.book.replies[0], text, err)
	}
}

func TestANewNotificationDoesNotWaitBehindThoseThatFail(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(nil)
		r.market.count = 1
		r.market.hang = map[string]bool{}
		r.start(t)
		for n := range fetchers + 4 {
			u := fmt.Sprintf("h%d", n)
			r.market.set(func() { r.market.hang[u] = true })
			if err := r.Accept(t.Context(), body(u)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute) // they are retried, each for long
		r.market.set(func() { r.market.sets["u"] = []flex.Instruction{start("i1", "a")} })
		if err := r.Accept(t.Context(), body("u")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(r.book.offers) != 1 {
			t.Error("the new one waits")
		}
	})
}
