listener "web" {
  address = ":8080"
  route "all" { upstream = "one" }
}
upstream "one" {
  server "10.0.0.1:80" { backup = true }
  server "10.0.0.2:80" { backup = true }
}
upstream "two" {
  servers = ["10.0.0.1:80"]
  server "10.0.0.2:80" { backup = 1 }
}
upstream "three" {
  servers = ["three.example:80"]
  server "10.0.0.2:80" { backup = true }
}
upstream "four" {
  server "10.0.0.1:80" { backup = true }
  discover "file" { path = "more" }
}
