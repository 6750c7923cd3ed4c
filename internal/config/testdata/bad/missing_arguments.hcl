listener "web" {
  route "all" {}
}
rate_limit "app" {
  headers = "none"
}
