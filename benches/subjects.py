"""What is measured, each a process of its own: resetgate, bare Pingora, nginx and HAProxy, and what stands behind them."""

import atexit
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

from programs import ROOT

RESET = "/openidm/selfservice/reset"
STEP = RESET + "?_action=submitRequirements"
TICK = 1_000_000 / os.sysconf("SC_CLK_TCK")

# No limit refuses anything, and each counts as usual.
UNREACHED = "".join(f'{name} = "1000000/1s"\n' for name in (
    "client", "start_per_client", "start_total", "mail_per_account", "mail_total"))
# Equal requests are answered from memory for as short as may be, and everybody gets a mail whenever he asks.
BRIEF = 'repeat_window = "1s"\nmail_gap = "0s"\n'
# nginx, HAProxy and bare Pingora write no line for a request, have no audit trail and send nobody a notice.
QUIET = '[log]\naccess = "off"\n[audit]\nto = "off"\n[after.notice]\nmail = "off"\n'

# A connection is a file, here and in what is started from here.
files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

children = []
folder = tempfile.mkdtemp()
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def end(child):
    children.remove(child)
    # Pingora's own server would take five minutes to end on anything less.
    child.send_signal(signal.SIGKILL)
    child.wait()


def end_all_but(kept):
    for child in [child for child in children if child is not kept]:
        end(child)


@atexit.register
def end_all():
    end_all_but(None)
    shutil.rmtree(folder, ignore_errors=True)


def path(name):
    return os.path.join(folder, name)


def write(name, text):
    with open(path(name), "w") as file:
        file.write(text)
    return path(name)


def certificate():
    """A certificate for listeners, and its key."""
    chain, key = path("chain.pem"), path("key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
                    "2", "-subj", "/CN=localhost", "-keyout", key, "-out", chain], check=True, capture_output=True)
    return chain, key


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def start(processors, command, env=None, **pipes):
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **pipes}
    child = subprocess.Popen(["taskset", "-c", processors, *command], env={**os.environ, **(env or {})}, text=True, **quiet)
    children.append(child)
    return child


def await_port(port):
    for _ in range(500):
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.02)
    sys.exit("compare: nobody listens on a port that somebody should")


