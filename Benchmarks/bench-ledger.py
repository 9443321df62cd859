"""The ledger at a million manifests: look-ups beside a C loop, a whole process beside sqlite3, and searches.

The ledger is made once, below build/bench, and takes some minutes and about 1.7 GB; remove it when the schema changes.
"""

import os
import statistics
import subprocess
import sys

import measure

colophon = os.path.abspath(sys.argv[1])
count = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
build = os.path.join(root, "build", "bench")
bench = os.path.join(root, ".build", "release", "ledger-bench")


def ledger(size):
    directory = os.path.join(build, f"ledger-{size}")
    done = os.path.join(directory, "done")
    if not os.path.exists(done):
        subprocess.run(["rm", "-rf", directory], check=True)
        subprocess.run([bench, "fill", directory, str(size)], check=True)
        open(done, "w").close()
    return directory


def search(directory):
    lines = subprocess.run([bench, "search", directory], capture_output=True, text=True, check=True).stdout.splitlines()
    times = sorted((float(line.split()[0]), line) for line in lines)
    return times[int(len(times) * 0.95)][0], times[-1]


os.makedirs(build, exist_ok=True)
small, large = ledger(10_000), ledger(count)
database = os.path.join(large, "ledger.sqlite")
prefixes = os.path.join(build, "prefixes")
with open(prefixes, "w") as file:
    subprocess.run([bench, "prefixes", large, "100000"], stdout=file, check=True)
loop = os.path.join(build, "lookup")
subprocess.run(["gcc", "-O2", "-o", loop, os.path.join(root, "Benchmarks", "peers", "lookup.c"), "-lsqlite3"], check=True)

measure.begin(f"the ledger with {count:,} manifests, {os.path.getsize(database) >> 20} MiB")
rates = {"colophon": [], "C loop": []}
for number in range(6):
    for name, command in [("colophon", [bench, "lookup", large, prefixes]), ("C loop", [loop, database, prefixes])]:
        rate = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        if number > 0:
            rates[name].append(rate)
for name, values in rates.items():
    print(f"  look-ups by prefix, {name:22} {statistics.median(values):9.0f} /s  ({min(values)} to {max(values)})")
measure.bar("look-ups beside C", statistics.median(rates["colophon"]) / statistics.median(rates["C loop"]), 0.7, at_most=False)

with open(prefixes) as file:
    prefix = file.readline().strip()
low, high = prefix.ljust(64, "0"), prefix.ljust(64, "f")
select = f"SELECT body FROM records WHERE kind = 'manifest' AND digest BETWEEN x'{low}' AND x'{high}'"


def many(command):
    return lambda: sum(measure.once(command)[0] for _ in range(50)) / 50


medians = measure.compare(
    {
        "colophon trace PREFIX": many([colophon, "trace", prefix, "--data-dir", large]),
        "sqlite3, one indexed select": many(["sqlite3", database, select]),
    }
)
measure.bar(
    "a whole process beside sqlite3", medians["colophon trace PREFIX"] / medians["sqlite3, one indexed select"], 3
)
for directory, size in [(small, 10_000), (large, count)]:
    p95, (slowest, line) = search(directory)
    print(f"  slowest search of {size:,}: {line}")
    measure.bar(f"search p95 at {size:,} manifests", p95, 100, unit="ms")
measure.end()
