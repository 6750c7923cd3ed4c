package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/proxyd/proxyd/internal/handoff"
)

// Handlers is what the supervisor does for the API. Each is called by many
// goroutines and returns when its ctx is done at the latest.
type Handlers struct {
	Reload  func(ctx context.Context) (Result, error) // waits for the outcome
	Roll    func(ctx context.Context) (Result, error) // waits for the outcome
	Upgrade func(ctx context.Context) (Result, error) // waits for the outcome
	Reopen  func(ctx context.Context) error           // opens the log files anew
	Stop    func(ctx context.Context) error           // begins to stop
	Status  func(ctx context.Context) (Status, error)

	// Ask has a worker answer, in JSON. An error that is a *handoff.Refusal is the
	// question's fault.
	Ask func(ctx context.Context, q handoff.Question) (json.RawMessage, error)
}

// A Server serves the API.
type Server struct {
	http http.Server
	done chan struct{} // closed when the accepting goroutine has ended
}

// Serve starts to serve on l, a listening unix socket that it owns from now on,
// until Close.
func Serve(l net.Listener, h Handlers, log *slog.Logger) *Server {
	s := &Server{done: make(chan struct{})}
	s.http = http.Server{
		Handler:           routes(h),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      5 * time.Minute, // longer than any reload
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		Protocols:         new(http.Protocols),
		ConnContext: func(ctx context.Context, nc net.Conn) context.Context {
			return context.WithValue(ctx, allowedKey{}, allowed(nc))
		},
	}
	s.http.Protocols.SetHTTP1(true)
	go func() {
		defer close(s.done)
		_ = s.http.Serve(l) // always ErrServerClosed: l fails in no other way
	}()
	return s
}

// Close stops serving. It lets requests in progress, such as the one that
// stopped the supervisor, take a second to be answered.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = s.http.Close()
	}
	<-s.done
	if err != nil {
		return fmt.Errorf("close admin socket: %w", err)
	}
	return nil
}

type allowedKey struct{}

// allowed says whether the user at the other end may use the API.
func allowed(nc net.Conn) bool {
	uc, ok := nc.(*net.UnixConn)
	if !ok {
		return false
	}
	cred, err := peer(uc)
	return err == nil && (cred.Uid == 0 || int(cred.Uid) == os.Geteuid())
}

func routes(h Handlers) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/reload", func(w http.ResponseWriter, r *http.Request) {
		res, err := h.Reload(r.Context())
		answer(w, http.StatusOK, res, err)
	})
	mux.HandleFunc("POST /v1/roll", func(w http.ResponseWriter, r *http.Request) {
		res, err := h.Roll(r.Context())
		answer(w, http.StatusOK, res, err)
	})
	mux.HandleFunc("POST /v1/upgrade", func(w http.ResponseWriter, r *http.Request) {
		res, err := h.Upgrade(r.Context())
		answer(w, http.StatusOK, res, err)
	})
	mux.HandleFunc("POST /v1/reopen", func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusOK, struct{}{}, h.Reopen(r.Context()))
	})
	mux.HandleFunc("POST /v1/stop", func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusAccepted, struct{}{}, h.Stop(r.Context()))
	})
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) {
		st, err := h.Status(r.Context())
		answer(w, http.StatusOK, st, err)
	})
	routeQuestions(mux, h.Ask)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ok, _ := r.Context().Value(allowedKey{}).(bool); !ok {
			http.Error(w, "only root and the user proxyd runs as may do this", http.StatusForbidden)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
		mux.ServeHTTP(w, r)
	})
}

func answer(w http.ResponseWriter, status int, v any, err error) {
	if err != nil {
		status = http.StatusServiceUnavailable
		if errors.Is(err, context.Canceled) {
			return // nobody is there to read it
		}
		http.Error(w, err.Error(), status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(v) // a client that went away is its own business
}
