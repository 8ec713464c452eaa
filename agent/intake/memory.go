package intake

import "sync"

// memory counts keys and forgets the oldest ones beyond its bound, so that no
// sender can make it grow.
type memory struct {
	limit int

	mu    sync.Mutex
	count map[string]int
	order []string
}

func newMemory(limit int) *memory {
	return &memory{limit: limit, count: make(map[string]int)}
}

// note counts the key and tells how often it was noted before.
func (m *memory) note(key string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	before, known := m.count[key]
	if !known {
		if len(m.order) >= m.limit {
			delete(m.count, m.order[0])
			m.order = m.order[1:]
		}
		m.order = append(m.order, key)
	}
	m.count[key] = before + 1
	return before
}

// has tells whether the key is remembered.
func (m *memory) has(key string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.count[key] > 0
}
