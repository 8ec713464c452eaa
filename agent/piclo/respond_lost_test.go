package piclo

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"flexd/agent/flex"
)

// Whatever answer's reply is lost, the market holds it as given, and says so
// when it is given once more: then it counts as taken.
func TestALostReplyOfEveryAnswerCall(t *testing.T) {
	for name, tc := range map[string]struct {
		profile string
		word    flex.Word
		ids     []flex.InstructionID
	}{
		"one accept":         {respondOn, flex.Accept, []flex.InstructionID{"a"}},
		"one reject":         {respondOn, flex.Reject, []flex.InstructionID{"a"}},
		"accepts one by one": {singleOnly, flex.Accept, []flex.InstructionID{"a", "b"}},
		"rejects one by one": {singleOnly, flex.Reject, []flex.InstructionID{"a", "b"}},
		"accepts in bulk":    {respondOn, flex.Accept, []flex.InstructionID{"a", "b"}},
		"rejects in bulk":    {respondOn, flex.Reject, []flex.InstructionID{"a", "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			held, lost := map[string]bool{}, true
			srv := newFakeMarket(t)
			answer := func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				ids := []string{strings.Split(strings.TrimPrefix(r.URL.Path, "/dispatch/v1/instructions/"), "/")[0]}
				bulk := ids[0] == "accept" || ids[0] == "reject"
				if bulk {
					var body struct{ Instructions []struct{ ID string } }
					_ = json.NewDecoder(r.Body).Decode(&body)
					ids = nil
					for _, in := range body.Instructions {
						ids = append(ids, in.ID)
					}
				}
				var failed []map[string]any
				for _, id := range ids {
					if held[id] {
						failed = append(failed, map[string]any{"id": id, "status": 409, "detail": "answered before"})
					}
					held[id] = true
				}
				if lost {
					conn, _, err := w.(http.Hijacker).Hijack()
					if err == nil {
						_ = conn.Close()
					}
					return
				}
				if !bulk && len(failed) > 0 {
					w.WriteHeader(http.StatusConflict)
					return
				}
				_ = json.NewEncoder(w).Encode(map[string]any{"failed": failed})
			}
			for _, p := range []string{"a/accept/", "a/reject/", "b/accept/", "b/reject/", "accept/", "reject/"} {
				srv.on("/dispatch/v1/instructions/"+p, answer)
			}
			m := openProfile(t, srv.URL, tc.profile)
			var say []flex.Say
			for _, id := range tc.ids {
				say = append(say, flex.Say{ID: id, Revision: 1})
			}
			for i, err := range m.Respond(t.Context(), tc.word, say) {
				if err == nil {
					t.Errorf("%s counts as taken although nobody said so", say[i].ID)
				}
			}
			mu.Lock()
			lost = false
			mu.Unlock()
			for i, err := range m.Respond(t.Context(), tc.word, say) {
				if err != nil {
					t.Errorf("%s given once more: %v", say[i].ID, err)
				}
			}
		})
	}
}

// One answer that hangs does not keep the others from being given.
func TestOneAnswerThatHangsDelaysNoOther(t *testing.T) {
	srv := newFakeMarket(t)
	release := make(chan struct{})
	srv.on("/dispatch/v1/instructions/a/accept/", func(http.ResponseWriter, *http.Request) { <-release })
	got := make(chan string, 8)
	for _, id := range []string{"b", "c", "d"} {
		srv.on("/dispatch/v1/instructions/"+id+"/accept/", func(w http.ResponseWriter, _ *http.Request) { got <- id; w.WriteHeader(204) })
	}
	m := openProfile(t, srv.URL, singleOnly)
	done := make(chan []error, 1)
	go func() {
		done <- m.Respond(t.Context(), flex.Accept, []flex.Say{{ID: "a"}, {ID: "b"}, {ID: "c"}, {ID: "d"}})
	}()
	for range 3 {
		select {
		case <-got:
		case <-time.After(5 * time.Second):
			t.Error("an answer waits behind one that hangs")
		}
	}
	close(release)
	for i, err := range <-done {
		if i > 0 && err != nil {
			t.Error(err)
		}
	}
}
