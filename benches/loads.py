"""What is asked of those that are measured: by wrk, and by whoever resets a password."""

import json
import re
import statistics
import subprocess
import sys
from typing import NamedTuple

from subjects import write

SCRIPT = """
local nth = 0
local asked = { REQUESTS }
request = function()
    nth = nth + 1
    return asked[nth % #asked + 1](nth)
end
done = function(summary, latency)
    io.write(string.format("told %d %d %d %d %d %d %d\\n", summary.requests, summary.duration,
        summary.errors.status, summary.errors.read + summary.errors.write + summary.errors.connect + summary.errors.timeout,
        latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
"""


def lua(method, target, body=None):
    """What makes a request. The body is Lua, in which `nth` tells the requests apart."""
    headers = '{["Content-Type"] = "application/json"}' if body else "{}"
    return f'function(nth) return wrk.format("{method}", "{target}", {headers}, {body or "nil"}) end'


def wrong_code(token):
    """Another wrong code each time."""
    return json.dumps('{"token":"' + token + '","input":{"code":"wrong-') + ' .. nth .. \'"}}\''


def wrk(script, port, connections, seconds, tls=False, processors="1", threads=1):
    """Requests, microseconds, answers of 400 and beyond, the median, 99th and 99.9th percentile of one."""
    command = ["taskset", "-c", processors, "wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s", "-s", script,
               f"{'https' if tls else 'http'}://127.0.0.1:{port}/"]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    requests, took, refused, broken, *percentiles = map(int, re.search(r"told (.*)", out)[1].split())
    if broken or not requests:
        sys.exit(f"compare: requests went wrong: {out}")
    return requests, took, refused, *percentiles


def mixed(name, *requests):
    return write(name + ".lua", SCRIPT.replace("REQUESTS", ", ".join(requests)))


class Run(NamedTuple):
    rate: float  # a second
    used: float  # microseconds of processor time for one
    p50: float
    p99: float
    p999: float


class Load:
    """What several are asked in turn, and what came of it."""

    def __init__(self, name, subjects, than=None, each="request"):
        self.name, self.subjects, self.than, self.each = name, subjects, than, each
        self.runs = {}

    def run(self, subject, connections, seconds):
        before = subject.used()
        count, took, *percentiles = self.drive(subject, connections, seconds)
        told = Run(count / took * 1e6, (subject.used() - before) / count, *percentiles)
        self.runs.setdefault((subject.name, connections), []).append(told)
        return told

    def medians(self, name, connections):
        return Run(*map(statistics.median, zip(*self.runs[name, connections])))

    def spread(self, name, connections, field="rate"):
        """The least and the most."""
        values = [getattr(run, field) for run in self.runs[name, connections]]
        return min(values), max(values)

    def beside(self, name, than, connections, field="rate"):
        """The ratio of two, as the median of those of each round."""
        pairs = zip(self.runs[name, connections], self.runs[than, connections])
        return statistics.median(getattr(one, field) / getattr(other, field) for one, other in pairs)


class Requests(Load):
    """What wrk asks. Of those that are not resetgate the target may be another."""

    def __init__(self, name, subjects, target, method="GET", body=None, tls=False, status=200, **more):
        super().__init__(name, subjects, **more)
        self.tls, self.status = tls, status
        self.script = mixed(re.sub(r"\W+", "-", name), lua(method, target, body))

    def drive(self, subject, connections, seconds):
        count, took, refused, *percentiles = wrk(self.script, subject.tls if self.tls else subject.plain, connections,
                                                 seconds, self.tls)
        status = self.status if subject.name.startswith("resetgate") else 200
        if (refused if status < 400 else count - refused):
            sys.exit(f"compare: {subject.name} answered otherwise than with {status} at {self.name}")
        return count, took, *percentiles


class Flows(Load):
    """Whole resets: four requests, two look-ups, a mail and a PATCH."""

    def __init__(self, name, subjects, behind):
        super().__init__(name, subjects, each="reset")
        self.behind = behind

    def drive(self, subject, connections, seconds):
        return self.behind.order("flows", subject.plain, connections, seconds)
