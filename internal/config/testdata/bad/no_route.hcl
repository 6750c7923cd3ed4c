listener "web" {
  address = ":8080"
}
upstream "one" {
  servers = ["10.0.0.1:80"]
}
