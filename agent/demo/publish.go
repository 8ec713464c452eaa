package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Event is what a subscriber subscribes to.
const Event = "fp_dispatch_instruction_collection"

// Notice is a notification about to be sent. The zero value with IDs is an
// honest one.
type Notice struct {
	IDs []string // the instructions it points to

	JSON    bool   // {"payload": …} instead of the bare token
	Drop    bool   // sign and list it, but lose it on the way
	Count   *int   // announced instead of the truth
	DataURL string // announced instead of the truth
	Event   string // instead of the usual
	Claims  map[string]any
	// Forge signs with a key that nobody published.
	Forge bool
	// Alter spoils the body just before it is sent.
	Alter func([]byte) []byte
	// To is a URL to send to instead of the subscriber's.
	To string
}

// Delivery tells what became of a notification.
type Delivery struct {
	Token   string // the compact JWS
	DataURL string
	Sent    time.Time
	Took    time.Duration
	Status  int    // the subscriber's answer; 0 when it was dropped
	Reply   string // the beginning of its body
}

// ErrNotAccepted means that the subscriber did not answer 2xx. The
// instructions stay on the list.
var ErrNotAccepted = errors.New("the subscriber did not accept the notification")

// Instruct lists instructions and notifies the subscriber of them as one set.
func (m *Market) Instruct(ctx context.Context, instructions ...Instruction) (Delivery, error) {
	if err := m.List(instructions...); err != nil {
		return Delivery{}, err
	}
	var ids []string
	for _, in := range instructions {
		ids = append(ids, in.ID)
	}
	return m.Publish(ctx, Notice{IDs: ids})
}

// Stop turns a listed instruction into a stop of itself and notifies.
func (m *Market) Stop(ctx context.Context, id string) (Delivery, error) {
	m.mu.Lock()
	i := m.listedAt(id)
	var raw json.RawMessage
	if i >= 0 {
		raw = m.listed[i].raw
	}
	m.mu.Unlock()
	var in Instruction
	if err := json.Unmarshal(raw, &in); err != nil {
		return Delivery{}, fmt.Errorf("no instruction %q to stop: %w", id, err)
	}
	in.Revision, in.Type, in.Status = 0, "stop", "stopped"
	return m.Instruct(ctx, in)
}

// Publish signs a notification and posts it to the subscriber.
func (m *Market) Publish(ctx context.Context, n Notice) (Delivery, error) {
	d, to, err := m.sign(n)
	if err != nil || n.Drop {
		return d, err
	}
	body, kind := []byte(d.Token), "application/jose"
	if n.JSON {
		kind = "application/json"
		if body, err = json.Marshal(map[string]string{"payload": d.Token}); err != nil {
			return d, fmt.Errorf("cannot encode the notification: %w", err)
		}
	}
	if n.Alter != nil {
		body = n.Alter(body)
	}
	return m.post(ctx, d, to, kind, body)
}

// Repost sends any body to the subscriber, such as an earlier token again.
func (m *Market) Repost(ctx context.Context, contentType string, body []byte) (Delivery, error) {
	m.mu.Lock()
	to := m.webhook
	m.mu.Unlock()
	return m.post(ctx, Delivery{}, to, contentType, body)
}

func (m *Market) post(ctx context.Context, d Delivery, to, kind string, body []byte) (Delivery, error) {
	if to == "" {
		return d, fmt.Errorf("cannot notify: nobody has subscribed")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return d, fmt.Errorf("cannot notify %s: %w", to, err)
	}
	r.Header.Set("Content-Type", kind)
	d.Sent = m.cfg.Now()
	begun := time.Now()
	answer, err := m.cfg.Client.Do(r)
	d.Took = time.Since(begun)
	if err != nil {
		return d, fmt.Errorf("%w: %w", ErrNotAccepted, err)
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 4096)) // what arrived is enough for a message
	d.Status, d.Reply = answer.StatusCode, string(text)
	if d.Status/100 != 2 {
		return d, fmt.Errorf("%w: %s answered %d: %s", ErrNotAccepted, to, d.Status, strings.TrimSpace(d.Reply))
	}
	return d, nil
}

// sign registers the set that the notification points to and makes its token.
func (m *Market) sign(n Notice) (Delivery, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.count++
	set := strconv.Itoa(m.count)
	m.sets[set] = slices.Clone(n.IDs)
	d := Delivery{DataURL: m.URL() + "/dispatch/v1/instructions/?set=" + set}
	if n.DataURL != "" {
		d.DataURL = n.DataURL
	}
	claims := jwt.MapClaims{"event": Event, "data_url": d.DataURL, "instruction_count": len(n.IDs),
		"iat": m.now().Unix(), "jti": "notice-" + set}
	if n.Event != "" {
		claims["event"] = n.Event
	}
	if n.Count != nil {
		claims["instruction_count"] = *n.Count
	}
	for k, v := range n.Claims {
		claims[k] = v
	}
	key := m.key
	if n.Forge {
		var err error
		if key, err = rsa.GenerateKey(rand.Reader, keyBits); err != nil {
			return d, "", fmt.Errorf("cannot make a key to forge with: %w", err)
		}
	}
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	token.Header["kid"] = m.keyID
	var err error
	if d.Token, err = token.SignedString(key); err != nil {
		return d, "", fmt.Errorf("cannot sign the notification: %w", err)
	}
	to := m.webhook
	if n.To != "" {
		to = n.To
	}
	return d, to, nil
}

// keyBits is the least that RS256 allows (RFC 7518, section 3.3).
const keyBits = 2048

// RotateKey replaces the signing key; the public key address shows the new
// one from now on.
func (m *Market) RotateKey() error {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return fmt.Errorf("cannot make the market's key: %w", err)
	}
	id := make([]byte, 4)
	if _, err := rand.Read(id); err != nil {
		return fmt.Errorf("cannot name the market's key: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.key, m.keyID = key, hex.EncodeToString(id)
	return nil
}

// publicKey shows the verification key as PEM text.
func (m *Market) publicKey(w http.ResponseWriter) {
	der, err := x509.MarshalPKIXPublicKey(&m.key.PublicKey)
	if err != nil {
		fail(w, http.StatusInternalServerError, "cannot encode the key")
		return
	}
	w.Header().Set("Content-Type", "application/x-pem-file")
	_, _ = w.Write(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}
