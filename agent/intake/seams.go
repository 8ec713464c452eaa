package intake

import (
	"context"
	"time"

	"flexd/agent/flex"
)

// Verifier proves that a raw notification is the market's.
type Verifier interface {
	Verify(ctx context.Context, env flex.Envelope) (flex.Notice, error)
}

// Fetcher gets instructions from the market, with the reply as it came.
type Fetcher interface {
	Fetch(ctx context.Context, dataURL string) ([]flex.Instruction, []byte, error)
	List(ctx context.Context, since time.Time) ([]flex.Instruction, []byte, error)
}

// Signatures judges an operator's own signature on an instruction. The state
// is "" when it holds or none is asked for, so_signature_unverified,
// signature_invalid or signature_missing; a *flex.RetryError says that it
// cannot be judged now. Other errors explain the state to people.
type Signatures interface {
	Check(in flex.Instruction) (state string, err error)
}

// AssetSource tells what the market knows about assets, also foreign ones.
type AssetSource interface {
	Asset(ctx context.Context, id flex.AssetID) (flex.MarketAsset, error)
	ObligationAssets(ctx context.Context, id flex.ObligationID) ([]flex.MarketAsset, error)
}

// Notices keeps notifications.
type Notices interface {
	PutNotice(ctx context.Context, n flex.Notice, raw []byte, ch flex.Changes) (fresh bool, err error)
	Notice(id flex.NotificationID) (flex.Notice, bool, error)
	OpenNotices(ctx context.Context) ([]flex.Notice, error)
}

// Ledger commits what was decided and knows what was offered before, and what
// became of it.
type Ledger interface {
	Commit(ctx context.Context, ch flex.Changes) error
	LatestOffer(id flex.InstructionID) (flex.Offer, bool, error)
	Record(ctx context.Context, id flex.InstructionID) (flex.Record, bool, error)
}

// Catalogue is what was synced from the market.
type Catalogue interface {
	Obligations(ctx context.Context) ([]flex.Obligation, error)
	Assets(ctx context.Context) ([]flex.MarketAsset, error)
	Competitions(ctx context.Context) ([]flex.Competition, error)
}

// Book is the store as intake needs it.
type Book interface {
	Notices
	Ledger
	Catalogue
}

// Stopper makes a stop act in memory, whatever the disk does.
type Stopper interface {
	StopNow(in flex.Instruction, at time.Time)
}

// Clock stamps facts.
type Clock interface {
	Stamp() flex.Stamp
}

// Health is told what is wrong and what is well again.
type Health interface {
	Raise(code, subject, text string)
	Clear(code, subject string)
}
