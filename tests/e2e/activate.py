"""Opens sockets as systemd does for a service, and becomes it: activate.py NAME=ADDRESS... -- PROGRAM ARGUMENT...

An address is a port of 127.0.0.1, or the path of a Unix socket. What is listened on is printed, one line each."""

import os
import socket
import sys

FIRST = 3


def opened(address):
    if "/" in address:
        made = socket.socket(socket.AF_UNIX)
        made.bind(address)
    else:
        made = socket.socket()
        made.bind(("127.0.0.1", int(address)))
    made.listen()
    return made


split = sys.argv.index("--")
wanted = [argument.split("=", 1) for argument in sys.argv[1:split]]
sockets = [opened(address) for _, address in wanted]
for at, made in enumerate(sockets):
    print(made.getsockname() if made.family == socket.AF_UNIX else made.getsockname()[1], flush=True)
# First out of the way of the numbers that they are to have.
high = [os.dup2(made.fileno(), 100 + at, inheritable=False) for at, made in enumerate(sockets)]
for at, fd in enumerate(high):
    os.dup2(fd, FIRST + at)
environment = dict(
    os.environ,
    LISTEN_PID=str(os.getpid()),
    LISTEN_FDS=str(len(high)),
    LISTEN_FDNAMES=":".join(name for name, _ in wanted),
)
os.execve(sys.argv[split + 1], sys.argv[split + 1 :], environment)
