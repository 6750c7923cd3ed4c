# All that a route may have, and what else there is about requests.
locals {
  office  = ["2001:db8::/32", "10.0.0.0/8", "192.0.2.7", "10.1.0.0/16"]
  proxies = "192.0.2.7"
  answer  = {}
}

supervisor {
  user = "proxyd"
  via  = "edge-1"
}

listener "web" {
  address         = ":8080"
  proxy_protocol  = { from = local.proxies }
  trusted_proxies = local.office

  route "api" {
    hosts        = ["API.example.com", "*.api.example.com.", "192.0.2.1", "[2001:db8::1]"]
    paths        = ["/v1/*", "/v1", "/*/edit", "**.jpg", "/v1*", "/a?", "~^/u/[0-9]+$", "/ü b/%2F"]
    methods      = ["GET", "PURGE"]
    when         = request.header["x-debug"] != "1" && !cidr_match(client.ip, local.office)
    rate_limit   = "per_net"
    timeouts     = { request = "30s", first_byte = "10s" }
    retry        = { attempts = 3, on = ["connect", "timeout", "502", "503", "502"], budget = "50%" }
    strip_prefix = "/v1"
    request_headers {
      set    = { X-Request-Id = request.id, "x-app" = lower(request.header["appid"]) }
      add    = { x-tag = "a", "x-tag" = "b" }
      remove = "X-Internal"
    }
    response_headers {
      set    = { "x-upstream" = "${upstream.name}/${route.name}" }
      remove = ["Server"]
    }
    upstream = request.header["x-canary"] == "1" ? "canary" : "api"
  }
  route "fixed" {
    hosts    = "fixed"
    upstream = lower("CANARY")
    retry    = { attempts = 1 }
  }
  route "old" {
    hosts    = "old"
    redirect = { to = "https://example.com/new${request.path}", status = 308 }
  }
  route "older" {
    hosts    = "older"
    redirect = "/newer"
  }
  route "deny" {
    hosts   = "deny"
    respond = { status = 404, body = "<p>no", type = "text/html" }
  }
  route "toggle" {
    when    = env("PROXYD_TEST_UNSET") == null
    respond = local.answer
  }
  route "all" {
    hosts   = ["*"]
    paths   = ["*"]
    respond = {}
  }
}

upstream "api" {
  servers = ["10.0.0.1:80"]
}
upstream "canary" {
  servers = ["10.0.0.2:80"]
}

rate_limit "per_net" {
  key  = ip_prefix(client.ip, 24)
  rate = "10/s"
}

access_log "json" {
  output = "/var/log/a.json"
}
access_log "combined" {
  output = "/var/log/a.log"
  when   = response.status >= 400 || sample(0.01)
}
