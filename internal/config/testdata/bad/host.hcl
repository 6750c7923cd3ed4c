listener "web" {
  address = ":8080"
  route "all" { upstream = "one" }
}
upstream "one" {
  servers = ["10.0.0.1:443"]
  host    = "one.example\r\nX: y"
}
upstream "two" {
  servers = ["10.0.0.1:443"]
  host    = "one.example:http"
}
