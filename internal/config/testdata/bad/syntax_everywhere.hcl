listener "web" {
  address = [":8080"
  route "all" { upstream = "one" }
}
upstream "one" {
  servers = 
  polcy = "round_robin"
}
rate_limit 'app' {
}
