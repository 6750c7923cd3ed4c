listener "web" {
  address = ":8080"
  route "all" { upstream = "one" }
}
upstream "one" {
  discover "file" {}
  discover "file" { path = "" }
  discover "file" { path = "a/servers" }
  discover "file" { path = "./a/../a/servers" }
  discover "file" {
    path = "b"
    name = "b.example"
  }
  discover "consul" { name = "x" }
  discover { path = "c" }
}
upstream "two" {
  discover "dns" {}
  discover "dns" { name = "api.internal" }
  discover "dns" { name = "api.internal:80" }
  discover "dns" { name = "10.0.0.1" }
  discover "dns" { name = "[2001:db8::1]:80" }
  discover "dns" { name = "api..internal" }
  discover "dns" { name = "api internal" }
  discover "dns" { name = "" }
  discover "dns" { name = request.host }
  discover "dns" {
    name = "_http._tcp.api.internal"
    port = 80
  }
  discover "dns" {
    name = "x.internal"
    port = 0
  }
  discover "dns" {
    name = "X.internal."
    port = 80
    path = "x"
  }
  discover "dns" {
    name = "x.internal"
    port = "80"
  }
  discover "dns" {
    name      = "y.internal"
    port      = 80
    resolvers = ["10.0.0.53", "dns.example:53", "0.0.0.0:53", "10.0.0.53:53", "10.0.0.53:53", "10.0.0.53:domain"]
  }
  discover "dns" {
    name      = "z.internal"
    port      = 80
    resolvers = ["10.0.0.1:53", "10.0.0.2:53", "10.0.0.3:53", "10.0.0.4:53", "10.0.0.5:53", "10.0.0.6:53", "10.0.0.7:53", "10.0.0.8:53", "10.0.0.9:53"]
  }
}
upstream "three" {
  discover = "dns"
}
