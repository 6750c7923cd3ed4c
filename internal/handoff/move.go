package handoff

import "net/netip"

// Connections move from a draining worker, the giver, to one of the next
// generation, its heir, over a channel of their own that the supervisor makes:
//
//	giver OFFER   here are connections, which I do not read any more
//	heir  TAKEN   I keep them and do not read them yet, but for some, which I refuse
//	giver YOURS   I have closed mine: read
//
// An heir that does not hear YOURS closes what it keeps; a giver that does not
// hear TAKEN in time closes the channel, so that YOURS can never come, and serves
// on. So at every moment at most one of them reads, and after any death the
// other, if it is there, is the one.

// MaxMoves is how many connections one Offer holds at most.
const MaxMoves = MaxFiles

// MaxMoveBytes bounds what the connections of one Offer have received, together.
const MaxMoveBytes = 24 << 10

// HeirBody is the body of Heir.
type HeirBody struct{}

// OfferBody is the body of Offer. Descriptor i belongs to Moves[i].
type OfferBody struct {
	Moves []Move `json:"moves"`
}

// A Move is a connection from a client that carries no request, or half the head
// of one.
type Move struct {
	Listener  string         `json:"listener"`           // name of the descriptor that it was accepted from
	Peer      netip.AddrPort `json:"peer,omitzero"`      // zero for a unix socket
	Addressed bool           `json:"addressed"`          // no PROXY header is to come any more
	Requests  int            `json:"requests"`           // served so far
	Raw       []byte         `json:"raw,omitempty"`      // received, not yet parsed
	Deadline  int64          `json:"deadline,omitempty"` // for the rest of the head, in the segment's time; 0 without Raw
}

// TakenBody is the body of Taken. Refused are the moves, by their place in Offer,
// whose descriptors the heir has closed.
type TakenBody struct {
	Refused []int `json:"refused,omitempty"`
}

// YoursBody is the body of Yours.
type YoursBody struct{}
