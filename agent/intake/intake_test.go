package intake

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

func TestNotificationBecomesOffer(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(nil)
		r.market.count = 1
		r.market.sets["u"] = []flex.Instruction{start("i1", "a")}
		r.start(t)
		if err := r.Accept(t.Context(), body("u")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := r.book.ids(); !slices.Equal(got, []string{"i1/a"}) {
			t.Fatalf("offers = %v", got)
		}
		o := r.book.offers[0]
		if o.Door != flex.DoorWebhook || o.Notification != idOf("u") || o.Obligation.ID != "ob1" || len(o.Named) != 1 || len(o.Ours) != 1 {
			t.Errorf("offer = %+v", o)
		}
		if got := r.book.acks(); got != "notified verified fetched" {
			t.Errorf("acks = %q", got)
		}
		if s := r.book.state(idOf("u")); s != flex.NoticeFetched || r.notes.wakes != 1 {
			t.Errorf("state %s, wakes %d", s, r.notes.wakes)
		}
	})
}

func TestRefusedBodyLeavesNothingInTheBook(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "refused")
	r := newRig(func(c *Config) { c.RefusedDir = dir })
	env := flex.Envelope{Door: flex.DoorWebhook, Header: map[string][]string{"Authorization": {"Bearer s3cret"}, "Content-Type": {"a\r\nb"}}, Body: []byte("forged")}
	refusal, ok := flex.RefusalOf(r.Accept(t.Context(), env))
	if !ok || refusal.Reason != flex.ReasonSignatureInvalid {
		t.Fatalf("refusal = %v", refusal)
	}
	if r.book.commits != 0 || len(r.book.notices) != 0 || r.market.fetched() != 0 || !r.notes.raised(CodeNotificationRefused) {
		t.Errorf("commits %d, fetches %d, items %v", r.book.commits, r.market.fetched(), r.notes.items)
	}
	files, _ := os.ReadDir(dir)
	if len(files) != 2 {
		t.Fatalf("files = %v", files)
	}
	for _, f := range files {
		info, _ := f.Info()
		text, _ := os.ReadFile(filepath.Join(dir, f.Name()))
		if info.Mode().Perm() != 0o600 || strings.Contains(string(text), "s3cret") {
			t.Errorf("%s: mode %v, %q", f.Name(), info.Mode(), text)
		}
	}
}

func TestRefusedFolderIsBounded(t *testing.T) {
	f := newRefusedFolder(t.TempDir())
	now := time.Now()
	for n := range 200 {
		now = now.Add(time.Minute)
		b := make([]byte, 100_000)
		f.keep(flex.Envelope{Body: b}, fmt.Sprintf("%064d", n), flex.Refuse(flex.ReasonMalformed, "x"), now)
	}
	files, _ := os.ReadDir(f.dir)
	var total int64
	for _, e := range files {
		info, _ := e.Info()
		total += info.Size()
	}
	if len(files) > refusedFiles || total > refusedBytes || len(files) == 0 {
		t.Errorf("%d files, %d bytes", len(files), total)
	}
	for n := range 100 { // small bodies: the number counts
		now = now.Add(time.Minute)
		f.keep(flex.Envelope{Body: []byte("x")}, fmt.Sprintf("%064d", 1000+n), flex.Refuse(flex.ReasonMalformed, "x"), now)
	}
	if files, _ = os.ReadDir(f.dir); len(files) > refusedFiles {
		t.Errorf("%d files", len(files))
	}
	f.dir = "/proc/none/x"
	f.keep(flex.Envelope{Body: []byte("x")}, "00", flex.Refuse(flex.ReasonMalformed, "x"), now.Add(time.Hour))
}

