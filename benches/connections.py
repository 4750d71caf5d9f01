"""Connections that ask twice and then stay: plain HTTP/1.1, HTTP/2, and both over TLS."""

import re
import socket
import ssl

KINDS = ["HTTP/1.1", "HTTP/2", "HTTP/1.1 over TLS", "HTTP/2 over TLS"]
TARGETS = ["/other", "/openidm/selfservice/reset"]
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


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


def connect(gate, kind):
    tls, ask = kind.endswith("TLS"), ask2 if kind.startswith("HTTP/2") else ask1
    port = gate.tls if tls else gate.h2c if ask is ask2 else gate.plain
    connection = socket.create_connection(("127.0.0.1", port))
    if tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"] if ask is ask2 else ["http/1.1"])
        connection = context.wrap_socket(connection)
    for nth, target in enumerate(TARGETS):
        ask(connection, nth, target)
    return connection
