// Package fleet is the site's session with the fleet's MQTT broker.
//
// In: the outbox (life-cycle acknowledgements, events, responses), telemetry
// rows, what the site says of its state and birth, and the requests that the
// fleet sends down. Out: one flat JSON object per message under
// flexd/v1/{site}/up/…, and rows freed once they are acknowledged.
//
// The broker and the network are trusted with delivery alone. This room never
// acts on a device, never carries out a request, and never frees a row that
// the far side has not acknowledged on the present connection. A broker that
// is away is normal: rows wait on disk, and nothing else in the agent waits.
//
// The MQTT library reports an unacknowledged publish as done when it reconnects
// by itself, and never completes it when it does not. So a connection here is
// used once: a fresh client and a fresh memory store for each, our own back-off
// between them, a time limit on every token, and a generation that an
// acknowledgement must match before it counts.
package fleet
