package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"flexd/agent/config"
	"flexd/agent/flex"
)

// Finding is something outside the configuration file that a good file may
// still be held up by.
type Finding struct {
	Path   string `json:"path"`            // of the key
	What   string `json:"what"`            // what was found
	Remedy string `json:"remedy"`          // what to do
	Broken bool   `json:"broken"`          // proven wrong; else only doubtful, or not to be seen from here
	File   string `json:"file,omitempty"`  // the file it is about
	Until  string `json:"until,omitempty"` // when it begins to matter, RFC 3339
}

// keysFolder is where the unit loads credentials from (LoadCredential=).
const keysFolder = "/etc/flexd/keys"

// inspection gathers findings; it connects to nothing but asks the resolver.
type inspection struct {
	now  time.Time
	list []Finding
}

func (n *inspection) add(f Finding) { n.list = append(n.list, f) }

// Inspect reads what the configuration points at without connecting to
// anything: secrets, certificates, folders, host names and the size of powers.
func Inspect(ctx context.Context, c *config.Config, now time.Time) []Finding {
	n := &inspection{now: now}
	n.secret("market.api_key", c.Market.APIKey)
	for i, o := range c.Market.Operators {
		for _, k := range o.Keys {
			n.secret(fmt.Sprintf("market.operators[%d].key_file", i), k)
		}
	}
	if h := c.Ingress.Webhook; h != nil && !h.Plain {
		if leaf := n.pair("ingress.webhook.tls.cert", h.Cert, h.Key); leaf != nil {
			n.covers("ingress.webhook.public_url", leaf, h.PublicURL)
		}
	}
	if h := c.Ingress.Webhook; h != nil {
		n.door(h)
	}
	if m := c.MQTT; m != nil {
		n.authority("mqtt.ca", m.CA)
		if !m.Cert.None() {
			if leaf := n.pair("mqtt.cert", m.Cert, m.Key); leaf != nil && leaf.Subject.CommonName != string(c.Site.ID) {
				n.add(Finding{Path: "mqtt.cert", What: fmt.Sprintf("is a certificate of %q, and the site is %q", leaf.Subject.CommonName, c.Site.ID),
					Remedy: "use the certificate whose common name is the site's id: brokers grant topics by it"})
			}
		}
	}
	n.signed(c)
	n.folder(c.Data)
	n.powers(c)
	n.names(ctx, c)
	return n.list
}

// secret looks at a file that holds a key, without keeping it.
func (n *inspection) secret(path string, s config.Secret) (file string, ok bool) {
	if s.None() {
		return "", false
	}
	file, err := secretPath(s)
	if err != nil { // not within the service: look where the unit takes credentials from
		file = filepath.Join(keysFolder, filepath.Base(s.Credential))
	}
	info, err := os.Stat(file)
	switch {
	case err != nil:
		n.add(Finding{Path: path, File: file, What: "cannot be read: " + reason(err), Remedy: "put the file there, readable by the service's user"})
		return file, false
	case info.IsDir():
		n.add(Finding{Path: path, File: file, What: "is a folder", Remedy: "name a file", Broken: true})
		return file, false
	case info.Size() == 0:
		n.add(Finding{Path: path, File: file, What: "is empty", Remedy: "put the secret into it", Broken: true})
		return file, false
	case info.Mode().Perm()&0o004 != 0:
		n.add(Finding{Path: path, File: file, What: "can be read by every user of this machine", Remedy: "chmod o-r " + file})
	}
	return file, true
}

// folder looks at the folder of the agent's state.
func (n *inspection) folder(data string) {
	info, err := os.Stat(data)
	switch {
	case os.IsNotExist(err):
		if _, perr := os.Stat(filepath.Dir(data)); perr != nil {
			n.add(Finding{Path: "data", File: data, What: "is not there, nor is the folder above it", Remedy: "create it, owned by the service's user"})
		}
		return
	case err != nil:
		n.add(Finding{Path: "data", File: data, What: "cannot be looked at: " + reason(err), Remedy: "give the service's user access to it"})
		return
	case !info.IsDir():
		n.add(Finding{Path: "data", File: data, What: "is not a folder", Remedy: "name a folder for the agent's state", Broken: true})
		return
	}
	var fsys syscall.Statfs_t
	if err := syscall.Statfs(data, &fsys); err != nil {
		return
	}
	const readOnly, least = 1, 64 << 20 // ST_RDONLY of statvfs(3); what a year's state needs
	if fsys.Flags&readOnly != 0 {
		n.add(Finding{Path: "data", File: data, What: "lies on a file system that is mounted read-only", Remedy: "mount it writable", Broken: true})
	}
	if free := fsys.Bavail * uint64(fsys.Bsize); free < least {
		n.add(Finding{Path: "data", File: data, What: fmt.Sprintf("has %d MiB free", free>>20), Remedy: "free at least 64 MiB there"})
	}
}

// usual is above what a unit with a Modbus socket of its own feeds in; more is
// more often MW written where kW was meant.
const usual flex.Watts = 5_000_000

// powers asks about sizes that are unusual for a site behind one gateway.
func (n *inspection) powers(c *config.Config) {
	ask := func(path string, w flex.Watts) {
		if w >= usual {
			n.add(Finding{Path: path, What: fmt.Sprintf("is %s, far above what is usual", w), Remedy: "is kW meant? Leave it as it is when it is right"})
		}
	}
	ask("site.import_limit", c.Site.ImportLimit)
	ask("site.export_limit", c.Site.ExportLimit)
	for i, d := range c.Devices {
		ask(fmt.Sprintf("devices[%d].max_power", i), d.MaxPower)
		ask(fmt.Sprintf("devices[%d].max_charge_rate", i), d.MaxCharge)
		ask(fmt.Sprintf("devices[%d].ramp", i), d.Ramp)
	}
	for i, a := range c.Assets {
		ask(fmt.Sprintf("assets[%d].max_dispatch", i), a.MaxDispatch)
	}
}

// reason is an error of the file system without the path, which is told beside it.
func reason(err error) string {
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}