def used(child):
    """A process's processor time so far, in microseconds, to the hundredth of a second."""
    with open(f"/proc/{child.pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK


class Subject:
    """Something that is measured: its process, and its ports for plain HTTP and for TLS."""

    def __init__(self, name, child, plain, tls=None):
        self.name, self.child, self.plain, self.tls = name, child, plain, tls
        await_port(plain)

    def resident(self):
        """Resident memory, in bytes."""
        with open(f"/proc/{self.child.pid}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1]) * 1024

    def files(self):
        return len(os.listdir(f"/proc/{self.child.pid}/fd"))

    def used(self):
        """Processor time so far, in microseconds, to the hundredth of a second."""
        return used(self.child)

    def end(self):
        end(self.child)


class Behind:
    """Upstream, identity store and mail sink, and those who reset their passwords by them."""

    def __init__(self, program, processors):
        self.child = start(processors, [program, "upstream"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None)
        self.port, self.mail = map(int, self.child.stdout.readline().split())

    def order(self, what, port, clients, much):
        """How often it was done, in how many microseconds, and the median, 99th and 99.9th percentile of one."""
        self.child.stdin.write(f"{what} {port} {clients} {much}\n")
        self.child.stdin.flush()
        told = self.child.stdout.readline().split()
        if not told:
            sys.exit(f"compare: {what} went wrong")
        return tuple(map(int, told))


def rest():
    """Waits until nobody has anything left to do, half a minute at most: notices of one load would be sent at the next one's cost."""
    def all_used():
        return sum(map(used, children))

    for _ in range(300):
        before = all_used()
        time.sleep(0.1)
        if all_used() - before <= TICK:
            return


def nginx(upstream, chain, key):
    plain, tls = free_port(), free_port()
    file = write("nginx.conf", f"""
daemon off; master_process off; worker_processes 1; error_log stderr crit; pid {path("nginx.pid")};
events {{ worker_connections 4096; }}
http {{
    access_log off; client_body_temp_path {path("nginx-body")}; proxy_temp_path {path("nginx-proxy")};
    fastcgi_temp_path {path("nginx-f")}; uwsgi_temp_path {path("nginx-u")}; scgi_temp_path {path("nginx-s")};
    keepalive_requests 1000000000; keepalive_timeout 60s; client_max_body_size 0; client_body_buffer_size 64k;
    upstream idm {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{plain}; listen 127.0.0.1:{tls} ssl; ssl_certificate {chain}; ssl_certificate_key {key};
        location / {{
            proxy_pass http://idm; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_set_header X-Forwarded-For $remote_addr;
        }}
    }}
}}""")
    return Subject("nginx", start("0", ["nginx", "-c", file, "-p", folder]), plain, tls)


def haproxy(upstream, chain, key):
    plain, tls = free_port(), free_port()
    with open(chain) as one, open(key) as other:
        both = write("both.pem", one.read() + other.read())
    file = write("haproxy.cfg", f"""
global
    nbthread 1
    maxconn 4096
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    option forwardfor
    http-reuse always
frontend clients
    bind 127.0.0.1:{plain}
    bind 127.0.0.1:{tls} ssl crt {both}
    default_backend idm
backend idm
    server idm 127.0.0.1:{upstream} pool-max-conn 256
""")
    return Subject("HAProxy", start("0", ["haproxy", "-f", file, "-db"]), plain, tls)


def bare(program, *arguments):
    child = start("0", [program, *arguments], stdout=subprocess.PIPE)
    return Subject("bare Pingora", child, *map(int, child.stdout.readline().split()))


def configure(own, upstream, mail=9, listen="", limits=UNREACHED, reset=BRIEF, token_expiry=300, more=""):
    """A folder with the gate's configuration: the file."""
    os.makedirs(own)
    with open(os.path.join(ROOT, "conf/selfservice-reset.json")) as given:
        process = json.load(given)
    process["snapshotToken"]["tokenExpiry"] = token_expiry
    with open(os.path.join(own, "selfservice-reset.json"), "w") as copy:
        json.dump(process, copy)
    file = os.path.join(own, "resetgate.toml")
    with open(file, "w") as toml:
        toml.write(f"""
[listen]
{listen or 'addresses = ["127.0.0.1:0"]'}
[admin]
address = "127.0.0.1:0"
[upstream]
url = "http://127.0.0.1:{upstream}"
[edge]
watch_upstream = "0s"
[identity]
kind = "crest"
url = "http://127.0.0.1:{upstream}/openidm"
auth = {{ kind = "openidm", username = "resetgate", password = "env:BENCH_PASSWORD" }}
[reset]
process = "selfservice-reset.json"
answer_floor = "1ms"
{reset}
[token]
ephemeral = true
[mail]
transport = "smtp://127.0.0.1:{mail}"
from = "info@example.com"
[limits]
{limits}
{more}
""")
    return file


PASSWORD = {"BENCH_PASSWORD": "x"}


class Gate(Subject):
    """resetgate, with listeners for plain HTTP, HTTP/2 and TLS. Its log goes to a file, which nobody reads."""

    count = 0

    def __init__(self, name, program, behind, processors="0", listen="", more=QUIET, **configuration):
        Gate.count += 1
        own = path(f"gate-{Gate.count}")
        listen = f"""
addresses = ["127.0.0.1:0", "h2c:127.0.0.1:0", "tls:127.0.0.1:0"]
max_requests = 1_000_000_000
{listen}
[listen.tls]
certificate = "{path("chain.pem")}"
key = "file:{path("key.pem")}" """
        file = configure(own, behind.port, behind.mail, listen, more=more, **configuration)
        self.log = open(os.path.join(own, "log"), "a+")
        begun = time.monotonic()
        child = start(processors, [program, "run", "--config", file], PASSWORD, stderr=self.log)
        while not (found := self.said(r'"addresses":"[^"]*?:(\d+), h2c:[^"]*?:(\d+), tls:[^"]*?:(\d+)"')):
            if child.poll() is not None or time.monotonic() > begun + 20:
                sys.exit(f"compare: resetgate did not start: {self.said('(?s).*')[0]}")
            time.sleep(0.001)
        # In milliseconds, from the command to the line that it serves.
        self.began_in = (time.monotonic() - begun) * 1000
        self.h2c, self.admin = int(found[2]), self.said(r'"admin":"([^"]*)"')[1]
        super().__init__(name, child, int(found[1]), int(found[3]))

    def said(self, pattern):
        self.log.seek(0)
        return re.search(pattern, self.log.read())

    def forget_log(self):
        self.log.truncate(0)

    def metric(self, name):
        with opener.open(f"http://{self.admin}/metrics") as answer:
            return float(re.search(rf"(?m)^{name} (\S+)", answer.read().decode())[1])

    def get(self):
        with opener.open(f"http://127.0.0.1:{self.plain}{RESET}") as answer:
            return answer.read()

    def post(self, body):
        request = urllib.request.Request(f"http://127.0.0.1:{self.plain}{STEP}", json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        with opener.open(request) as answer:
            return json.load(answer)

    def asked(self, name):
        """The token of somebody who has asked for a mail."""
        token = self.post({"input": {}})["token"]
        return self.post({"token": token, "input": {"queryFilter": f'userName eq "{name}"'}})["token"]
