package agent_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"flexd/agent/demo"
	"flexd/agent/flex"
	"flexd/drivers/sim"
)

// talking switches the calls on that the simulated market understands.
const talking = "version: 1\nresponse: {use: on}\nsubscription: {use: on}\navailability: {use: on}\n"

// talker is a site whose market wants answers.
func talker(t *testing.T, o siteOptions) *site {
	o.profile = talking
	if o.batteries == nil {
		o.batteries = []sim.Battery{aBattery(sim.Options{PctSF: -2})}
	}
	s := newSite(t, o)
	s.market.Talk()
	s.inside()
	return s
}

func (s *site) state(id string) flex.State {
	r, _ := s.record(id)
	return r.State
}

func (s *site) heard(id string) (out []string) {
	for _, h := range s.market.Heard() {
		if h.ID == id {
			out = append(out, h.Word)
		}
	}
	return out
}

func TestAnInstructionIsAcceptedByItselfAndTheMarketHearsIt(t *testing.T) {
	t.Parallel()
	s := talker(t, siteOptions{})
	start := second(3 * time.Second)
	s.instruct(ask("auto", "0.00300", "export", start, start.Add(2*time.Second)))
	s.await(2*time.Second, "the market hears it", func() bool { return fmt.Sprint(s.heard("auto")) == "[accept]" })
	until(start.Add(time.Second))
	if p := s.devices[0].Power(); p < 2990 || p > 3010 {
		t.Errorf("%v W at the plant", p)
	}
	s.await(6*time.Second, "it completes", func() bool { return s.state("auto") == flex.Completed })
	s.wantLadder("auto", "admitted", "pending", "accepted", "scheduled", "active", "completed")
}

func TestAPersonAnswers(t *testing.T) {
	t.Parallel()
	s := talker(t, siteOptions{terms: "answers: ask"})
	start := second(8 * time.Second)
	end := start.Add(2 * time.Second)
	s.instruct(ask("yes", "0.00300", "export", start, end))
	s.instruct(ask("no1", "0.00300", "export", end.Add(time.Minute), end.Add(2*time.Minute)), ask("no2", "0.00300", "export", end.Add(3*time.Minute), end.Add(4*time.Minute)))
	s.await(3*time.Second, "they wait", func() bool { return s.state("yes") == flex.Pending && s.state("no2") == flex.Pending })
	if len(s.market.Heard()) != 0 {
		t.Error("something was said before a person decided")
	}
	if out, code := s.command("accept", "yes"); code != 0 {
		t.Fatal(out)
	}
	if out, code := s.command("reject", "no1", "no2", "--reason", "inverter is being replaced"); code != 0 {
		t.Fatal(out)
	}
	s.await(3*time.Second, "the market hears all of it", func() bool {
		return fmt.Sprint(s.heard("yes"), s.heard("no1"), s.heard("no2")) == "[accept] [reject] [reject]"
	})
	if out, code := s.command("accept", "no1"); code != 4 || !strings.Contains(out, "no1") {
		t.Errorf("accepting what was rejected: %d %s", code, out)
	}
	if out, _ := s.command("show", "no1"); !strings.Contains(out, "reject, by") || !strings.Contains(out, "inverter is being replaced") {
		t.Errorf("show says nothing of the answer:\n%s", out)
	}
	until(start.Add(time.Second))
	if p := s.devices[0].Power(); p < 2990 || p > 3010 {
		t.Errorf("%v W at the plant", p)
	}
	s.await(6*time.Second, "it completes", func() bool { return s.state("yes") == flex.Completed })
}

