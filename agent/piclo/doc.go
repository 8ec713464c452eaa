// Package piclo speaks to the Piclo marketplace: it proves that a
// notification is the market's, fetches what it points to, and turns the
// market's documents into our types.
//
// In: raw envelopes from the doors, the account's credentials, and a market
// profile: a YAML file that says where every field is, in which unit, and
// which options the market uses. Out: notices, instructions, obligations,
// assets and competitions in package flex's types, each with its raw text.
//
// Whatever is not known for sure about the market is a setting of the
// profile with a default, never a constant here: whoever holds the market's
// reference changes a YAML file and nothing else.
//
// It must never parse an unverified notification beyond finding the signed
// token in it, send the account's token anywhere but to the configured
// origin, round a power, guess a direction, or lose a field that it could not
// read: that becomes a problem of the instruction, and others decide.
package piclo
