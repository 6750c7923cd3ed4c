listener "web" {
  address = ":8080"
  route "a" {
    when     = request.header["x-debug"]
    upstream = "one"
  }
  route "b" {
    when     = response.status == 200
    upstream = "one"
  }
  route "c" {
    when     = route.name == "c"
    upstream = "one"
  }
  route "d" {
    when     = null
    upstream = "one"
  }
}
upstream "one" {
  servers = ["10.0.0.1:80"]
}
