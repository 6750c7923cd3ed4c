package limiter

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
)

func benchKeys(n int) [][]byte {
	keys := make([][]byte, n)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "client-%d", i)
	}
	return keys
}

// each calls take for one key after the other.
func each(b *testing.B, keys [][]byte, take func(key []byte)) {
	b.Helper()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		take(keys[i])
		if i++; i == len(keys) {
			i = 0
		}
	}
}

func benchRule(a Algorithm) Rule {
	return Rule{Name: "bench", Algorithm: a, Max: 1e7, Window: time.Second, Burst: 1e7}
}

func BenchmarkTake(b *testing.B) {
	for _, a := range []Algorithm{Estimator, Window, GCRA} {
		for _, n := range []int{1, 100, 10_000, 1_000_000} {
			b.Run(fmt.Sprintf("%v/%d", a, n), func(b *testing.B) {
				l := limiterOf(b, newSegment(b), benchRule(a))
				keys := benchKeys(n)
				for _, key := range keys {
					l.Take(key)
				}
				each(b, keys, func(key []byte) { l.Take(key) })
			})
		}
	}
}

// BenchmarkBare is what no Take can do without: to read the clock, to hash the key,
// and to count in a slot of the one bucket of four that is the key's, in memory
// that is as large as the estimator's. Compare figures with this one's of the same
// run: it tells what the machine was busy with.
func BenchmarkBare(b *testing.B) {
	for _, n := range []int{1, 100, 10_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			const slots = 4
			hasher := newSegment(b).Hasher("bench")
			words := make([]atomic.Uint64, bucketsFor(max(n, 100))*bucketWords)
			mask := uint64(len(words)/bucketWords - 1)
			keys := benchKeys(n)
			var last int64
			each(b, keys, func(key []byte) {
				last = shm.Now()
				hash := hasher.Hash(key)
				bucket := words[(hash&mask)*bucketWords:][:2*slots]
				for i := 0; i < len(bucket); i += 2 {
					id := bucket[i].Load()
					if id == hash || id == 0 && bucket[i].CompareAndSwap(0, hash) {
						n := bucket[i+1].Load()
						bucket[i+1].CompareAndSwap(n, n+1)
						break
					}
				}
			})
			if last == 0 {
				b.Error("the clock stands")
			}
		})
	}
}

// BenchmarkTakeRefused is the path of a client that is over its limit.
func BenchmarkTakeRefused(b *testing.B) {
	l := limiterOf(b, newSegment(b), Rule{Name: "bench", Max: 1, Window: time.Hour})
	key := []byte("client")
	for b.Loop() {
		l.Take(key)
	}
}

// BenchmarkTakeAll is a route with two limits.
func BenchmarkTakeAll(b *testing.B) {
	seg := newSegment(b)
	one, two := limiterOf(b, seg, benchRule(Estimator)), limiterOf(b, seg, benchRule(GCRA))
	all := []byte("all")
	each(b, benchKeys(100), func(key []byte) { TakeAll([]Charge{{one, key}, {two, all}}) })
}

// BenchmarkTakeTwoProcesses has another process take of the same hundred keys.
func BenchmarkTakeTwoProcesses(b *testing.B) {
	for _, a := range []Algorithm{Estimator, Window, GCRA} {
		b.Run(a.String(), func(b *testing.B) {
			seg := newSegment(b)
			l := limiterOf(b, seg, benchRule(a))
			other := start(b, seg, rival+a.String())
			defer func() {
				other.Process.Kill()
				other.Wait()
			}()
			taken, err := seg.Words(rival, 1)
			if err != nil {
				b.Fatal(err)
			}
			other.stdin.Close()
			for taken[0].Load() == 0 {
			}
			before, since, used := taken[0].Load(), time.Now(), processorTime(b)
			each(b, benchKeys(100), func(key []byte) { l.Take(key) })
			b.ReportMetric(float64(processorTime(b)-used)/float64(b.N), "cpu-ns/op") // tells more on a busy machine
			b.ReportMetric(float64(time.Since(since))/float64(taken[0].Load()-before), "ns/op-other")
		})
	}
}

// processorTime is what this process has had.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// rival is the first part of the name under which a process is started that takes
// until it is killed.
const rival = "rival "

func compete(name string) error {
	seg, err := shm.Open(os.NewFile(3, "shm"))
	if err != nil {
		return err
	}
	a, _ := ParseAlgorithm(strings.TrimPrefix(name, rival))
	l, err := New(seg, benchRule(a))
	if err != nil {
		return err
	}
	taken, err := seg.Words(rival, 1)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	for keys := benchKeys(100); ; taken[0].Add(uint64(len(keys))) {
		for _, key := range keys {
			l.Take(key)
		}
	}
}

func BenchmarkSketch(b *testing.B) {
	l := limiterOf(b, newSegment(b), benchRule(Estimator))
	s := &l.rate.counter.(*estimator).sketch
	for i := range b.N {
		s.take(1, mix(uint64(i%10_000)), l.rate.max, false)
	}
}

func BenchmarkArrivals(b *testing.B) {
	l := limiterOf(b, newSegment(b), benchRule(GCRA))
	a := &l.rate.counter.(*pacer).arrivals
	for i := range b.N {
		a.take(int64(i), 0, mix(uint64(i%10_000)), &l.rate)
	}
}
