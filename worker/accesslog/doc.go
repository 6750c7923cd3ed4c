// Package accesslog writes a line about each finished request to a file, and
// never makes the loop wait for it.
//
// A File has two sides. The loop formats a line into a batch that is its own;
// when that is full, or at a Tick, it passes through a channel to a goroutine,
// which writes it with one write(2) and gives it back. The invariant: there is a
// fixed number of batches and room for all of them in each channel, so neither
// side ever waits for room. Without a free batch the line is dropped and counted.
//
// A record is one line whatever the client sent: fields are bounded, and what
// could end a line or be taken for another field is escaped. Lines are whole even
// if several workers append to one file, or to one FIFO as far as PIPE_BUF goes.
//
// It runs in a worker. The worker formats on its loop, and brings descriptors
// that the supervisor has opened, at the start and again after the file has been
// rotated. This package opens nothing, and does not decide which requests are
// worth a line.
package accesslog
