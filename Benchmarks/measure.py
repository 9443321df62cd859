"""Times commands side by side: in turn, over several rounds, so that a machine whose speed drifts favours nobody."""

import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

failures = []


def machine():
    model = "unknown processor"
    extensions = set()
    with open("/proc/cpuinfo") as info:
        for line in info:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
            if line.startswith("flags"):
                extensions = set(line.split())
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    sha = "with" if "sha_ni" in extensions else "without"
    return f"{model} ({sha} SHA extensions), {os.cpu_count()} processors, Linux {platform.release()}, commit {commit}"


def has_sha_extensions():
    with open("/proc/cpuinfo") as info:
        return any(line.startswith("flags") and "sha_ni" in line.split() for line in info)


def once(command, stdin=None, env=None, quiet=False):
    """Seconds on the clock, and seconds of processor time, of one run."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    source = open(stdin, "rb") if stdin else subprocess.DEVNULL
    code = subprocess.run(command, stdin=source, stdout=subprocess.DEVNULL, env=env,
                          stderr=subprocess.DEVNULL if quiet else None).returncode
    seconds = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if code != 0:
        sys.exit(f"benchmark: {' '.join(command)} ended with {code}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compare(contenders, rounds=5, warm=1):
    """`{name: run}` in turn; answers the median seconds of each, and prints them with their least and most."""
    times = {name: [] for name in contenders}
    for number in range(warm + rounds):
        for name, run in contenders.items():
            seconds = run()
            if number >= warm:
                times[name].append(seconds)
    medians = {}
    for name, values in times.items():
        medians[name] = statistics.median(values)
        print(f"  {name:42} {medians[name]:9.4f} s   ({min(values):.4f} to {max(values):.4f})")
    return medians


def bar(what, value, limit, at_most=True, unit="×"):
    """Prints a figure with its bar, and remembers when it is missed."""
    met = value <= limit if at_most else value >= limit
    word = "at most" if at_most else "at least"
    print(f"  {'ok  ' if met else 'MISS'} {what}: {value:.3g} {unit} (bar: {word} {limit:.3g})")
    if not met:
        failures.append(what)


def begin(title):
    print(f"{title}\n  {machine()}")


def end():
    sys.exit(1 if failures else 0)


class Scratch:
    """A directory in memory-backed storage where there is one, gone at the end."""

    def __enter__(self):
        shared = "/dev/shm"
        place = shared if os.path.isdir(shared) and shutil.disk_usage(shared).free > 6 << 30 else None
        self.path = tempfile.mkdtemp(prefix="colophon-bench-", dir=place)
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.path)
