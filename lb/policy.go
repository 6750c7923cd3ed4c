package lb

// A Policy is how a pool shares out requests among the servers that are fit for
// them. All go by weights.
type Policy uint8

// The policies.
const (
	RoundRobin   Policy = iota // in turn, evenly spread: see turn
	Random                     // by chance
	LeastRequest               // fewest requests in flight: see leastLoaded
	P2C                        // the less loaded of two taken by chance: see lessLoaded
	EWMA                       // the quicker of two taken by chance: see quicker
	Maglev                     // by key, from a table: see maglev
	Ketama                     // by key, on a ring, with bounded load: see ketama

	policies // not a policy: how many there are
)

var policyNames = [policies]string{
	RoundRobin:   "round_robin",
	Random:       "random",
	LeastRequest: "least_request",
	P2C:          "p2c",
	EWMA:         "ewma",
	Maglev:       "maglev",
	Ketama:       "ketama",
}

// ParsePolicy returns the policy of that name, as String gives it.
func ParsePolicy(name string) (Policy, bool) {
	for p, n := range policyNames {
		if n == name {
			return Policy(p), true
		}
	}
	return 0, false
}

func (p Policy) String() string {
	if p >= policies {
		return "unknown"
	}
	return policyNames[p]
}

// Keyed reports whether the policy goes by a key: requests of one key go to one
// server.
func (p Policy) Keyed() bool { return p == Maglev || p == Ketama }
