listener "web" {
  address = ":8080"
  route "a" {
    hosts    = ["example.com", "example.org"]
    paths    = ["/a", "/b/*"]
    methods  = ["GET"]
    upstream = "one"
  }
  route "other_method" {
    hosts    = ["example.com", "example.org"]
    paths    = ["/a", "/b/*"]
    upstream = "one"
  }
  route "same" {
    hosts    = ["EXAMPLE.org", "example.com."]
    paths    = ["/b/*", "/a"]
    methods  = ["GET"]
    when     = client.port == 5
    upstream = "one"
  }
  route "conditional" {
    hosts    = "*"
    when     = true
    upstream = "one"
  }
  route "everything" {
    hosts    = "*"
    paths    = "/*"
    upstream = "one"
  }
  route "last" {
    hosts    = "example.net"
    respond = { status = 404 }
  }
}
upstream "one" {
  servers = ["10.0.0.1:80"]
}
