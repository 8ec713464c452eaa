package ingress

import (
	"context"
	"time"

	"flexd/agent/flex"
	"flexd/agent/health"
)

// Health items of this room.
const (
	CodePollFailed      = "poll_failed"
	CodeCertificate     = "webhook_certificate"
	CodeCertificateEnds = "webhook_certificate_ends"
)

// Items declares them.
var Items = []health.Item{
	{Code: CodePollFailed, Severity: health.Warning, Title: "The market cannot be polled for instructions", Calm: time.Minute},
	{Code: CodeCertificate, Severity: health.Alarm, Title: "The webhook's certificate cannot be used"},
	{Code: CodeCertificateEnds, Severity: health.Warning, Title: "The webhook's certificate ends soon"},
}

// Intake takes envelopes; nil means that the notification is on disk.
type Intake interface {
	Accept(ctx context.Context, env flex.Envelope) error
}

// Lister asks the market for the instructions of the last days.
type Lister interface {
	Poll(ctx context.Context) error
}

// Health is told what is wrong and what is well again.
type Health interface {
	Raise(code, subject, text string)
	Clear(code, subject string)
}
