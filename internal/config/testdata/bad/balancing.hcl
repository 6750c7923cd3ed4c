listener "web" {
  address = ":8080"
  route "all" { upstream = "one" }
}
upstream "one" {
  servers         = ["10.0.0.1:80"]
  policy          = "maglv"
  hash_key        = client.ip
  slow_start      = "2h"
  panic_threshold = "101%"
  eject           = { errors = 0, for = "1ms", max_percent = "50%", after = 3 }
  limits          = { connections = -1, pending = "many" }
}
upstream "two" {
  servers         = ["10.0.0.1:80"]
  policy          = "maglev"
  slow_start      = 20
  panic_threshold = 30
  eject           = 5
  limits          = { pending = 10 }
}
upstream "three" {
  servers         = ["10.0.0.1:80"]
  policy          = "p2c"
  hash_key        = client.ip
  panic_threshold = "-1%"
  eject           = { errors = 3, errors = 4 }
  limits          = { connections = 0, pending = 10 }
}
upstream "four" {
  servers  = ["10.0.0.1:80"]
  policy   = "ketama"
  hash_key = upstream.name
}
upstream "five" {
  servers  = ["10.0.0.1:80"]
  policy   = "ketama"
  hash_key = null
}
upstream "six" {
  servers  = ["10.0.0.1:80"]
  hash_key = client.ip
}
