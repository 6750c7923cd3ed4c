listener "web" {
  address = ":8080"
  route "all" { upstream = "one" }
}
upstream "one" {
  server "10.0.0.1:80" { weight = 0 }
  server "10.0.0.2:80" { weight = -1 }
  server "10.0.0.3:80" { weight = "heavy" }
  server "10.0.0.4:80" { weigth = 2 }
}
