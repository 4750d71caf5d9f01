"""For idle_connections.sh: an upstream, or clients that ask twice and then stay.

idle_connections.py upstream
idle_connections.py KIND ADDRESSES PROCESS COUNT MOST_KB READY_MS"""

import re
import socket
import ssl
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TARGETS = ["/other", "/openidm/selfservice/reset"]
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


class Upstream(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "8")
        self.end_headers()
        self.wfile.write(b"upstream")

    def log_message(self, *_):
        pass


def upstream():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def read(connection, length):
    data = b""
    while len(data) < length:
        some = connection.recv(length - len(data))
        assert some, "the gate hung up"
        data += some
    return data


def ask1(connection, _, target):
    connection.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    data = b""
    while b"\r\n\r\n" not in data:
        some = connection.recv(65536)
        assert some, "the gate hung up"
        data += some
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    read(connection, int(re.search(rb"(?i)content-length: (\d+)", head)[1]) - len(body))


def field(name, value):
    return bytes([0, len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def ask2(connection, nth, target):
    stream = 2 * nth + 1
    fields = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", target)]
    block = b"".join(field(*pair) for pair in fields)
    frame = len(block).to_bytes(3, "big") + bytes([1, 5]) + stream.to_bytes(4, "big") + block
    connection.sendall((PREFACE if nth == 0 else b"") + frame)
    while True:
        head = read(connection, 9)
        read(connection, int.from_bytes(head[:3], "big"))
        if head[3] == 4 and not head[4] & 1:
            connection.sendall(bytes([0, 0, 0, 4, 1, 0, 0, 0, 0]))
        if head[3] in (0, 1) and head[4] & 1 and int.from_bytes(head[5:], "big") == stream:
            return


def resident(process):
    with open(f"/proc/{process}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1])


def main():
    kind, addresses, process, count, most, ready = sys.argv[1:]
    plain, h2c, tls = [int(address.rsplit(":", 1)[1]) for address in addresses.split(", ")]
    port = tls if kind.startswith("tls-") else h2c if kind == "http2" else plain
    ask = ask2 if kind.endswith("http2") else ask1
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"] if ask is ask2 else ["http/1.1"])

    def connect():
        connection = socket.create_connection(("127.0.0.1", port))
        if kind.startswith("tls-"):
            connection = context.wrap_socket(connection)
        for nth, target in enumerate(TARGETS):
            ask(connection, nth, target)
        return connection

    rest = resident(process)
    # What is needed once is not a connection's.
    kept = [connect() for _ in range(50)]
    before = resident(process)
    kept += [connect() for _ in range(int(count))]
    time.sleep(2)
    each = (resident(process) - before) / int(count)
    print(f"{kind:10} {each:6.1f} KB each   at rest {rest / 1024:.1f} MB   ready in {ready} ms", flush=True)
    sys.exit(each > float(most))


upstream() if sys.argv[1] == "upstream" else main()
