listener "web" {
  address = ":8080"
  route "all" { upstream = "one" }
}
upstream "one" {
  servers = [env("PROXYD_TEST_UNSET")]
  host    = file("missing.txt")
}
upstream "two" {
  servers = [env(client.ip)]
}
