//go:build !race

package loop

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkEcho is 128 bytes there and back between two tasks of one loop, with
// the deadlines of a proxy: two writes, two reads and two waits.
func BenchmarkEcho(b *testing.B) {
	l := start(b)
	near, far := socketPairOnLoop(b, l)
	b.ReportAllocs()
	server := spawn(l, func(task *Task) {
		buf := make([]byte, 128)
		for {
			n, err := task.Read(far, buf, task.After(time.Minute))
			if err != nil {
				return
			}
			if err := task.Write(far, buf[:n], task.After(time.Minute)); err != nil {
				b.Error(err)
			}
		}
	})
	client := spawn(l, func(task *Task) {
		buf := make([]byte, 128)
		for b.Loop() {
			if err := task.Write(near, buf, task.After(time.Minute)); err != nil {
				b.Error(err)
			}
			if n, err := task.Read(near, buf, task.After(time.Minute)); n != len(buf) || err != nil {
				b.Error(n, err)
			}
		}
		near.Close()
	})
	<-client
	<-server
}

// BenchmarkParkedEcho wakes a parked connection, spawns a coroutine for it and
// parks it again, while the other end blocks in another thread.
func BenchmarkParkedEcho(b *testing.B) {
	l := start(b)
	_, peer := serving(b, l)
	buf := make([]byte, 128)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := unix.Write(peer, buf); err != nil {
			b.Fatal(err)
		}
		if _, err := unix.Read(peer, buf); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSwitch is a switch to a coroutine and back.
func BenchmarkSwitch(b *testing.B) {
	l := start(b)
	b.ReportAllocs()
	on(b, l, func() {
		var task *Task
		stop := false
		l.Spawn(&job{run: func(t *Task) {
			for task = t; !stop; {
				_ = t.wait(0)
			}
		}})
		for b.Loop() {
			task.resumeNow()
		}
		stop = true
		task.resumeNow()
	})
}

// BenchmarkSpawn is a job that does nothing, in a coroutine from the pool.
func BenchmarkSpawn(b *testing.B) {
	l := start(b)
	b.ReportAllocs()
	j := &job{run: func(*Task) {}}
	on(b, l, func() {
		for b.Loop() {
			l.Spawn(j)
		}
	})
}

// BenchmarkPost is a function that another goroutine has run on the loop.
func BenchmarkPost(b *testing.B) {
	l := start(b)
	done := make(chan struct{}, 1)
	f := func() { done <- struct{}{} }
	b.ReportAllocs()
	for b.Loop() {
		l.Post(f)
		<-done
	}
}
