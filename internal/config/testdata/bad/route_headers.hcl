listener "web" {
  address = ":8080"
  route "a" {
    upstream = "one"
    request_headers {
      set = {
        "host"          = "x"
        "Connection"    = "close"
        "x y"           = "1"
        ":path"         = "/"
        "x-a"           = "a\r\nb"
        "X-A"           = "2"
        "x-b"           = "\u007f"
        "x-c"           = null
        "x-d"           = response.status
        (request.host)  = "1"
        "Proxy-Connection" = "close"
        Content-Length  = 5
      }
      add    = { "Via" = "1.1 me", "x-e" = requst.host }
      remove = ["te", "x-*", "x-f", "X-F", ""]
    }
    response_headers {
      set    = ["x-a", "1"]
      add    = { "x-g" = response.bytes }
      remove = "transfer-encoding"
      delete = ["server"]
    }
    response_headers {}
  }
}
upstream "one" {
  servers = ["10.0.0.1:80"]
}
