package intake

import (
	"time"

	"flexd/agent/health"
)

// Health items of this room.
const (
	CodeNotificationRefused  = "notification_refused"
	CodeMarketMoved          = "market_moved"
	CodeTooMany              = "notifications_unsigned"
	CodeInstructionsMissing  = "instructions_missing"
	CodeSignatureUnverified  = "so_signature_unverified"
	CodeSignatureInvalid     = "so_signature_invalid"
	CodeNotListed            = "instruction_not_listed"
	CodeOperatorUnmatched    = "operator_unmatched"
	CodeMarketUnreachable    = "market_unreachable"
	CodeNotificationUnstored = "notification_unstored"
	CodeAssetUnknown         = "asset_unknown"
	CodeAssetUncontracted    = "asset_uncontracted"
	CodeAssetElsewhere       = "asset_elsewhere"
)

// Items declares them.
var Items = []health.Item{
	{Code: CodeNotificationRefused, Severity: health.Info, Title: "A notification was refused"},
	{Code: CodeMarketMoved, Severity: health.Alarm, Title: "The market points to another address than the configured one"},
	{Code: CodeTooMany, Severity: health.Warning, Title: "More unsigned notifications come than are followed"},
	{Code: CodeInstructionsMissing, Severity: health.Alarm, Title: "Instructions that were announced cannot be fetched"},
	{Code: CodeSignatureUnverified, Severity: health.Alarm, Title: "An operator's signature could not be checked"},
	{Code: CodeSignatureInvalid, Severity: health.Alarm, Title: "An operator's signature is wrong or missing"},
	{Code: CodeNotListed, Severity: health.Warning, Title: "The market does not list an instruction any more"},
	{Code: CodeOperatorUnmatched, Severity: health.Alarm, Title: "A rule for an operator and the market's names do not fit"},
	{Code: CodeMarketUnreachable, Severity: health.Warning, Title: "The market's contracts cannot be synchronised", Calm: time.Minute},
	{Code: CodeNotificationUnstored, Severity: health.Alarm, Title: "A notification could not be stored"},
	{Code: CodeAssetUnknown, Severity: health.Alarm, Title: "The market's account does not have an asset of the configuration"},
	{Code: CodeAssetUncontracted, Severity: health.Info, Title: "No contract names an asset of the configuration"},
	{Code: CodeAssetElsewhere, Severity: health.Info, Title: "The account has assets that this site does not serve"},
}
