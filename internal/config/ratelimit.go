package config

import (
	"slices"

	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// A limit is a limit of one kind. All of them share their names.
type limit struct {
	rate        *RateLimit
	concurrency *ConcurrencyLimit
}

func (d *decoder) rateLimit(s *section) *RateLimit {
	r := get[Rate](s, "rate")
	v := &RateLimit{
		Name:      s.label,
		Key:       get[*Expr](s, "key"),
		Max:       r.Max,
		Window:    r.Window,
		Keys:      int(s.number("keys")),
		Headers:   s.text("headers"),
		Algorithm: s.text("algorithm"),
		Overrides: get[map[string]Rate](s, "overrides"),
		DryRun:    s.flag("dry_run"),
	}
	switch {
	case v.Algorithm == "gcra":
		v.Burst = s.number("burst")
	case s.has("burst") && !s.failed("algorithm"):
		d.at(s.whereOf("burst"), "No effect", `"burst" is for algorithm "gcra"; this one is %q, where a key may use up its rate at once.`, v.Algorithm)
	}
	if v.Algorithm == "window" {
		d.countable(s, "rate", v.Max)
		for _, r := range v.Overrides {
			d.countable(s, "overrides", r.Max)
		}
	}
	d.define("limit", s)
	d.limits[s.label] = limit{rate: v}
	return v
}

// maxSliding bounds the requests of a sliding window, each of whose counts has 24
// bits.
const maxSliding = 1<<24 - 1

func (d *decoder) countable(s *section, argument string, most int64) {
	if most > maxSliding {
		d.at(s.whereOf(argument), "Out of range", `The algorithm "window" counts up to %d requests; "gcra" has no such bound.`, maxSliding)
	}
}

func (d *decoder) concurrencyLimit(s *section) *ConcurrencyLimit {
	v := &ConcurrencyLimit{
		Name:   s.label,
		Key:    get[*Expr](s, "key"),
		Max:    s.number("max"),
		Keys:   int(s.number("keys")),
		DryRun: s.flag("dry_run"),
	}
	d.define("limit", s)
	d.limits[s.label] = limit{concurrency: v}
	return v
}

// maxOverrides bounds the keys of one limit that have rates of their own.
const maxOverrides = 10_000

// rates reads an object of rates.
func (d *decoder) rates(a *arg, e hclsyntax.Expression) (any, bool) {
	items, ok := d.pairs(a, e)
	if !ok {
		return nil, false
	}
	if len(items) > maxOverrides {
		d.at(e.Range(), "Too many values", "%q may have %d.", a.name, maxOverrides)
		return nil, false
	}
	rates, valid := make(map[string]Rate, len(items)), true
	for _, item := range items {
		at := item.KeyExpr.Range()
		key, ok := keyName(item.KeyExpr)
		_, twice := rates[key]
		switch {
		case !ok:
			d.at(at, "Invalid name", "The key must be a plain text in quotes.")
		case twice:
			d.at(at, "Attribute redefined", "%q is set twice in this object.", key)
			ok = false
		}
		v, isRate := d.value(&arg{name: key, kind: rateKind}, item.ValueExpr)
		rates[key], _ = v.(Rate)
		valid = valid && ok && isRate
	}
	return rates, valid
}

// limitsOf gives r its limits.
func (d *decoder) limitsOf(s *section, r *Route) {
	for _, it := range s.items("rate_limit") {
		l, ok := d.limits[it.text]
		switch {
		case !ok:
			d.absent(it.at, "Unknown rate limit", "There is no rate_limit or concurrency_limit %q.%s", it.text, nearestKey(it.text, d.limits))
		case slices.Contains(r.RateLimits, l.rate) || slices.Contains(r.ConcurrencyLimits, l.concurrency):
			d.at(it.at, "Duplicate rate limit", "%q is in this list already.", it.text)
		case l.rate != nil:
			r.RateLimits = append(r.RateLimits, l.rate)
		default:
			r.ConcurrencyLimits = append(r.ConcurrencyLimits, l.concurrency)
		}
	}
}
