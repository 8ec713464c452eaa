package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"flexd/agent/clock"
	"flexd/agent/config"
	"flexd/agent/health"
	"flexd/firmware"
	"flexd/systemd"
)

// Fits builds of a configuration all that a start builds, in a folder of its
// own that is thrown away, and tells why it would not start. It connects to
// nothing.
func Fits(cfg *config.Config) (err error) {
	dir, err := os.MkdirTemp("", "flexd-check-")
	if err != nil {
		return fmt.Errorf("cannot try the configuration: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	own := *cfg
	own.Data = dir
	own.Ingress.Webhook, own.MQTT = withFiles(cfg)
	a := &Agent{log: slog.New(slog.DiscardHandler), id: firmware.Self(), trial: true, started: time.Now().UTC()}
	a.wall = clock.New(&clock.System{BootID: systemd.BootID()}, a.id.Built)
	a.events = newEvents(a.log, a.wall.Stamp)
	db, err := a.openStore(dir)
	if err != nil {
		return fmt.Errorf("cannot try the configuration: %w", err)
	}
	a.conf, a.db = loaded{cfg: &own, db: db, path: dir}, db
	a.health = health.New(items(own.RequireCommissioning), a.events.changed)
	built := a.build()
	return errors.Join(built, a.Close())
}

// withFiles are the doors with their credentials named as files: those that
// only the service manager hands over are not there outside of the service.
func withFiles(cfg *config.Config) (*config.Webhook, *config.MQTT) {
	file := func(s config.Secret) config.Secret {
		if _, err := secretPath(s); err != nil {
			return config.Secret{File: filepath.Join(keysFolder, filepath.Base(s.Credential))}
		}
		return s
	}
	hook, mqtt := cfg.Ingress.Webhook, cfg.MQTT
	if hook != nil {
		h := *hook
		h.Cert, h.Key = file(h.Cert), file(h.Key)
		hook = &h
	}
	if mqtt != nil {
		m := *mqtt
		m.CA, m.Cert, m.Key = file(m.CA), file(m.Cert), file(m.Key)
		mqtt = &m
	}
	return hook, mqtt
}
