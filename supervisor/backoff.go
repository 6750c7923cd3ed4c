package supervisor

import "time"

const (
	firstDelay  = 100 * time.Millisecond
	maxDelay    = 10 * time.Second
	healthyTime = 60 * time.Second // a worker that served so long starts with a clean record
)

// delay says how long to wait before the next start of a worker that has died
// failures times in a row: 0, 0.1 s, 0.2 s, 0.4 s … 10 s, each ±20 % by where
// jitter lies in [0, 1), so that workers that died together start apart.
func delay(failures int, jitter float64) time.Duration {
	if failures <= 1 {
		return 0
	}
	d := maxDelay
	if n := failures - 2; n < 7 {
		d = firstDelay << n
	}
	return time.Duration(float64(d) * (0.8 + 0.4*jitter))
}
