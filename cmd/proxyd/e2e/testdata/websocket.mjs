// A WebSocket server on npm's ws, for websocket_test.go. It listens where its
// argument says and prints "listening" then. What it does on a connection
// depends on the path, as in websocket_server_test.go.
import { createServer } from "node:http";
import { createRequire } from "node:module";

const { WebSocketServer } = createRequire(process.cwd() + "/")("ws");
const closed = new Map(); // by the id of a connection: what it ended with

const behaviours = {
  "/echo": (ws) => ws.on("message", (data, binary) => ws.send(data, { binary })),
  "/greet": (ws) => {
    ws.send("first");
    behaviours["/echo"](ws);
  },
  "/ping": (ws) => {
    let pongs = 0;
    ws.on("pong", (data) => {
      if (String(data) !== "p" + pongs) return ws.terminate();
      if (++pongs === 3) return ws.send("pongs");
      ws.ping("p" + pongs);
    });
    ws.ping("p0");
  },
  "/close": (ws, query) => ws.close(Number(query.get("code")), query.get("reason")),
  "/half": (ws, query, socket) => {
    ws.on("message", (data) => closed.set(query.get("id"), "heard " + data));
    ws.send("last words", () => socket.end());
  },
};

const server = createServer((request, response) => {
  const { searchParams } = new URL(request.url, "http://test");
  response.end(closed.get(searchParams.get("id")) ?? "");
});
const wss = new WebSocketServer({ noServer: true, maxPayload: 64 << 20, perMessageDeflate: { threshold: 0 } });

server.on("upgrade", (request, socket, head) => {
  const { pathname, searchParams } = new URL(request.url, "http://test");
  socket.cork(); // the 101 and what is sent at once go out together
  wss.handleUpgrade(request, socket, head, (ws) => {
    ws.on("error", () => {}); // tells no more than the close that follows
    ws.on("close", (code, reason) => {
      const id = searchParams.get("id");
      if (!closed.has(id)) closed.set(id, `${code} ${reason}`);
    });
    behaviours[pathname](ws, searchParams, socket);
  });
  process.nextTick(() => socket.uncork());
});
const [host, port] = process.argv[2].split(":");
server.listen(Number(port), host, () => console.log("listening"));
process.stdin.on("end", () => process.exit()).resume(); // with the test
