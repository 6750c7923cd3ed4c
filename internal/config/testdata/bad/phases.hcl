locals {
  late  = "${response.status}-${request.bytes}"
  named = upper(upstream.name)
}
listener "web" {
  address = ":8080"
  route "a" {
    when     = upstream.address == "x" || local.named == "X"
    redirect = "https://${local.late}${response.header["x"]}"
    response_headers {
      set = { "x-time" = time.iso8601, "x-attempts" = upstream.attempts, "x-late" = local.late, "x-name" = local.named }
    }
  }
}
rate_limit "status" {
  key  = response.status < 400 ? client.ip : upstream.name
  rate = "10/s"
}
access_log "text" {
  output = "log"
  format = "${response.duration} ${response.header[5]} ${response.header["a b"]} ${upstream.duration.x} ${time.iso8602} ${response.header}"
}
