package fleet

import (
	"strings"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// GroupTopic is where a site tells the others of its group what it goes by.
func GroupTopic(group, site string) string { return Prefix + "group/" + group + "/" + site }

// tellGroup publishes what is to be told, at QoS 0 and not retained: it is
// told again anyway, and what is old counts for nothing.
func (p *pump) tellGroup() {
	cfg := p.s.f.cfg
	if cfg.Siblings == nil {
		return
	}
	if body := cfg.Siblings.Say(); body != nil {
		p.s.client.Publish(GroupTopic(cfg.Group, cfg.Site), 0, false, body)
	}
}

// overheard hands a message of the group on. Our own comes back, and is none.
func (s *session) overheard(m mqtt.Message) bool {
	cfg := s.f.cfg
	if cfg.Siblings == nil {
		return false
	}
	site, ok := strings.CutPrefix(m.Topic(), GroupTopic(cfg.Group, ""))
	if ok && site != cfg.Site && !m.Retained() && len(m.Payload()) <= maxRequest {
		cfg.Siblings.Hear(site, m.Payload())
	}
	if ok {
		m.Ack()
	}
	return ok
}
