listener "web" = {
  address = ":8080"
}
