package local

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"flexd/agent/flex"
)

// Answerer lets a person answer instructions.
type Answerer interface {
	Answer(ctx context.Context, ids []flex.InstructionID, word flex.Word, reason, by string) error
}

// Declarer keeps declarations of unavailability.
type Declarer interface {
	Unavailable(ctx context.Context) ([]flex.Unavailability, error)
	Declare(ctx context.Context, u flex.Unavailability) (flex.Unavailability, error)
	Withdraw(ctx context.Context, id, by string) error
}

// Subscriber manages the webhook's subscription at the market.
type Subscriber interface {
	Subscriptions(ctx context.Context) (Subscriptions, error)
	Subscribe(ctx context.Context, url string) (Subscriptions, error)
	Unsubscribe(ctx context.Context, what string) error
}

// Subscriptions is what the market tells whom, and whether our door can be
// reached.
type Subscriptions struct {
	Event string         `json:"event"`         // to subscribe to
	URL   string         `json:"url,omitempty"` // of our door as configured
	Can   bool           `json:"can"`           // the profile knows the calls
	Known []Subscription `json:"known,omitempty"`
	Reach string         `json:"reach,omitempty"` // why the door cannot be reached by its URL; empty: it can, or was not tried
	Tried bool           `json:"tried"`
	Steps []string       `json:"steps,omitempty"` // for a person, where the profile has no call
	Note  string         `json:"note,omitempty"`
}

// Subscription is one webhook that the market knows.
type Subscription struct {
	ID     string `json:"id"`
	URL    string `json:"url"`
	Event  string `json:"event,omitempty"`
	Active bool   `json:"active"`
	Ours   bool   `json:"ours"`
}

// AnswerOrder is the body of an answer.
type AnswerOrder struct {
	IDs    []flex.InstructionID `json:"ids"`
	Word   flex.Word            `json:"word"`
	Reason string               `json:"reason,omitempty"`
}

// Declaration is the body of a declaration.
type Declaration struct {
	Asset  flex.AssetID `json:"asset"`
	From   time.Time    `json:"from"`
	To     time.Time    `json:"to"`
	Reason string       `json:"reason,omitempty"`
}

// maxAnswers bounds how many instructions are answered at once.
const maxAnswers = 1000

func (s *Socket) answer(r *http.Request, by string) (any, error) {
	o, err := body[AnswerOrder](r)
	switch {
	case err != nil:
		return nil, err
	case len(o.IDs) == 0 || len(o.IDs) > maxAnswers:
		return nil, fmt.Errorf("%w: 1 to %d instruction ids are answered at once", errUsage, maxAnswers)
	case o.Word != flex.Accept && o.Word != flex.Reject:
		return nil, fmt.Errorf("%w: the answer is accept or reject", errUsage)
	}
	return done{true}, s.parts.Answers.Answer(r.Context(), o.IDs, o.Word, o.Reason, by)
}

func (s *Socket) unavailable(r *http.Request, _ string) (any, error) {
	return s.parts.Declarer.Unavailable(r.Context())
}

func (s *Socket) declare(r *http.Request, by string) (any, error) {
	d, err := body[Declaration](r)
	if err != nil {
		return nil, err
	}
	return s.parts.Declarer.Declare(r.Context(), flex.Unavailability{Asset: d.Asset, Reason: d.Reason, By: by,
		Window: flex.Window{Start: d.From.UTC(), End: d.To.UTC()}})
}

func (s *Socket) withdraw(r *http.Request, by string) (any, error) {
	return done{true}, s.parts.Declarer.Withdraw(r.Context(), r.PathValue("id"), by)
}

func (s *Socket) subscriptions(r *http.Request, _ string) (any, error) {
	return s.parts.Subscriber.Subscriptions(r.Context())
}

func (s *Socket) subscribe(r *http.Request, _ string) (any, error) {
	o, err := body[Subscription](r)
	if err != nil {
		return nil, err
	}
	if o.URL != "" && !strings.HasPrefix(o.URL, "https://") && !strings.HasPrefix(o.URL, "http://") {
		return nil, fmt.Errorf("%w: %q is not a web address", errUsage, o.URL)
	}
	return s.parts.Subscriber.Subscribe(r.Context(), o.URL)
}

func (s *Socket) unsubscribe(r *http.Request, _ string) (any, error) {
	o, err := body[Subscription](r)
	if err != nil {
		return nil, err
	}
	if o.ID == "" {
		return nil, fmt.Errorf("%w: name the subscription by its id or address", errUsage)
	}
	return done{true}, s.parts.Subscriber.Unsubscribe(r.Context(), o.ID)
}

// Unavailable asks for the declarations of unavailability.
func (c *Client) Unavailable(ctx context.Context) (out []flex.Unavailability, err error) {
	return out, c.Get(ctx, "/v1/unavailable", &out)
}

// Declare declares an asset unavailable.
func (c *Client) Declare(ctx context.Context, d Declaration) (out flex.Unavailability, err error) {
	return out, c.Post(ctx, "/v1/unavailable", d, &out)
}

// Withdraw takes a declaration back.
func (c *Client) Withdraw(ctx context.Context, id string) error {
	return c.Post(ctx, "/v1/unavailable/"+url.PathEscape(id)+"/withdraw", struct{}{}, nil)
}

// Subscriptions asks what the market tells whom.
func (c *Client) Subscriptions(ctx context.Context) (out Subscriptions, err error) {
	return out, c.Post(ctx, "/v1/market/subscriptions", struct{}{}, &out)
}

// Subscribe subscribes our door at the market.
func (c *Client) Subscribe(ctx context.Context, at string) (out Subscriptions, err error) {
	return out, c.Post(ctx, "/v1/market/subscribe", Subscription{URL: at}, &out)
}

// Unsubscribe ends a subscription at the market.
func (c *Client) Unsubscribe(ctx context.Context, what string) error {
	return c.Post(ctx, "/v1/market/unsubscribe", Subscription{ID: what}, nil)
}
