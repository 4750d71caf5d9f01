"""What stands behind a program under valgrind, which has time: upstream, identity store and mail sink in one, and a client."""

import queue
import re
import socket
import threading

ACCOUNT = (b'{"_id":"%(name)s","_rev":"1","userName":"%(name)s","mail":"%(name)s@example.com","accountStatus":"active"}')


class Connection:
    def __init__(self, stream):
        self.stream, self.data = stream, b""
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def more(self):
        some = self.stream.recv(65536)
        if not some:
            raise ConnectionResetError("hung up")
        self.data += some

    def until(self, end):
        while end not in self.data:
            self.more()
        found, _, self.data = self.data.partition(end)
        return found

    def message(self):
        """A request or an answer: its head, and its body."""
        head = self.until(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        length = int(length[1]) if length else 0
        while len(self.data) < length:
            self.more()
        body, self.data = self.data[:length], self.data[length:]
        return head, body


class Listener:
    """Hands each connection to a thread."""

    def __init__(self, converse):
        self.listener, self.converse = socket.create_server(("127.0.0.1", 0)), converse
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            connection = Connection(self.listener.accept()[0])
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        try:
            self.converse(connection)
        except ConnectionResetError:
            pass


def upstream(connection):
    """Answers with a short JSON; where accounts are looked for, whoever is called user-… is there."""
    while True:
        head, _ = connection.message()
        target = head.split(b" ")[1]
        name = re.search(rb"user-\d+", target)
        account = ACCOUNT % {b"name": name[0]} if name else b""
        body = b'{"result":[%s]}' % account if b"_queryFilter" in target else account or b'{"_id":"ping","shortDesc":"it is ready"}'
        answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
        connection.stream.sendall(answer % (len(body), body))


class Sink(Listener):
    """Takes mails, and keeps the codes in them."""

    def __init__(self):
        self.codes = queue.Queue()
        super().__init__(self.take)

    def take(self, connection):
        connection.stream.sendall(b"220 sink\r\n")
        while True:
            line = connection.until(b"\r\n")
            if line == b"DATA":
                connection.stream.sendall(b"354 go on\r\n")
                mail = connection.until(b"\r\n.\r\n").replace(b"=\r\n", b"").replace(b"=3D", b"=")
                self.codes.put(re.search(rb"code=([\w-]+)", mail)[1].decode())
            connection.stream.sendall(b"221 bye\r\n" if line == b"QUIT" else b"250 well\r\n")


class Client:
    def __init__(self, port, source="127.0.0.1"):
        self.connection = Connection(socket.create_connection(("127.0.0.1", port), source_address=(source, 0)))

    def ask(self, method, target, body=None):
        request = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n"
        if body is not None:
            request += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self.connection.stream.sendall(request.encode() + b"\r\n" + (body or b""))
        head, answer = self.connection.message()
        return int(head.split()[1]), answer
