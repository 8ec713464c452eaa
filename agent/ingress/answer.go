package ingress

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"flexd/agent/flex"
)

// retrySoon is the Retry-After of what should work a moment later.
const retrySoon = 5 * time.Second

// maxRetry bounds the Retry-After that is passed on.
const maxRetry = 10 * time.Minute

// answer is what a sender is told.
type answer struct {
	status int
	retry  time.Duration // Retry-After, when above zero
	text   string
	// failed marks what counts against its source: not authentic, as far as can
	// be told.
	failed bool
}

// answerTo maps intake's verdict to an answer. The texts are ours: nothing of
// the body or of an inner error goes out.
func answerTo(err error) answer {
	if err == nil {
		return answer{status: http.StatusAccepted, text: "stored"}
	}
	after := retrySoon
	var retry *flex.RetryError
	if errors.As(err, &retry) && retry.After > 0 {
		after = min(retry.After, maxRetry)
	}
	refusal, final := flex.RefusalOf(err)
	if !final {
		return answer{status: http.StatusServiceUnavailable, retry: after, text: "cannot be stored now, send it again"}
	}
	// Only the reasons for a refused notification; the default names the rest.
	switch refusal.Reason {
	case flex.ReasonSignatureInvalid:
		return answer{status: http.StatusUnauthorized, text: "the signature does not verify with the market's public key", failed: true}
	case flex.ReasonSignatureMissing:
		return answer{status: http.StatusUnauthorized, text: "the notification is not signed", failed: true}
	case flex.ReasonStaleTime:
		return answer{status: http.StatusUnauthorized, text: "the notification is from the future or expired: check the clocks", failed: true}
	case flex.ReasonNoKey:
		return answer{status: http.StatusServiceUnavailable, retry: after, text: "the market's public key is not at hand, send it again", failed: true}
	case flex.ReasonTooMany:
		return answer{status: http.StatusTooManyRequests, retry: after, text: "too many notifications that nobody signed"}
	case flex.ReasonTooLarge:
		return answer{status: http.StatusRequestEntityTooLarge, text: "the body is larger than 1 MiB"}
	case flex.ReasonEvent:
		return answer{status: http.StatusBadRequest, text: "the event is not one that this receiver is subscribed to"}
	case flex.ReasonForeignURL, flex.ReasonMovedURL:
		return answer{status: http.StatusBadRequest, text: "data_url does not lead to the market's instructions"}
	case flex.ReasonMalformed:
		return answer{status: http.StatusBadRequest, text: "the body is not a signed notification", failed: true}
	default:
		return answer{status: http.StatusBadRequest, text: "the notification is refused: " + string(refusal.Reason)}
	}
}

// write sends the answer.
func (a answer) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if a.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(a.retry.Seconds()))))
	}
	if a.status == http.StatusUnauthorized {
		// RFC 9110 section 11.6.1 asks for a challenge with every 401.
		h.Set("WWW-Authenticate", `Signature realm="webhook"`)
	}
	w.WriteHeader(a.status)
	// A sender who hangs up before the text has the status, or sends again.
	_, _ = w.Write([]byte(a.text + "\n"))
}
