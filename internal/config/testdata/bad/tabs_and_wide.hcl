listener "wëb" {
	address	= "1.2.3.4"
	route "ällé" { upstream = "[31m" }
}
