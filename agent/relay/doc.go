// Package relay is the public end of the relay door: webhooks in, envelopes on
// an MQTT broker out. It is a mode of the same program and runs in any number
// behind a load balancer, without state of its own.
//
// In: what the internet posts to the listed paths. Out: one envelope per site
// or shared topic with the body byte for byte, and a 2xx only after the broker
// has acknowledged every one of them. Its own listener tells health and
// metrics.
//
// What a relay is trusted with: delivery, and nothing else. It holds no key of
// the market, no credential of a site, and no right at a site's broker topics
// but to write envelopes. A site verifies the market's signature on the
// original bytes and fetches instructions with its own credentials from its own
// configured address. So a relay that is hostile, or a broker, or whoever stole
// their keys, can
//
//   - drop envelopes: numbers per relay and topic, and a beat every 30 s, have
//     the site notice and poll; a relay that lies about its numbers too is
//     caught by the site's regular polling;
//   - delay envelopes: an instruction whose window is over is reported expired,
//     never run late; polling finds it earlier;
//   - repeat and reorder envelopes: instructions have ids and act once;
//   - make up or change envelopes: they fail verification, are counted, and
//     beyond a rate dropped unread;
//   - have a site poll more often, at most three times a minute on average;
//   - read the notifications, which are pointers: the instructions behind them
//     need the site's credentials.
//
// What a 2xx is worth is what the broker's acknowledgement is: a broker that
// keeps its queues on disk loses nothing; one that is killed with them in memory
// loses what the site had not taken yet. The site polls whenever its connection
// is new, and finds that too.
//
// It can cause not one watt. It never parses a body, never logs one, and never
// answers 2xx on hope.
package relay
