package intake

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"flexd/agent/flex"
)

// What nobody signed anybody can invent, and each new one costs the market
// several requests with our token. So there is a budget for them, of one source
// and in all. Nothing is lost by it: the list is asked instead, now and then.
const (
	freePerSource = 20 // at once, and so many a minute
	freeInAll     = 60
	freeSources   = 1024 // whose budget is remembered
	freeList      = 30 * time.Second
)

// budget bounds what is taken without proof. It is safe for concurrent use.
type budget struct {
	mu      sync.Mutex
	all     *rate.Limiter
	sources map[string]*rate.Limiter
	order   []string
	listed  time.Time // when the list was asked for last
}

func newBudget() *budget {
	return &budget{all: perMinute(freeInAll), sources: map[string]*rate.Limiter{}}
}

func perMinute(n int) *rate.Limiter { return rate.NewLimiter(rate.Limit(float64(n)/60), n) }

// take tells whether one more of the source may be followed; one that many
// share has no budget of its own. list asks for the market's list instead.
func (b *budget) take(source string, shared bool, now time.Time) (ok, list bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if shared {
		return b.inAll(now)
	}
	own, known := b.sources[source]
	if !known {
		if len(b.order) >= freeSources {
			delete(b.sources, b.order[0])
			b.order = b.order[1:]
		}
		own = perMinute(freePerSource)
		b.sources[source], b.order = own, append(b.order, source)
	}
	if own.AllowN(now, 1) {
		return b.inAll(now)
	}
	return false, b.list(now)
}

func (b *budget) inAll(now time.Time) (ok, list bool) {
	if b.all.AllowN(now, 1) {
		return true, false
	}
	return false, b.list(now)
}

// list tells whether the market's list is due.
func (b *budget) list(now time.Time) bool {
	due := now.Sub(b.listed) >= freeList
	if due {
		b.listed = now
	}
	return due
}

// afford refuses for now what goes beyond the budget of what nobody signed.
func (i *Intake) afford(n flex.Notice, env flex.Envelope) error {
	if n.KeyID != flex.UnsignedKey {
		return nil
	}
	ok, list := i.budget.take(env.Source, env.Shared, time.Now())
	if ok {
		return nil
	}
	if list {
		i.cfg.Health.Raise(CodeTooMany, "", fmt.Sprintf("more come than are followed one by one (%d a minute from one source, %d in all), among others from %s; the market's list is read instead", freePerSource, freeInAll, env.Source))
		i.mu.Lock()
		i.refusedAt = time.Now() // taken back with the notice of refusals
		i.mu.Unlock()
		if i.cfg.PollNow != nil {
			i.cfg.PollNow()
		}
	}
	return &flex.RetryError{After: freeList, Err: flex.Refuse(flex.ReasonTooMany, "too many notifications that nobody signed")}
}
