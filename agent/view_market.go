package agent

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"flexd/agent/flex"
	"flexd/agent/ingress"
	"flexd/agent/local"
	"flexd/agent/piclo"
)

// Answer accepts or rejects instructions that wait for it.
func (v *view) Answer(ctx context.Context, ids []flex.InstructionID, word flex.Word, reason, by string) error {
	return v.a.engine.Answer(ctx, ids, word, reason, by)
}

// Unavailable lists the declarations, the latest first.
func (v *view) Unavailable(ctx context.Context) ([]flex.Unavailability, error) {
	list, err := v.a.db.Unavailable(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot read the declarations: %w", err)
	}
	slices.SortFunc(list, func(x, y flex.Unavailability) int { return y.Window.Start.Compare(x.Window.Start) })
	return list, nil
}

// standing are the declarations in force now or later.
func (v *view) standing(ctx context.Context, now time.Time) ([]flex.Unavailability, error) {
	list, err := v.Unavailable(ctx)
	return slices.DeleteFunc(list, func(u flex.Unavailability) bool { return !u.Stands(flex.Window{Start: now}) }), err
}

// Declare declares an asset unavailable.
func (v *view) Declare(ctx context.Context, u flex.Unavailability) (flex.Unavailability, error) {
	if err := v.known(u.Asset); err != nil {
		return u, err
	}
	u.At = v.a.wall.Stamp()
	return v.a.engine.DeclareUnavailable(ctx, u)
}

// Withdraw takes a declaration back.
func (v *view) Withdraw(ctx context.Context, id, by string) error {
	return v.a.engine.WithdrawUnavailable(ctx, id, by)
}

// Subscriptions tells which webhooks the market knows, and whether our door
// can be reached at its public address.
func (v *view) Subscriptions(ctx context.Context) (local.Subscriptions, error) {
	out := v.subscriptions()
	if out.Can {
		list, err := v.a.market.Subscriptions(ctx)
		if err != nil {
			return out, fmt.Errorf("cannot list the market's webhooks: %w", err)
		}
		out.Known = v.rows(list, out.URL)
	} else {
		out.Steps = v.a.market.ManualSteps(out.URL)
	}
	v.reach(ctx, &out)
	return out, nil
}

// Subscribe subscribes our door, or an address that is named.
func (v *view) Subscribe(ctx context.Context, url string) (local.Subscriptions, error) {
	out := v.subscriptions()
	if url != "" {
		out.URL = url
	}
	if out.URL == "" {
		return out, flex.Refuse(flex.ReasonUnsupported, "which address? set ingress.webhook.public_url, or name it")
	}
	v.reach(ctx, &out)
	if !out.Can {
		out.Steps = v.a.market.ManualSteps(out.URL)
		return out, nil
	}
	if out.Tried && out.Reach != "" {
		return out, flex.Refuse(flex.ReasonDeviceUnavailable, "the door cannot be reached at %s, nothing was subscribed: %s", out.URL, out.Reach)
	}
	s, err := v.a.market.Subscribe(ctx, out.URL)
	if err != nil {
		return out, fmt.Errorf("cannot subscribe: %w", err)
	}
	out.Known = v.rows(append([]piclo.Subscription{s}, s.Others...), out.URL)
	if len(s.Others) > 0 {
		out.Note = "other addresses are subscribed to the same event: they may be other sites'"
	}
	return out, nil
}

// Unsubscribe ends a subscription by its id or address.
func (v *view) Unsubscribe(ctx context.Context, what string) error {
	if !v.a.market.Subscribes() {
		return flex.Refuse(flex.ReasonUnsupported, "the market profile has no call for it: `flexd market list` shows the steps for a person")
	}
	return v.a.market.Unsubscribe(ctx, what)
}

func (v *view) subscriptions() local.Subscriptions {
	event, _ := v.a.market.Subscription()
	out := local.Subscriptions{Event: event, Can: v.a.market.Subscribes()}
	if hook := v.a.conf.cfg.Ingress.Webhook; hook != nil {
		out.URL = hook.PublicURL
	}
	return out
}

func (v *view) rows(list []piclo.Subscription, ours string) []local.Subscription {
	out := make([]local.Subscription, len(list))
	for i, s := range list {
		out[i] = local.Subscription{ID: s.ID, URL: s.URL, Event: s.Event, Active: s.Active, Ours: ours != "" && s.URL == ours}
	}
	return out
}

// reach proves that the public address leads to this very door.
func (v *view) reach(ctx context.Context, out *local.Subscriptions) {
	switch {
	case v.a.webhook == nil:
		out.Note = "this site has no webhook door (ingress.webhook): instructions are found by polling"
	case out.URL == "":
		out.Note = "set ingress.webhook.public_url, and it is proven that the door can be reached"
	default:
		out.Tried = true
		if err := v.a.webhook.Probe(ctx, out.URL, &http.Client{Timeout: 20 * time.Second}); err != nil {
			out.Reach = err.Error()
		}
	}
}

// relayLink shows how the relay door is doing. A relay speaks every half
// minute.
func relayLink(s ingress.RelayStatus, now time.Time) local.Link {
	l := local.Link{Name: "relay", Text: "no relay has been heard yet"}
	if len(s.Relays) == 0 {
		return l
	}
	last := s.Relays[0]
	l.OK, l.Since = !last.Silent, last.Heard
	l.Text = fmt.Sprintf("%d relay(s), last heard %s ago; %d envelopes taken, %d repeated, %d refused",
		len(s.Relays), now.Sub(last.Heard).Round(time.Second), s.Taken, s.Repeated, s.Refused+s.Malformed)
	return l
}
