listener "web" {
  address = ["8080", "localhost:80", "1.2.3.4", "::1:80", ":0", ":99999", "[fe80::1%eth0]:80", "unix:web.sock", "systemd:", "1.2.3:80"]
  route "all" { upstream = "one" }
}
listener "none" {
  address = []
  route "all" { upstream = "one" }
}
upstream "one" {
  servers = ["10.0.0.1:80"]
}
