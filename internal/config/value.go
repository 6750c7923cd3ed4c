package config

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// maxName bounds the names of blocks: they appear in logs, metrics and keys.
const maxName = 64

// checkName says what is wrong with the name of a block, as the end of a
// sentence.
func checkName(s string) error {
	if s == "" || len(s) > maxName {
		return fmt.Errorf("must have 1 to %d characters", maxName)
	}
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && c != '_' && c != '-' {
			return errors.New("may consist of letters, digits, \"-\" and \"_\" only")
		}
	}
	return nil
}

// checkHost says what is wrong with a value for the Host field.
func checkHost(s string) error {
	name, valid := s, len(s) <= 255
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		_, err := strconv.ParseUint(s[i+1:], 10, 16)
		name, valid = s[:i], valid && err == nil
	}
	ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(name, "["), "]"))
	bracketed := strings.HasPrefix(name, "[") && strings.HasSuffix(name, "]")
	if err == nil {
		valid = valid && ip.Is6() == bracketed && ip.Zone() == ""
	} else {
		valid = valid && isHostName(name)
	}
	if !valid {
		return fmt.Errorf("%q is not a host name or address, with or without a port", s)
	}
	return nil
}

func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf(`%q is not a duration. Write a number and ms, s, m or h, such as "1s" or "1m30s"`, s)
	}
	return d, nil
}

var sizeUnits = []struct {
	name  string
	bytes int64
}{
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"kB", 1e3},
	{"KB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"B", 1},
	{"", 1},
}

func parseSize(s string) (int64, error) {
	for _, unit := range sizeUnits {
		digits, ok := strings.CutSuffix(s, unit.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 63)
		if err == nil && int64(n) <= math.MaxInt64/unit.bytes {
			return int64(n) * unit.bytes, nil
		}
		break
	}
	return 0, fmt.Errorf(`%q is not a size. Write a whole number and B, KiB, MiB or GiB, such as "32KiB"`, s)
}

// formatSize is the inverse of parseSize.
func formatSize(n int64) string {
	for _, unit := range []int{2, 1, 0} {
		if u := sizeUnits[unit]; n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// formatDuration is time.Duration.String without the zeros at its end.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// maxRate keeps counts far from the end of 32 bits.
const maxRate = 1_000_000_000

func parseRate(s string) (Rate, error) {
	number, unit, _ := strings.Cut(s, "/")
	n, err := strconv.ParseUint(number, 10, 63)
	window := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}[unit]
	if err != nil || window == 0 {
		return Rate{}, fmt.Errorf(`%q is not a rate. Write a whole number and /s, /m or /h, such as "100/s"`, s)
	}
	if n < 1 || n > maxRate {
		return Rate{}, fmt.Errorf("%q is out of range: a rate is from 1 to %d in its unit of time", s, maxRate)
	}
	return Rate{int64(n), window}, nil
}

// A percent is a number of hundredths.
type percent int

func (p percent) String() string { return strconv.Itoa(int(p)) + "%" }

func parsePercent(s string) (percent, error) {
	digits, ok := strings.CutSuffix(s, "%")
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil || !ok {
		return 0, fmt.Errorf(`%q is not a percentage. Write a whole number and %%, such as "20%%"`, s)
	}
	return percent(n), nil
}
