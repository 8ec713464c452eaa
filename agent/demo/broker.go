package demo

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

// Broker is an MQTT broker inside the process that lets everyone do
// everything: for loopback only.
type Broker struct {
	server *mqtt.Server
	addr   string
	close  sync.Once

	mu   sync.Mutex
	next int // subscription identifier
}

// NewBroker binds a free port on loopback; Run serves it.
func NewBroker(log *slog.Logger) (*Broker, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("cannot listen for mqtt: %w", err)
	}
	b := &Broker{server: mqtt.New(&mqtt.Options{InlineClient: true, Logger: log}), addr: l.Addr().String(), next: 1}
	if err := b.server.AddHook(new(auth.AllowHook), nil); err != nil {
		l.Close()
		return nil, fmt.Errorf("cannot open the broker to all: %w", err)
	}
	if err := b.server.AddListener(listeners.NewNet("loopback", l)); err != nil {
		l.Close()
		return nil, fmt.Errorf("cannot add the broker's listener: %w", err)
	}
	return b, nil
}

// Addr is where it listens, host:port.
func (b *Broker) Addr() string { return b.addr }

// URL is the address as the configuration wants it.
func (b *Broker) URL() string { return "mqtt://" + b.addr }

// Run serves until ctx ends.
func (b *Broker) Run(ctx context.Context) error {
	if err := b.server.Serve(); err != nil {
		return fmt.Errorf("cannot serve mqtt: %w", err)
	}
	<-ctx.Done()
	return b.Close()
}

// Close ends the broker and every connection to it.
func (b *Broker) Close() error {
	var err error
	b.close.Do(func() { err = b.server.Close() })
	if err != nil {
		return fmt.Errorf("cannot close the broker: %w", err)
	}
	return nil
}

// Subscribe calls heard for every message that matches the filter, retained
// ones first, in the order the broker sees them. It must return quickly: the
// sender waits for it.
func (b *Broker) Subscribe(filter string, heard func(topic string, payload []byte)) error {
	b.mu.Lock()
	id := b.next
	b.next++
	b.mu.Unlock()
	err := b.server.Subscribe(filter, id, func(_ *mqtt.Client, _ packets.Subscription, pk packets.Packet) {
		heard(pk.TopicName, append([]byte(nil), pk.Payload...))
	})
	if err != nil {
		return fmt.Errorf("cannot subscribe to %s: %w", filter, err)
	}
	return nil
}

// Publish sends a message as the broker's own client.
func (b *Broker) Publish(topic string, payload []byte, retain bool) error {
	if err := b.server.Publish(topic, payload, retain, 1); err != nil {
		return fmt.Errorf("cannot publish to %s: %w", topic, err)
	}
	return nil
}