func TestWhatCannotBeDeliveredIsRejected(t *testing.T) {
	t.Parallel()
	low := aBattery(sim.Options{PctSF: -2})
	low.SoC = 0.25 // 1 kWh above the reserve
	s := talker(t, siteOptions{batteries: []sim.Battery{low}, terms: "answers: auto-if-deliverable"})
	start := second(30 * time.Second)
	s.instruct(ask("far", "0.00500", "export", start, start.Add(3*time.Hour)))
	s.await(5*time.Second, "the market hears no", func() bool { return fmt.Sprint(s.heard("far")) == "[reject]" })
	if r, _ := s.record("far"); r.State != flex.Refused || r.Reason != flex.ReasonEnergyInsufficient {
		t.Errorf("%s (%s: %s)", r.State, r.Reason, r.Text)
	}
	s.instruct(ask("near", "0.00500", "export", start, start.Add(2*time.Minute)))
	s.await(5*time.Second, "the market hears yes", func() bool { return fmt.Sprint(s.heard("near")) == "[accept]" })
}

func TestADeclarationIsKeptToldAndHonoured(t *testing.T) {
	t.Parallel()
	s := talker(t, siteOptions{})
	from := second(time.Minute)
	out, code := s.command("unavailable", assetID, "--from", from.Format(time.RFC3339), "--to", from.Add(time.Hour).Format(time.RFC3339), "--reason", "substation work", "--json")
	if code != 0 {
		t.Fatal(out)
	}
	var u flex.Unavailability
	parse(t, out, &u)
	s.await(3*time.Second, "the market knows", func() bool { return len(s.market.Variations()) == 1 })
	s.instruct(ask("inside", "0.00300", "export", from.Add(time.Minute), from.Add(2*time.Minute)))
	s.await(3*time.Second, "it waits", func() bool { return s.state("inside") == flex.Waiting })
	if r, _ := s.record("inside"); r.Reason != flex.ReasonUnavailable || !strings.Contains(r.Text, "substation work") {
		t.Errorf("it waits for %s: %s", r.Reason, r.Text)
	}
	s.kill()
	s.inside() // a declaration survives
	if out, _ := s.command("unavailable"); !strings.Contains(out, u.ID) || !strings.Contains(out, "the market knows") {
		t.Errorf("after a restart:\n%s", out)
	}
	if out, code := s.command("unavailable", "withdraw", u.ID); code != 0 {
		t.Fatal(out)
	}
	s.await(3*time.Second, "the market hears of the withdrawal", func() bool { return len(s.market.Variations()) == 0 })
	s.await(3*time.Second, "what waited is accepted", func() bool { return fmt.Sprint(s.heard("inside")) == "[accept]" })
	s.instruct(ask("after", "0.00300", "export", from.Add(3*time.Minute), from.Add(4*time.Minute)))
	s.await(3*time.Second, "it is scheduled", func() bool { return s.state("after") == flex.Scheduled })
}

func TestTheWebhookIsSubscribedAndProven(t *testing.T) {
	t.Parallel()
	s := talker(t, siteOptions{})
	if out, code := s.command("market", "subscribe"); code != 0 || !strings.Contains(out, "the door answers at") {
		t.Fatalf("%d: %s", code, out)
	}
	if h := s.market.Hooks(); len(h) != 1 || h[0].URL != s.door || h[0].Event != "fp_dispatch_instruction_collection" {
		t.Fatalf("%+v", h)
	}
	if out, code := s.command("market", "subscribe"); code != 0 || len(s.market.Hooks()) != 1 {
		t.Errorf("a second time: %s", out)
	}
	if out, code := s.command("market", "list"); code != 0 || !strings.Contains(out, "(this site)") {
		t.Errorf("list: %s", out)
	}
	if out, code := s.command("market", "subscribe", "http://127.0.0.1:1/elsewhere"); code == 0 || len(s.market.Hooks()) != 1 {
		t.Errorf("an address that leads nowhere was subscribed: %s", out)
	}
	if out, code := s.command("market", "unsubscribe", s.door); code != 0 || len(s.market.Hooks()) != 0 {
		t.Errorf("unsubscribe: %s", out)
	}
}

