listener "web" {
  address = ":8080"
  route "all" { upstream = "one" }
}
upstream "one" {
  servers = ["10.0.0.1:80"]
}

access_log "json" {
  format = "${client.ip}"
  output = "access.log"
}
access_log "combined" {
  output = "./access.log"
  when   = response.status
}
access_log "text" {
  output = "text.log"
}
access_log "text" {
  format = client.ipp
}
access_log "xml" {
  output = "xml.log"
  format = null
}
access_log {
  output = ""
}
