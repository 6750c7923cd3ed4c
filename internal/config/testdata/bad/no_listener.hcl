upstream "one" {
  servers = ["10.0.0.1:80"]
}
