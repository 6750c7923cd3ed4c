package supervisor

// A state is where a worker is in its life.
type state uint8

const (
	gone       state = iota // no process; the next one starts when its back-off is over
	greeting                // process started, HELLO awaited
	loading                 // listeners and configuration on their way, PREPARED awaited
	opening                 // START sent, ACCEPTING awaited
	serving                 // accepts connections
	staging                 // serves; a new configuration on its way, PREPARED awaited
	staged                  // serves; could use the new configuration
	committing              // COMMIT sent, COMMITTED awaited
	draining                // accepts no more, finishes what it has
	stuck                   // SIGQUIT sent, to have its stacks in the log
	dying                   // SIGKILL sent
)

var stateNames = [...]string{
	"gone", "greeting", "loading", "opening", "serving", "staging", "staged", "committing",
	"draining", "stuck", "dying",
}

func (s state) String() string { return stateNames[s] }

// A happening is what a worker's state can depend on.
type happening uint8

const (
	due       happening = iota // back-off is over
	hello                      // HELLO
	acked                      // ACK
	prepared                   // PREPARED of the configuration offered
	nacked                     // NACK
	accepting                  // ACCEPTING
	offered                    // there is a new configuration to prepare
	decided                    // it shall be used
	dropped                    // it shall not be used
	committed                  // COMMITTED
	retired                    // it is to finish and go: the proxy stops, or a new generation serves
	hurried                    // it is to go at once
	claimed                    // it dialled in, serves and is to go on
	behind                     // it dialled in and serves, but has yet to take the configuration in force
	bygone                     // it dialled in and is draining
	stray                      // it dialled in and must not be
	timeout                    // the state's time is over
	lost                       // its control channel is closed or makes no sense
	exited                     // its process has ended
)

// An action is what the supervisor does when a worker changes state.
type action uint8

const (
	nothing    action = iota
	launch            // start a process
	deliver           // send the next listeners, or the configuration after the last of them
	sendStart         //
	announce          // one more worker serves
	refuse            // fail the reload: it cannot be used here
	sendAbort         //
	sendCommit        //
	settle            // it uses the new configuration
	sendDrain         //
	welcome           // one more worker serves, which we have not started
	quit              // SIGQUIT
	kill              // SIGKILL
	bury              // clean up after the process, decide about the next
)

type pair struct {
	state state
	event happening
}

// step says what a worker in state s becomes on ev, and what to do about it.
// It is pure. Pairs it does not list change nothing: late events are harmless.
func step(s state, ev happening) (state, action) {
	switch (pair{s, ev}) {
	// The start.
	case pair{gone, due}:
		return greeting, launch
	case pair{greeting, hello}, pair{loading, acked}:
		return loading, deliver
	case pair{loading, prepared}:
		return opening, sendStart
	case pair{opening, accepting}:
		return serving, announce
	case pair{greeting, timeout}, pair{loading, timeout}, pair{opening, timeout}, pair{serving, timeout}: // no beat
		return stuck, quit
	case pair{greeting, nacked}, pair{loading, nacked}, pair{opening, nacked},
		pair{greeting, retired}, pair{loading, retired}, pair{opening, retired}:
		return dying, kill // it has no connections to lose

	// The adoption of a worker whose supervisor has died.
	case pair{gone, claimed}:
		return serving, welcome
	case pair{gone, behind}:
		return committing, sendCommit // the dead one had decided so
	case pair{gone, bygone}:
		return draining, nothing
	case pair{gone, stray}:
		return dying, kill

	// A reload.
	case pair{serving, offered}, pair{staging, acked}:
		return staging, deliver
	case pair{staging, prepared}:
		return staged, nothing
	case pair{staging, nacked}, pair{staging, timeout}:
		return serving, refuse
	case pair{staging, dropped}, pair{staged, dropped}:
		return serving, sendAbort
	case pair{staged, decided}:
		return committing, sendCommit
	case pair{committing, committed}:
		return serving, settle
	case pair{committing, nacked}, pair{committing, timeout}:
		return dying, kill // two configurations at once must not last

	// The end.
	case pair{serving, retired}, pair{staging, retired}, pair{staged, retired}, pair{committing, retired}:
		return draining, sendDrain
	case pair{draining, retired}:
		return draining, sendDrain // a stop, which is less patient than a new generation
	case pair{draining, timeout}, pair{stuck, timeout}, pair{stuck, retired},
		// A worker that cannot be led any more has most often died already.
		pair{greeting, lost}, pair{loading, lost}, pair{opening, lost}, pair{serving, lost},
		pair{staging, lost}, pair{staged, lost}, pair{committing, lost}:
		return dying, kill
	}
	if ev == exited && s != gone {
		return gone, bury
	}
	if ev == hurried && s != gone && s != dying {
		return dying, kill
	}
	return s, nothing
}

// starts tells whether a worker in state s is on its way to serving.
func (s state) starts() bool { return s == greeting || s == loading || s == opening }

// serves tells whether a worker in state s accepts connections.
func (s state) serves() bool {
	return s == serving || s == staging || s == staged || s == committing
}