func TestWithoutACallTheStepsForAPersonAreTold(t *testing.T) {
	t.Parallel()
	s := newSite(t, siteOptions{batteries: []sim.Battery{aBattery(sim.Options{})}})
	s.inside()
	out, code := s.command("market", "subscribe")
	if code != 0 || !strings.Contains(out, "1. ") || !strings.Contains(out, "fp_dispatch_instruction_collection") || !strings.Contains(out, s.door) {
		t.Errorf("%d: %s", code, out)
	}
}

func TestAnOperatorsSignatureIsRequiredAndJudged(t *testing.T) {
	t.Parallel()
	public, private, err := ed25519.GenerateKey(nil)
	must(t, err)
	der, err := x509.MarshalPKIXPublicKey(public)
	must(t, err)
	dir := t.TempDir()
	key := filepath.Join(dir, "spen.pem")
	must(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600))
	s := newSite(t, siteOptions{batteries: []sim.Battery{aBattery(sim.Options{PctSF: -2})},
		terms: fmt.Sprintf("operators: [{name: SPEN, signature: require, scheme: ed25519, key_file: %q, canonical: {fields: [/id, /capacity, /start], separator: \"|\"}}]", key)})
	s.inside()
	start := second(5 * time.Second)
	signed := func(in demo.Instruction, over string) demo.Instruction {
		text := base64.StdEncoding.EncodeToString(ed25519.Sign(private, []byte(over)))
		in.Signature = &text
		return in
	}
	good := ask("good", "0.00300", "export", start, start.Add(2*time.Second))
	bad := ask("bad", "0.00400", "export", start.Add(time.Minute), start.Add(2*time.Minute))
	over := func(in demo.Instruction) string {
		return in.ID + "|" + in.Capacity + "|" + in.Start.Format(time.RFC3339)
	}
	s.instruct(signed(good, over(good)), signed(bad, strings.Replace(over(bad), "0.00400", "0.00100", 1)),
		ask("none", "0.00300", "export", start.Add(3*time.Minute), start.Add(4*time.Minute)))
	s.await(4*time.Second, "all three are decided", func() bool {
		return s.state("good") == flex.Scheduled && s.state("bad") == flex.Waiting && s.state("none") == flex.Waiting
	})
	for id, want := range map[string]flex.Reason{"bad": flex.ReasonSignatureInvalid, "none": flex.ReasonSignatureMissing} {
		if r, _ := s.record(id); r.Reason != want {
			t.Errorf("%s waits for %s: %s", id, r.Reason, r.Text)
		}
	}
	st, err := s.status()
	must(t, err)
	alarm := false
	for _, a := range st.Alerts {
		alarm = alarm || a.Code == "so_signature_invalid"
	}
	if !alarm {
		t.Errorf("no alarm: %+v", st.Alerts)
	}
	until(start.Add(500 * time.Millisecond))
	unsigned := demo.Instruction{ID: "stop-it", Revision: 1, Type: "stop", Obligation: contractID, Assets: []string{assetID}, Stops: []string{"good"}, Operator: "SPEN", Status: "issued"}
	s.instruct(unsigned)
	time.Sleep(500 * time.Millisecond)
	if p := s.devices[0].Power(); p < 2990 || p > 3010 {
		t.Errorf("a stop without the required signature acted: %v W", p)
	}
	s.await(6*time.Second, "it completes", func() bool { return s.state("good") == flex.Completed })
}

func TestEveryDoorIsShown(t *testing.T) {
	t.Parallel()
	s := newSite(t, siteOptions{batteries: []sim.Battery{aBattery(sim.Options{})}, poll: "2s"})
	s.inside()
	start := second(time.Minute)
	s.instruct(ask("doors", "0.00300", "export", start, start.Add(time.Minute)))
	s.await(8*time.Second, "both doors are noted", func() bool {
		out, _ := s.command("show", "doors")
		return strings.Contains(out, "came          by webhook") && strings.Contains(out, "came again    by poll")
	})
	if n := len(s.ear.ladder("doors")); n != 2 {
		t.Errorf("announced %d times", n)
	}
}
