listener "web" {
