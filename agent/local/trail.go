package local

import "sync"

// trailLength is fifteen minutes at a point a second.
const trailLength = 900

// Trail is the recent past of the chart. It is safe for concurrent use; the
// zero value is empty.
type Trail struct {
	mu     sync.Mutex
	points []Point
	next   int
}

// Add appends a point, dropping the oldest when full.
func (t *Trail) Add(p Point) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.points) < trailLength {
		t.points = append(t.points, p)
		return
	}
	t.points[t.next] = p
	t.next = (t.next + 1) % trailLength
}

// All gives a copy, oldest first.
func (t *Trail) All() []Point {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]Point, 0, len(t.points))
	return append(append(out, t.points[t.next:]...), t.points[:t.next]...)
}
