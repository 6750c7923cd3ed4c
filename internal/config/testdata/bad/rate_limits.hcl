listener "web" {
  address = ":8080"
  route "all" { upstream = "one" }
}
upstream "one" {
  servers = ["10.0.0.1:80"]
}
rate_limit "a" {
  key       = client.ip
  rate      = "10/s"
  burst     = 5
  algorithm = "estimator"
}
rate_limit "b" {
  key       = client.ip
  rate      = "10/s"
  burst     = 0
  algorithm = "gcra"
}
rate_limit "c" {
  key       = client.ip
  rate      = "10/s"
  burst     = 5
  algorithm = "gcr"
  headers   = "x-ratelimit"
  dry_run   = "yes"
}
rate_limit "d" {
  key       = client.ip
  rate      = "10/s"
  overrides = { "acme" = "fast", "other" = 10, acme = "1/s", "third" = "0/m", (client.ip) = "1/s", "last" = request.host }
}
rate_limit "e" {
  key       = client.ip
  rate      = "10/s"
  burst     = 3
  overrides = "5/s"
}
rate_limit "f" {
  key       = client.ip
  rate      = "10/s"
  overrides = { "twice" = "1/s", "twice" = "2/s" }
}
rate_limit "sliding" {
  key       = client.ip
  algorithm = "window"
  rate      = "100000000/s"
  overrides = { "10.0.0.1" = "20000000/m" }
}
