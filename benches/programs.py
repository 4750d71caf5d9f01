"""The programs that are measured, and those that measure."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Where Debian has nginx and HAProxy.
os.environ["PATH"] += ":/usr/sbin"


def build(kind, name, profile="release"):
    """Builds a program of this package, and says where it is."""
    command = ["cargo", "build", "--locked", "--profile", profile, kind, name, "--message-format=json"]
    built = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    messages = [json.loads(line) for line in built.splitlines()]
    return [found["executable"] for found in messages if found.get("executable") and found["target"]["name"] == name][-1]


def gate(profile="release"):
    """resetgate; GATE names one that is built already."""
    return os.environ.get("GATE") or build("--bin", "resetgate", profile)


def peer(profile="release"):
    """What it is compared with; PEER names one that is built already."""
    return os.environ.get("PEER") or build("--bench", "peer", profile)


def steps():
    """What measures steps within one process; STEPS names one that is built already."""
    return os.environ.get("STEPS") or build("--bench", "steps")


def need(packages, install=False):
    """Ends the run unless all tools are there, of which is said what package of Debian's brings them."""
    missing = sorted({package for tool, package in packages.items() if not shutil.which(tool)})
    command = f"apt-get update && apt-get install --yes --no-install-recommends {' '.join(missing)}"
    if missing and install:
        subprocess.run(["sh", "-c", command] if os.getuid() == 0 else ["sudo", "sh", "-c", command], check=True)
    elif missing:
        sys.exit(f"{os.path.basename(sys.argv[0])}: {', '.join(missing)} missing; as root: {command}")


def first_line(*command):
    out = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    return out.splitlines()[0].strip() if out else ""


def machine():
    with open("/proc/cpuinfo") as cpus:
        model = re.search(r"model name\s*:\s*(.*)", cpus.read())
    return f"{os.cpu_count()} processors, {model[1] if model else platform.machine()}, Linux {platform.release()}"


def revision():
    return first_line("git", "-C", ROOT, "describe", "--always", "--dirty")


def version_of(crate):
    with open(os.path.join(ROOT, "Cargo.lock")) as lock:
        return re.search(rf'name = "{crate}"\nversion = "(.*)"', lock.read())[1]
