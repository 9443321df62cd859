"""Tracing a file of log lines, beside a Python script that prints an answer from a dict."""

import json
import os
import subprocess
import sys

import measure

colophon = os.path.abspath(sys.argv[1])
LINES = 500_000

with measure.Scratch() as scratch:
    folder = os.path.join(scratch, "run")
    data = os.path.join(scratch, "data.csv")
    with open(data, "w") as file:
        file.write("user_id,movie_id\n1,a\n")
    environment = {**os.environ, "PIPELINE_GIT_COMMIT": "80d8e56f5c1b80d8e56f5c1b80d8e56f5c1b80d8", "PIPELINE_GIT_BRANCH": "main"}
    for number in range(20):
        arguments = ["--model-family", "als", "--model-version", f"als-{number}", "--data", data, "--manifest-dir", folder]
        artifacts = [word for name in ("als_model", "user_map", "movie_map") for word in ("--artifact", f"{name}={data}")]
        subprocess.run([colophon, "manifest", "create", *arguments, *artifacts], env=environment, stdout=subprocess.DEVNULL, check=True)
    ledger = os.path.join(scratch, "ledger")
    subprocess.run([colophon, "index", "add", folder, "--data-dir", ledger], stdout=subprocess.DEVNULL, check=True)
    manifests = []
    for number in range(20):
        with open(os.path.join(folder, "manifests", f"als-{number}.json")) as file:
            manifests.append(json.load(file))
    items = ",".join(f"the+movie+number+{i}" for i in range(8))
    log = os.path.join(scratch, "log")
    with open(log, "w") as file:
        for number in range(LINES):
            manifest = manifests[number // 1000 % 20]
            file.write(
                f"2025-03-04T18:21:03.219384Z,{number},recommendation request /recommend/{number}, status 200, "
                f"variant=als_model, bucket=0.392104, result: {items}, 42 ms, model_version={manifest['model_version']}, "
                f"pipeline_commit=80d8e56, pipeline_branch=main, data_version={manifest['data']['dataset_version']}, "
                f"manifest_sha256={manifest['manifest_sha256']}\n"
            )
    measure.begin(f"tracing {LINES:,} lines, {os.path.getsize(log) >> 20} MiB")
    peer = os.path.join(os.path.dirname(os.path.abspath(__file__)), "peers", "trace_lines.py")
    medians = measure.compare(
        {
            "colophon trace - --json": lambda: measure.once([colophon, "trace", "-", "--json", "--data-dir", ledger], stdin=log)[0],
            "python re + dict + json": lambda: measure.once([sys.executable, peer, folder + "/manifests"], stdin=log)[0],
        }
    )
    mine = medians["colophon trace - --json"]
    measure.bar("speed beside Python", medians["python re + dict + json"] / mine, 5, at_most=False)
    measure.bar("lines a second", LINES / mine, 300_000, at_most=False, unit="lines/s")
measure.end()
