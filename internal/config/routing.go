package config

import (
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// maxRoutes bounds the routes of all listeners together.
const maxRoutes = 100_000

// routes gives l its routes.
func (d *decoder) routes(s *section, l *Listener) {
	names := map[string]hcl.Range{}
	reached := reach{same: map[string]*section{}}
	for _, b := range s.blocks["route"] {
		if d.routeCount++; d.routeCount > maxRoutes {
			d.at(b.at, "Too many routes", "All listeners together may have %d routes.", maxRoutes)
			break
		}
		if first, taken := names[b.label]; taken && b.label != "" {
			d.duplicate("route", b, first)
		} else {
			names[b.label] = b.at
		}
		r := d.route(b)
		reached.add(d, b, r)
		l.Routes = append(l.Routes, r)
	}
	if len(l.Routes) == 0 {
		d.absent(s.at, "No route", "The listener %q has no route, so it would answer nothing. Write route \"name\" { upstream = \"name\" }.", l.Name)
	}
}

func (d *decoder) route(s *section) *Route {
	r := &Route{
		Name:    s.label,
		Hosts:   matchers(d, s, "hosts", parseRouteHost),
		Paths:   matchers(d, s, "paths", d.pathPattern),
		Methods: matchers(d, s, "methods", parseMethod),
		When:    get[*Condition](s, "when"),
		Timeouts: RouteTimeouts{
			Request:   s.duration("timeouts.request"),
			FirstByte: s.duration("timeouts.first_byte"),
		},
		RequestHeaders:  d.headerOps(s.one("request_headers")),
		ResponseHeaders: d.headerOps(s.one("response_headers")),
	}
	if slices.Contains(r.Hosts, anyHost) {
		r.Hosts = nil
	}
	d.action(s, r)
	d.limitsOf(s, r)
	if s.has("retry") {
		r.Retry = d.retry(s)
	}
	if s.has("strip_prefix") {
		r.StripPrefix = d.stripPrefix(s)
	}
	return r
}

// action gives r what it does.
func (d *decoder) action(s *section, r *Route) {
	var set []string
	for _, name := range actions {
		if s.has(name) || s.failed(name) {
			set = append(set, name)
		}
	}
	switch {
	case len(set) == 0:
		d.absent(s.at, "Missing required argument", `The route %q does nothing. Write upstream = "name", or redirect, or respond.`, s.label)
	case len(set) > 1:
		d.at(s.at, "Conflicting arguments", "A route has one of upstream, redirect and respond. Route %q has %s.", s.label, strings.Join(set, " and "))
	}
	switch {
	case s.has("upstream"):
		d.upstreamOf(s, r)
	case s.has("redirect"):
		r.Redirect = d.redirect(s)
	case s.has("respond"):
		r.Respond = d.respond(s)
	}
	if !s.has("upstream") && !s.failed("upstream") {
		d.upstreamOnly(s)
	}
}

// upstreamOnly reports what has no effect in a route without an upstream.
func (d *decoder) upstreamOnly(s *section) {
	for _, name := range []string{"timeouts", "retry", "strip_prefix"} {
		if s.has(name) {
			d.at(s.whereOf(name), "No effect", "%q is for routes that have an upstream.", name)
		}
	}
	if b := s.one("request_headers"); b != nil {
		d.at(b.at, "No effect", "%q is for routes that have an upstream.", "request_headers")
	}
}

// upstreamOf gives r its upstream, or the expression that names it.
func (d *decoder) upstreamOf(s *section, r *Route) {
	e := get[hclsyntax.Expression](s, "upstream")
	n, ok := d.compileFor(routed, e)
	switch {
	case !ok:
	case n.kind == nullNode:
		d.null("upstream", e.Range())
	case n.kind != textNode:
		d.at(e.Range(), "Invalid value", "\"upstream\" must be the name of an upstream, or an expression that yields one.")
	case n.constant:
		d.knownUpstream(n, e)
		r.Upstream = d.upstreams[n.value]
	default:
		d.yields(e)
		r.UpstreamName = &Expr{eval: n.asText()}
	}
}

// yields checks the constants that e, which compiles, may yield as the name of
// an upstream. What else it may yield is not known at load.
func (d *decoder) yields(e hclsyntax.Expression) {
	e = d.definition(e)
	if d.yielded[e] { // locals may lead here in very many ways
		return
	}
	d.yielded[e] = true
	switch e := e.(type) {
	case *hclsyntax.ConditionalExpr:
		d.yields(e.TrueResult)
		d.yields(e.FalseResult)
		return
	case *hclsyntax.TemplateWrapExpr:
		d.yields(e.Wrapped)
		return
	case *hclsyntax.FunctionCallExpr:
		if e.Name == "coalesce" {
			for _, a := range e.Args {
				d.yields(a)
			}
			return
		}
	}
	if n, ok := d.compileFor(routed, e); ok {
		d.knownUpstream(n, e)
	}
}

// knownUpstream reports a constant that is not the name of an upstream.
func (d *decoder) knownUpstream(n node, at hclsyntax.Expression) {
	if n.kind == textNode && n.constant && d.upstreams[n.value] == nil {
		d.absent(at.Range(), "Unknown upstream", "There is no upstream %q.%s", n.value, nearestKey(n.value, d.upstreams))
	}
}

func (d *decoder) redirect(s *section) *Redirect {
	r := &Redirect{Location: get[*Expr](s, "redirect.to"), Status: int(s.number("redirect.status"))}
	if !slices.Contains([]int{301, 302, 303, 307, 308}, r.Status) {
		d.at(s.whereOf("redirect.status"), "Out of range", `"status" must be 301, 302, 303, 307 or 308.`)
	}
	return r
}

func (d *decoder) respond(s *section) *Respond {
	r := &Respond{Status: int(s.number("respond.status")), Body: []byte(s.text("respond.body")), ContentType: s.text("respond.type")}
	if len(r.Body) > 0 && (r.Status == 204 || r.Status == 304) {
		d.at(s.whereOf("respond.body"), "Conflicting arguments", "A response with status %d has no body.", r.Status)
	}
	if err := checkFieldValue(r.ContentType); err != nil {
		d.at(s.whereOf("respond.type"), "Invalid value", "The value of \"type\" %v.", err)
	}
	return r
}

func (d *decoder) retry(s *section) *Retry {
	r := &Retry{Attempts: int(s.number("retry.attempts")), BudgetPercent: int(get[percent](s, "retry.budget"))}
	if !s.has("retry.on") {
		r.Connect, r.Reset = DefaultRetry.Connect, DefaultRetry.Reset
	}
	for _, it := range s.items("retry.on") {
		switch it.text {
		case "connect":
			r.Connect = true
		case "reset":
			r.Reset = true
		case "timeout":
			r.Timeout = true
		default:
			status, err := strconv.ParseUint(it.text, 10, 31)
			if err != nil || status < 400 || status > 599 {
				d.at(it.at, "Invalid value", `%q is no reason to retry. Those are "connect", "reset", "timeout" and statuses from "400" to "599".%s`,
					it.text, didYouMean(it.text, []string{"connect", "reset", "timeout"}))
			} else if !slices.Contains(r.Statuses, int(status)) {
				r.Statuses = append(r.Statuses, int(status))
			}
		}
	}
	return r
}

func (d *decoder) stripPrefix(s *section) string {
	text := s.text("strip_prefix")
	switch {
	case len(text) < 2 || len(text) > maxPattern || text[0] != '/' || text[len(text)-1] == '/':
		d.at(s.whereOf("strip_prefix"), "Invalid value", `%q is not a prefix to strip. It begins with a slash and does not end with one, as in "/v1".`, text)
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("?#*", r) }):
		d.at(s.whereOf("strip_prefix"), "Invalid value", "%q has characters that no path has as it is sent, or that have no meaning here.", text)
	}
	return text
}
