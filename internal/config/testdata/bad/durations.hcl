supervisor {
  ready_timeout = "30"
  drain_timeout = 30
}
listener "web" {
  address  = ":8080"
  timeouts = { header = "ten", body_idle = "-1s", idle = "1000h", write = null }
  route "all" { upstream = "one" }
}
upstream "one" {
  servers = ["10.0.0.1:80"]
}
