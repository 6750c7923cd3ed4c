package accesslog

import (
	"strconv"
	"time"
)

const secondsPerDay = 24 * 60 * 60

// A calendar remembers the texts of a day: all but twice a day they are those of
// the line before.
type calendar struct {
	day int64 // since 1970
	iso []byte
	clf []byte
}

func newCalendar() calendar {
	c := calendar{day: -1}
	c.turn(0)
	return c
}

func (c *calendar) turn(day int64) {
	if day == c.day {
		return
	}
	date := time.Unix(day*secondsPerDay, 0).UTC()
	c.day = day
	c.iso = date.AppendFormat(c.iso[:0], "2006-01-02T")
	c.clf = date.AppendFormat(c.clf[:0], "02/Jan/2006:")
}

// appendISO appends t, nanoseconds since 1970, as in 2026-11-22T20:50:22.123Z.
func (c *calendar) appendISO(dst []byte, t int64) []byte {
	second, ns := floorDiv(t, int64(time.Second))
	day, second := floorDiv(second, secondsPerDay)
	c.turn(day)
	dst = appendClock(append(dst, c.iso...), second)
	ms := uint64(ns) / 1e6
	return append(append2(append(dst, '.', byte('0'+ms/100)), ms%100), 'Z')
}

// appendCLF appends t as the common log format does: 22/Nov/2026:20:50:22 +0000.
func (c *calendar) appendCLF(dst []byte, t int64) []byte {
	second, _ := floorDiv(t, int64(time.Second))
	day, second := floorDiv(second, secondsPerDay)
	c.turn(day)
	dst = appendClock(append(dst, c.clf...), second)
	return append(dst, " +0000"...)
}

// floorDiv is a / b and the remainder, which is never negative.
func floorDiv(a, b int64) (quotient, remainder int64) {
	quotient, remainder = a/b, a%b
	if remainder < 0 {
		return quotient - 1, remainder + b
	}
	return quotient, remainder
}

func appendClock(dst []byte, second int64) []byte {
	s := uint64(second)
	dst = append(append2(dst, s/3600), ':')
	dst = append(append2(dst, s/60%60), ':')
	return append2(dst, s%60)
}

// appendSeconds appends d in seconds with six decimals.
func appendSeconds(dst []byte, d time.Duration) []byte {
	us := uint64(max(d, 0)) / 1e3
	dst = append(strconv.AppendUint(dst, us/1e6, 10), '.')
	us %= 1e6
	return append2(append2(append2(dst, us/1e4), us/100%100), us%100)
}

// append2 appends n, less than 100, with two digits.
func append2(dst []byte, n uint64) []byte {
	return append(dst, byte('0'+n/10), byte('0'+n%10))
}
