package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/proxyd/proxyd/lb/reason"
)

// GRPC calls the standard health service, grpc.health.v1.Health/Check, over
// HTTP/2: with TLS if there is a TLS config, else with prior knowledge. Its fields
// must not change while it is in use; Probe may be called from many goroutines.
type GRPC struct {
	Service string      // the service to ask about; "": the server as a whole
	Host    string      // the authority; "": the server's address
	TLS     *tls.Config // nil: none. Of ServerName "", Host is the name
}

const maxAnswer = 4 << 10 // bytes: that of a server is 7

// Probe asks the server at address once. Only SERVING is well.
func (p *GRPC) Probe(ctx context.Context, address string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	o, err := open(ctx, address, p.Host, p.TLS, "h2")
	if err != nil {
		return err
	}
	defer o.close()
	resp, err := o.ask(p.request(ctx))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return reason.HTTP(resp.StatusCode)
	}
	if kind := resp.Header.Get("Content-Type"); !strings.HasPrefix(kind, "application/grpc") {
		return fmt.Errorf("%w: content-type %q", reason.BadResponse, clip(kind))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return answerError(ctx, err)
	}
	if len(body) > maxAnswer {
		return fmt.Errorf("%w: over %d bytes", reason.BadResponse, maxAnswer)
	}
	end := resp.Trailer
	if resp.Header.Get("Grpc-Status") != "" {
		end = resp.Header // an answer without a message has its end in its head
	}
	if err := callError(end); err != nil {
		return err
	}
	status, err := parseAnswer(body)
	if err != nil {
		return fmt.Errorf("%w: %w", reason.BadResponse, err)
	}
	if status != serving {
		return reason.GRPCHealth(status)
	}
	return nil
}

func (p *GRPC) request(ctx context.Context) *http.Request {
	message := appendQuestion(nil, p.Service)
	header := http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}}
	if deadline, ok := ctx.Deadline(); ok {
		// The server need not work for longer than anybody listens. Eight digits
		// at most, says gRPC.
		left := min(max(time.Until(deadline).Milliseconds(), 1), 99_999_999)
		header.Set("Grpc-Timeout", strconv.FormatInt(left, 10)+"m")
	}
	return &http.Request{
		Method:        http.MethodPost,
		URL:           &url.URL{Path: "/grpc.health.v1.Health/Check"},
		Header:        header,
		Body:          io.NopCloser(bytes.NewReader(message)),
		ContentLength: int64(len(message)),
	}
}

// callError reports how the call ended, by the trailers of its response.
func callError(end http.Header) error {
	text := end.Get("Grpc-Status")
	status, err := strconv.ParseUint(text, 10, 16)
	switch {
	case text == "":
		return fmt.Errorf("%w: no grpc-status", reason.BadResponse)
	case err != nil:
		return fmt.Errorf("%w: grpc-status %q", reason.BadResponse, clip(text))
	case status == 0:
		return nil
	}
	message := end.Get("Grpc-Message")
	if message == "" {
		return reason.GRPC(int(status))
	}
	if plain, err := url.PathUnescape(message); err == nil {
		message = plain
	}
	return fmt.Errorf("%w: %q", reason.GRPC(int(status)), clip(message))
}
