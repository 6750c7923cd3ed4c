listener "web" {
  address = ":8080"
  route "all" { upstream = "one" }
