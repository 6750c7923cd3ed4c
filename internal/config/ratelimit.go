package config

func (d *decoder) rateLimit(s *section) *RateLimit {
	r := get[rate](s, "rate")
	v := &RateLimit{
		Name:    s.label,
		Key:     get[*Expr](s, "key"),
		Max:     r.max,
		Window:  r.window,
		Keys:    int(s.number("keys")),
		Headers: s.text("headers") != "none",
	}
	d.define("rate_limit", s)
	d.rateLimits[s.label] = v
	return v
}
