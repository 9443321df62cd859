"""How long the program takes to start, beside /bin/true. Aim: under 5 ms more."""

import os
import subprocess
import sys

import measure

colophon = sys.argv[1]
RUNS = 100


def many(command):
    def run():
        total = 0.0
        for _ in range(RUNS):
            total += measure.once(command)[0]
        return total / RUNS

    return run


measure.begin("starting")
medians = measure.compare({"colophon version": many([colophon, "version"]), "/bin/true": many(["/bin/true"])})
measure.bar("starting, beyond /bin/true", (medians["colophon version"] - medians["/bin/true"]) * 1000, 5, unit="ms")
with measure.Scratch() as scratch:
    stripped = os.path.join(scratch, "colophon")
    subprocess.run(["strip", "-o", stripped, colophon], check=True)
    measure.bar("size, stripped", os.path.getsize(stripped) / 2**20, 15, unit="MiB")
measure.end()
