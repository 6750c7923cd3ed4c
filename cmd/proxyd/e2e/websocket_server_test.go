package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
	"golang.org/x/sys/unix"
)

// A socketServer is a WebSocket server, at an address. By path, it does this on
// a connection:
//
//	/echo   sends back each message
//	/greet  sends "first" together with its 101, then is /echo
//	/ping   sends three pings, each when the one before is answered, then "pongs"
//	/close  closes, as the query's code and reason say
//	/half   sends "last words", ends its side of the connection, and hears on
//
// A plain request answers with what the connection of the query's id has ended
// with: code and reason, or what /half has heard; nothing before.
type socketServer struct {
	name  string
	start func(*testing.T) (address string)
}

// socketServers are independent of each other and of proxyd.
var socketServers = []socketServer{
	{"coder/websocket", startCoder},
	{"npm ws", startNode},
}

// A coder is a socketServer on github.com/coder/websocket.
type coder struct {
	mu     sync.Mutex
	closed map[string]string
}

// connKey is where a request's context holds its connection.
type connKey struct{}

func startCoder(t *testing.T) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(loopback(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	c := &coder{closed: make(map[string]string)}
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			all.Add(1)
			defer all.Done()
			c.serve(ctx, w, r)
		}),
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, conn)
		},
	}
	all.Go(func() { _ = server.Serve(l) }) // ends by Close
	t.Cleanup(func() {
		stop()
		server.Close()
		all.Wait()
	})
	return l.Addr().String()
}

func (s *coder) serve(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	id := r.URL.Query().Get("id")
	if r.Header.Get("Upgrade") == "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		fmt.Fprint(w, s.closed[id])
		return
	}
	conn := r.Context().Value(connKey{}).(*net.TCPConn)
	cork(conn, 1)
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionContextTakeover})
	if err != nil {
		return // it has been answered
	}
	defer c.CloseNow()
	c.SetReadLimit(64 << 20)
	if r.URL.Path != "/greet" {
		cork(conn, 0)
	}
	s.note(id, s.behave(ctx, c, conn, r))
}

// note keeps what connection id has ended with, unless more is known already.
func (s *coder) note(id string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed[id] != "" {
		return
	}
	const abnormal = 1006 // what RFC 6455 section 7.1.5 calls no close frame
	end := websocket.CloseError{Code: abnormal}
	errors.As(err, &end)
	s.closed[id] = fmt.Sprintf("%d %s", end.Code, end.Reason)
}

func (s *coder) behave(ctx context.Context, c *websocket.Conn, conn *net.TCPConn, r *http.Request) error {
	query := r.URL.Query()
	switch r.URL.Path {
	case "/greet":
		if err := c.Write(ctx, websocket.MessageText, []byte("first")); err != nil {
			return err
		}
		cork(conn, 0)
	case "/ping":
		ctx := c.CloseRead(ctx)
		for range 3 {
			if err := c.Ping(ctx); err != nil {
				return err
			}
		}
		if err := c.Write(ctx, websocket.MessageText, []byte("pongs")); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	case "/close":
		code, _ := strconv.Atoi(query.Get("code"))
		return c.Close(websocket.StatusCode(code), query.Get("reason"))
	case "/half":
		if err := c.Write(ctx, websocket.MessageText, []byte("last words")); err != nil {
			return err
		}
		_ = conn.CloseWrite() // what it fails to end, the client misses
		_, message, err := c.Read(ctx)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.closed[query.Get("id")] = fmt.Sprintf("heard %s", message)
		return err
	}
	for {
		kind, message, err := c.Read(ctx)
		if err != nil {
			return err
		}
		if err := c.Write(ctx, kind, message); err != nil {
			return err
		}
	}
}

// cork makes the kernel hold what is sent on c, or let it go.
func cork(c *net.TCPConn, on int) {
	if raw, err := c.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_CORK, on) })
	}
}

// startNode starts testdata/websocket.mjs, for which npm's ws must have been
// installed beforehand in the folder that the message names.
func startNode(t *testing.T) (address string) {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("there is no node: install Node.js to test against npm's ws")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skip(err)
	}
	dir := filepath.Join(cache, "proxyd-e2e")
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "ws")); err != nil {
		t.Skipf("npm's ws is not installed: npm install --prefix %s ws@8", dir)
	}
	script, err := filepath.Abs(filepath.Join("testdata", "websocket.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	address = freeAddress(t)
	c := exec.Command(node, script, address)
	c.Dir = dir // modules are looked for from here
	c.Stderr = os.Stderr
	stdin, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = c.Wait() // it may have been cut off
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); strings.TrimSpace(line) != "listening" {
		t.Fatalf("node: got %q, %v; want listening", line, err)
	}
	return address
}
