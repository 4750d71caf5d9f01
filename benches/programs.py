"""The programs that are measured."""

import json
import os
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def build(kind, name):
    """Builds a program of this package as releases are, and says where it is."""
    command = ["cargo", "build", "--locked", "--release", kind, name, "--message-format=json"]
    built = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    messages = [json.loads(line) for line in built.splitlines()]
    return [found["executable"] for found in messages if found.get("executable") and found["target"]["name"] == name][-1]


def gate_and_peer():
    """resetgate, and what it is compared with; GATE and PEER name those that are built already."""
    return os.environ.get("GATE") or build("--bin", "resetgate"), os.environ.get("PEER") or build("--bench", "peer")
