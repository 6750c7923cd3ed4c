// Package proxyd holds no code. The program is cmd/proxyd; the folders beside
// this file say in which of its processes their code runs:
//
//	supervisor   owns sockets, configuration and shared memory; no traffic
//	worker       carries traffic on one event loop; no disk, no other worker
//	lb, limiter  run in a worker and keep their state in shared memory
//	internal     what both processes need, and their only places to meet
//
// What is here are the rules of the house as tests: who may import whom
// (deps_test.go), and that packages are documented, files short and modules few
// (house_test.go). A change that breaks one of them either is a mistake or
// changes the rule in the same commit.
package proxyd