func TestStorageFailureIsNotAccepted(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(nil)
		r.market.sets["u"] = []flex.Instruction{start("i1", "a")}
		r.book.failPut = errors.New("disk full")
		r.start(t)
		err := r.Accept(t.Context(), body("u"))
		if _, refused := flex.RefusalOf(err); err == nil || refused {
			t.Fatalf("Accept = %v, want an error that asks to send again", err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		synctest.Wait()
		if r.book.commits != 0 || len(r.book.offers) != 0 || len(r.jobs) != 0 || !r.notes.raised(CodeNotificationUnstored) {
			t.Errorf("half applied: commits %d offers %d jobs %d", r.book.commits, len(r.book.offers), len(r.jobs))
		}
		r.book.failPut = nil
		if err := r.Accept(t.Context(), body("u")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(r.book.offers) != 1 {
			t.Errorf("offers = %v", r.book.ids())
		}
	})
}

func TestStopActsWhileTheDiskHangs(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(nil)
		r.market.sets["u"] = []flex.Instruction{start("i2", "a"), stop("s1", "i1")}
		r.book.gate = make(chan struct{})
		r.start(t)
		done := make(chan error, 1)
		go func() { done <- r.Accept(t.Context(), body("u")) }()
		synctest.Wait()
		if r.notes.stopped() != 1 || len(r.book.offers) != 0 {
			t.Fatalf("stops %d, offers %d: want the stop in memory and nothing on disk", r.notes.stopped(), len(r.book.offers))
		}
		close(r.book.gate)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(r.book.offers) != 2 || r.notes.stopped() != 1 || r.market.fetched() != 1 {
			t.Errorf("offers %v, stops %d, fetches %d", r.book.ids(), r.notes.stopped(), r.market.fetched())
		}
	})
}

func TestHungCommitsDoNotBlockLaterStops(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(nil)
		for n := range 8 {
			r.market.sets[fmt.Sprint("u", n)] = []flex.Instruction{start(fmt.Sprint("i", n), "a")}
		}
		r.market.sets["stop"] = []flex.Instruction{stop("s")}
		for n := range 8 {
			if err := r.Accept(t.Context(), body(fmt.Sprint("u", n))); err != nil {
				t.Fatal(err)
			}
		}
		r.book.gate = make(chan struct{})
		r.start(t)
		synctest.Wait()
		go func() { _ = r.Accept(t.Context(), body("stop")) }()
		synctest.Wait()
		if r.notes.stopped() != 1 {
			t.Error("the stop waits for the disk")
		}
		close(r.book.gate)
	})
}

func TestStopActsWhenTheBookCannotBeRead(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(nil)
		r.market.sets["list"] = []flex.Instruction{stop("s1", "i1"), start("i2", "a")}
		r.book.failRead = errors.New("i/o error")
		for range 3 {
			if err := r.Poll(t.Context()); err == nil {
				t.Error("Poll = nil although nothing could be read")
			}
		}
		if r.notes.stopped() != 1 {
			t.Errorf("stops = %d, want it once", r.notes.stopped())
		}
	})
}

func TestOldStopDoesNotActAgain(t *testing.T) {
	r := newRig(nil)
	r.market.sets["list"] = []flex.Instruction{stop("s1")}
	if err := r.Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.rebuild(nil) // memory is gone, the book is not
	if err := r.Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r.notes.stopped() != 1 || len(r.book.offers) != 1 || r.book.commits > 2 {
		t.Errorf("stops %d, offers %d, commits %d", r.notes.stopped(), len(r.book.offers), r.book.commits)
	}
}

func TestShortfallIsAlarmedRetriedAndHealed(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(nil)
		r.market.count = 2
		r.market.sets["u"] = []flex.Instruction{start("i1", "a")}
		r.start(t)
		if err := r.Accept(t.Context(), body("u")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(r.book.offers) != 1 {
			t.Fatal("what is there is not admitted at once")
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if !r.notes.raised(CodeInstructionsMissing) || r.book.state(idOf("u")) != flex.NoticeVerified {
			t.Errorf("items %v, state %s", r.notes.items, r.book.state(idOf("u")))
		}
		r.market.set(func() { r.market.sets["u"] = append(r.market.sets["u"], start("i2", "a")) })
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if r.notes.raised(CodeInstructionsMissing) || r.book.state(idOf("u")) != flex.NoticeFetched || len(r.book.offers) != 2 {
			t.Errorf("items %v, state %s, offers %v", r.notes.items, r.book.state(idOf("u")), r.book.ids())
		}
	})
}

