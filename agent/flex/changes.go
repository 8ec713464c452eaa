package flex

// Changes is one decision with all that follows from it. The store commits
// it in a single transaction: all of it, or nothing.
type Changes struct {
	Notices      []Notice
	Offers       []Offer  // new, undecided
	Decided      []uint64 // Seq of offers that are now decided
	Records      []Record
	Tombstones   []Tombstone
	Obligations  []Obligation
	Assets       []MarketAsset
	Competitions []Competition
	Sightings    []Sight
	Replies      []Reply
	Unavailable  []Unavailability // put or replace, by id
	Nominations  []Nomination     // put or replace, by asset; without pieces: gone
	JournalOpen  []JournalEntry   // put or replace, by device
	JournalClose []DeviceID
	Holds        []Hold
	HoldsGone    []AssetID // "" is the hold on all
	Audit        []Audit
	Outbox       []Message
}

// Empty tells whether there is nothing to commit.
func (c Changes) Empty() bool {
	return len(c.Notices)+len(c.Offers)+len(c.Decided)+len(c.Records)+len(c.Tombstones)+
		len(c.Sightings)+len(c.Replies)+len(c.Unavailable)+len(c.Nominations)+
		len(c.Obligations)+len(c.Assets)+len(c.Competitions)+len(c.JournalOpen)+
		len(c.JournalClose)+len(c.Holds)+len(c.HoldsGone)+len(c.Audit)+len(c.Outbox) == 0
}
