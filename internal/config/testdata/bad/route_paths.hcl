listener "web" {
  address = ":8080"
  route "a" {
    paths    = ["v1", "*.jpg", "", "/a/../b", "/a/.", "/a//b", "/%61", "/a%2fb", "~^/u/[0-9+$", "~(a{1000}){1000}", "/ok/*"]
    upstream = "one"
  }
  route "b" {
    paths    = ["/*", "*"]
    upstream = "one"
  }
  route "c" {
    methods  = ["get", "GE T", "", "POST", "POST"]
    upstream = "one"
  }
  route "d" {
    paths    = "~(((x{100}){100}){100})"
    upstream = "one"
  }
  route "e" {
    paths    = "~(?:abcdefghij){1000}(?:abcdefghij){1000}(?:abcdefghij){1000}"
    upstream = "one"
  }
}
upstream "one" {
  servers = ["10.0.0.1:80"]
}