// Anybody may invent a pointer where nothing is signed: one that leads nowhere
// costs a few looks and no alarm. A signed one is followed on.
func TestAPointerThatNobodySignedAndThatLeadsNowhereIsLetGo(t *testing.T) {
	for key, want := range map[string]flex.NoticeState{flex.UnsignedKey: flex.NoticeFetched, "k1": flex.NoticeVerified} {
		clocktest.Bubble(t, func(t *testing.T) {
			r := newRig(nil)
			r.market.keyID, r.market.fail = key, fmt.Errorf("404: %w", flex.ErrNothingThere)
			r.start(t)
			if err := r.Accept(t.Context(), body("u")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Minute)
			synctest.Wait()
			signed := key != flex.UnsignedKey
			if n := r.market.fetched(); signed != (n > 5) {
				t.Errorf("%s: looked %d times", key, n)
			}
			if r.notes.raised(CodeInstructionsMissing) != signed || r.book.state(idOf("u")) != want {
				t.Errorf("%s: items %v, state %s", key, r.notes.items, r.book.state(idOf("u")))
			}
		})
	}
}

func TestFetchBacksOffAndHonoursRetryAfter(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(nil)
		r.market.fail = errors.New("no route")
		r.start(t)
		began := time.Now()
		if err := r.Accept(t.Context(), body("u")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := r.market.fetched(); n < 10 || n > 17 {
			t.Errorf("%d fetches in 10 min, want doubling from 1 s to 60 s", n)
		}
		r.market.set(func() { r.market.fail = &flex.RetryError{After: 20 * time.Minute, Err: errors.New("429")} })
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		before := r.market.fetched()
		time.Sleep(15 * time.Minute)
		synctest.Wait()
		if n := r.market.fetched(); n != before {
			t.Errorf("%d fetches within Retry-After", n-before)
		}
		r.market.set(func() { r.market.fail = errors.New("404") })
		time.Sleep(48 * time.Hour)
		synctest.Wait()
		n := r.market.fetched()
		if last := r.market.fetches[n-1].Sub(began); last > 25*time.Hour {
			t.Errorf("still tried after %v", last)
		}
		if s := r.book.state(idOf("u")); s != flex.NoticeInvalid || r.book.acks() != "notified verified invalid" {
			t.Errorf("state %s, acks %q", s, r.book.acks())
		}
	})
}

func TestReplyThatBreaksOffIsKeptAsFarAsItGoes(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(nil)
		r.market.count = 2
		r.market.sets["u"] = []flex.Instruction{start("i1", "a"), stop("s1")}
		r.market.sets["list"] = []flex.Instruction{start("i2", "a")}
		r.market.broken = errors.New("page 2: connection reset")
		r.start(t)
		if err := r.Accept(t.Context(), body("u")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := r.book.ids(); len(got) != 2 || r.notes.stopped() != 1 || r.book.state(idOf("u")) != flex.NoticeVerified {
			t.Errorf("offers %v, stops %d, state %s", got, r.notes.stopped(), r.book.state(idOf("u")))
		}
		if err := r.Poll(t.Context()); err == nil || len(r.book.ids()) != 3 {
			t.Errorf("Poll = %v, offers %v", err, r.book.ids())
		}
	})
}

func TestRestartResumesOpenNotices(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(nil)
		if err := r.Accept(t.Context(), body("u")); err != nil { // no loop runs: crash right after the 2xx
			t.Fatal(err)
		}
		r.rebuild(nil)
		r.market.sets["u"] = []flex.Instruction{start("i1", "a")}
		r.book.failNext = 2
		r.start(t)
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(r.book.offers) != 1 || r.book.acks() != "notified verified fetched" {
			t.Errorf("offers %v, acks %q", r.book.ids(), r.book.acks())
		}
	})
}

