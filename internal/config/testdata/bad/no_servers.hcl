listener "web" {
  address = ":8080"
  route "all" { upstream = "one" }
}
upstream "one" {
  servers = []
}
upstream "two" {
  host = "two.example"
}
