// Package ingress is the doors: the webhook server that the market posts to,
// and the poller that asks for what never came.
//
// In: whatever the internet sends. Out: one flex.Envelope per request that is
// within bounds, handed to intake, and a status code that tells the sender
// what to do. A 2xx is said only after intake has the notification on disk.
//
// Every request is bounded in size, headers and time; connections, requests
// per second and failures per source are bounded as well, and so are the
// tables that count them.
// Failures count against an address of one sender only, never against one that
// many share. A full door gives up who sends slowly for who is new.
//
// Status codes:
//
//	200  an empty ping: somebody is there
//	202  on disk
//	400  not a notification, unknown event, foreign data_url
//	401  signature missing or wrong, or its times are: a notification from the
//	     future or expired is not authentic now, whoever signed it
//	404, 405  another path, another method
//	408  the body came too slowly
//	413, 415, 431  too large, compressed, too many headers
//	429  too many requests, or too many failures from this source
//	503  no key to judge with, storage failed, overload: send it again
//
// It never parses a body, never says in an answer or a log what was in it,
// and never believes an address that a header claims but from a trusted proxy.
package ingress