func TestRepeatedNotificationIsFetchedAgainAtMostEvery30s(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(nil)
		r.market.sets["u"] = []flex.Instruction{start("i1", "a")}
		r.start(t)
		for range 5 {
			if err := r.Accept(t.Context(), body("u")); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		r.market.set(func() { r.market.sets["u"] = []flex.Instruction{start("i1", "b")} }) // amended, same bytes
		if n := r.market.fetched(); n != 1 {
			t.Fatalf("%d fetches at once", n)
		}
		if s := r.book.state(idOf("u")); s != flex.NoticeVerified {
			t.Errorf("state %s: a crash now would lose the amendment", s)
		}
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if got := r.book.ids(); r.market.fetched() != 2 || !slices.Equal(got, []string{"i1/a", "i1/b"}) {
			t.Errorf("%d fetches, offers %v", r.market.fetched(), got)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if r.book.acks() != "notified verified fetched" || r.market.fetched() != 2 || len(r.jobs) != 0 {
			t.Errorf("acks %q, fetches %d, jobs %d", r.book.acks(), r.market.fetched(), len(r.jobs))
		}
	})
}

func TestRepetitionSurvivesACrash(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(nil)
		r.market.sets["u"] = []flex.Instruction{start("i1", "a")}
		end := r.start(t)
		for range 2 {
			if err := r.Accept(t.Context(), body("u")); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		end()
		r.market.sets["u"] = []flex.Instruction{start("i1", "b")}
		r.rebuild(nil)
		r.start(t)
		synctest.Wait()
		if got := r.book.ids(); !slices.Equal(got, []string{"i1/a", "i1/b"}) || r.book.acks() != "notified verified fetched" {
			t.Errorf("offers %v, acks %q", got, r.book.acks())
		}
	})
}

// Whatever the order of duplicates, doors, crashes and failing commits, each
// content of each instruction is offered exactly once.
func TestPermutationsOfferEachOnce(t *testing.T) {
	for seed := range uint64(60) {
		clocktest.Bubble(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			r := newRig(nil)
			var want []string
			for n := range 4 {
				url := fmt.Sprint("u", n)
				for k := range 3 {
					in := start(fmt.Sprint("i", (n+k)%6), fmt.Sprint("c", (n+k)%6))
					in.HasRevision = (n+k)%2 == 0
					r.market.sets[url] = append(r.market.sets[url], in)
					want = append(want, string(in.ID)+"/"+in.Content)
				}
				r.market.sets["list"] = append(r.market.sets["list"], r.market.sets[url]...)
			}
			end := r.start(t)
			for range 40 {
				switch rnd.IntN(10) {
				case 0:
					_ = r.Poll(t.Context())
				case 1:
					r.book.mu.Lock()
					r.book.failNext = rnd.IntN(3)
					r.book.mu.Unlock()
				case 2:
					end()
					r.rebuild(nil)
					end = r.start(t)
				case 3:
					time.Sleep(time.Duration(rnd.IntN(40)) * time.Second)
					synctest.Wait()
				default:
					go func() { _ = r.Accept(context.Background(), body(fmt.Sprint("u", rnd.IntN(4)))) }()
					synctest.Wait()
				}
			}
			r.book.mu.Lock()
			r.book.failNext = 0
			r.book.mu.Unlock()
			for n := range 4 {
				if err := r.Accept(t.Context(), body(fmt.Sprint("u", n))); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(5 * time.Minute)
			synctest.Wait()
			slices.Sort(want)
			got := r.book.ids()
			slices.Sort(got)
			if want = slices.Compact(want); !slices.Equal(got, want) {
				t.Errorf("seed %d: offers %v, want %v", seed, got, want)
			}
			if open, _ := r.book.OpenNotices(t.Context()); len(open) != 0 {
				t.Errorf("seed %d: %d notices are open", seed, len(open))
			}
			if got := strings.Count(r.book.acks(), "fetched"); got != 4 {
				t.Errorf("seed %d: fetched was announced %d times for 4 notifications", seed, got)
			}
		})
	}
}

func BenchmarkAccept(b *testing.B) {
	r := newRig(nil)
	for n := 0; b.Loop(); n++ {
		if err := r.Accept(b.Context(), body(fmt.Sprint(n%1000))); err != nil {
			b.Fatal(err)
		}
	}
}
