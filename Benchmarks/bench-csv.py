"""Profiling and hashing a dataset while it is read, beside a Python script that does the same."""

import itertools
import os
import random
import sys

import measure

colophon = os.path.abspath(sys.argv[1])
ROWS = 3_000_000

with measure.Scratch() as scratch:
    data = os.path.join(scratch, "data.csv")
    chance = random.Random(1)
    with open(data, "w") as file:
        file.write("user_id,movie_id,rating,minute\n")
        for start in range(0, ROWS, 10_000):
            file.writelines(
                f"{chance.randrange(900_000)},the+movie+number+{chance.randrange(25_000)},{chance.randrange(1, 6)},{row}\n"
                for row in range(start, start + 10_000)
            )
    numbers = itertools.count()

    def create():
        arguments = ["manifest", "create", "--model-family", "als", "--data", data, "--profile", "user=user_id,movie=movie_id"]
        version = ["--model-version", f"v{next(numbers)}", "--manifest-dir", os.path.join(scratch, "out")]
        return measure.once([colophon, *arguments, *version], env={**os.environ, "PIPELINE_GIT_COMMIT": "80d8e56"})[0]

    measure.begin(f"profiling and hashing {ROWS:,} rows, {os.path.getsize(data) >> 20} MiB")
    peer = os.path.join(os.path.dirname(os.path.abspath(__file__)), "peers", "profile_csv.py")
    medians = measure.compare(
        {"colophon manifest create": create, "python csv + hashlib": lambda: measure.once([sys.executable, peer, data])[0]},
        rounds=5,
    )
    measure.bar(
        "speed beside Python", medians["python csv + hashlib"] / medians["colophon manifest create"], 3, at_most=False
    )
measure.end()
