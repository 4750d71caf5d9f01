"""What the gate takes: to start, at rest, and for each connection, live code and client that it remembers."""

import re
import statistics
import subprocess
import sys
import time
from typing import NamedTuple

import programs
from connections import KINDS, connect
from loads import Run
from subjects import BRIEF, QUIET, Gate


class Size(NamedTuple):
    what: str
    value: float
    unit: str
    most: float | None = None  # the target

    def verdict(self):
        return "" if self.most is None else "met" if self.value <= self.most else "MISSED"


def reset_in_process():
    """Its whole work in the engine: limits, codes and keys are real, the store and the outbox are lists in its process."""
    told = subprocess.run(["taskset", "-c", "0", programs.steps(), "--bench", "whole reset"], check=True, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    found = re.search(r"time:\s+\[\S+ \S+ (\S+) (\S+)", told)
    if not found:
        sys.exit(f"compare: steps told no time: {told}")
    micros = float(found[1]) * {"ns": 0.001, "µs": 1, "ms": 1000}[found[2]]
    yield Size("whole reset, store and outbox in its process", micros, "µs", 150)


def starts(program, behind, count):
    began, rest = [], []
    for _ in range(count):
        gate = Gate("resetgate", program, behind)
        began.append(gate.began_in)
        gate.get()
        rest.append(gate.resident() / 1e6)
        gate.end()
    yield Size(f"start, until it serves (median of {count})", statistics.median(began), "ms", 200)
    yield Size("memory at rest", statistics.median(rest), "MB", 30)


def idle_connections(program, behind, count):
    listen = f'max_connections_per_client = {count + 100}\nidle_timeout = "1h"'
    for kind in KINDS:
        gate = Gate("resetgate", program, behind, listen=listen)
        # What is needed once is not a connection's.
        kept = [connect(gate, kind) for _ in range(50)]
        before = gate.resident()
        kept += [connect(gate, kind) for _ in range(count)]
        time.sleep(2)
        yield Size(f"memory of an idle connection, {kind}", (gate.resident() - before) / count / 1000, "KB",
                   64 if "/2" in kind else 20)
        for connection in kept:
            connection.close()
        gate.end()


def live_codes(program, behind, most, seconds, found):
    """Fills the gate with codes that were mailed, tenfold each time. What wrong codes then cost is put into `found`."""
    gate = Gate("resetgate", program, behind, reset=BRIEF + 'link_lifetime = "24h"\n',
                more=QUIET + "[codes]\ncapacity = 10_000_000\n")
    # What is needed once is not a code's.
    behind.order("flows", gate.plain, 32, 1)
    time.sleep(5)
    before, there, goal = gate.resident(), 0, 1000
    while goal <= most:
        there += behind.order("open", gate.plain, 32, goal - there)[0]
        # Until nothing is kept for repeats any more, and what they had has been free for a second and was given back.
        time.sleep(5)
        yield Size(f"memory of a live code, of {there:,}", (gate.resident() - before) / there, "bytes", 450 if goal * 10 > most else None)
        used = gate.used()
        count, took, *percentiles = behind.order("wrong", gate.plain, 32, seconds)
        found[goal] = Run(count / took * 1e6, (gate.used() - used) / count, *percentiles)
        goal *= 10
    gate.end()


def limiter_keys(program, behind, count):
    gate = Gate("resetgate", program, behind, listen='trusted_proxies = ["127.0.0.1"]', limits='client = "10/1h"')
    # What is needed once is not a key's.
    behind.order("strangers", gate.plain, 32, 1000)
    before, known = gate.resident(), gate.metric("resetgate_limiter_keys")
    behind.order("strangers", gate.plain, 32, count)
    time.sleep(2)
    keys = gate.metric("resetgate_limiter_keys") - known
    yield Size(f"memory of a limit's key, of {keys:,.0f}", (gate.resident() - before) / keys, "bytes", 120)
    gate.end()
