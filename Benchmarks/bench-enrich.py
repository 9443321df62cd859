"""Enriching lines: beside mawk, sed and jq in a pipe; beside a bare librdkafka loop in C to a real Kafka; and what it adds to the proxy."""

import importlib.util
import json
import os
import random
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path += [HERE, os.path.join(HERE, "..", "Tests", "EndToEnd", "lines")]
import measure  # noqa: E402

colophon = os.path.abspath(sys.argv[1])
LINES, JSON_LINES, KAFKA_LINES = 2_000_000, 400_000, 600_000
SUFFIX = (", model_version=als-20250304, pipeline_commit=80d8e56, pipeline_branch=main, data_version=kafka-20250301, "
          "manifest_sha256=1a85cde8f3a511be428ce54af3747367a4d3b8a55b6864a98eab15d07f9c1aae")
MANIFEST = {"model_version": "als-20250304", "trained_at": "2025-03-04T18:00:00Z",
            "pipeline": {"git_commit": "80d8e56" + "a" * 33, "git_branch": "main"}, "data": {"dataset_version": "kafka-20250301"}}
random.seed(1)
TITLES = ["the+lord+of+the+rings+the+fellowship+of+the+ring+2001", "amelie+2001", "se7en+1995", "wall-e+2008", "m+1931"]


def write(path, count, make):
    """A file of lines: some thousands that differ, again and again."""
    lines = "".join(make(n) + "\n" for n in range(10_000))
    with open(path, "w") as file:
        for _ in range(count // 10_000):
            file.write(lines)
    return os.path.getsize(path)


def recommendation(n):
    user = random.randrange(1_000_000)
    return (f"2025-03-04T18:21:{n % 60:02}.{n % 1_000_000:06}Z,{user},recommendation request /recommend/{user}, status 200, "
            f"variant=als_model, bucket={random.random():.6f}, result: {','.join(random.choices(TITLES, k=8))}, {n % 90 + 1} ms")


def document(n):
    return json.dumps({"time": f"2025-03-04T18:21:{n % 60:02}Z", "user_id": n, "path": f"/recommend/{n}", "status": 200,
                       "variant": "als_model", "bucket": 0.5, "result": random.choices(TITLES, k=8), "duration_ms": n % 90})


def pinned(*command):
    return ["taskset", "-c", "0", *command]


def into_file(command, source, target):
    with open(target, "wb") as out:
        before = os.times()
        code = subprocess.run(command, stdin=open(source, "rb"), stdout=out, stderr=subprocess.DEVNULL).returncode
        after = os.times()
    if code:
        sys.exit(f"benchmark: {command[:3]} ended with {code}")
    os.unlink(target)
    return after.elapsed - before.elapsed


def into_pipe(command, source):
    """On one core, into a reader on the other."""
    began = os.times().elapsed
    reader = subprocess.Popen(["taskset", "-c", "1", "cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    code = subprocess.run(command, stdin=open(source, "rb"), stdout=reader.stdin, stderr=subprocess.DEVNULL).returncode
    reader.stdin.close()
    reader.wait()
    if code:
        sys.exit(f"benchmark: {command[:3]} ended with {code}")
    return os.times().elapsed - began


def filters(scratch, manifest):
    source, target = f"{scratch}/lines", f"{scratch}/out"
    size = write(source, LINES, recommendation)
    enrich = pinned(colophon, "enrich", "--manifest", manifest)
    mawk = pinned("mawk", f'{{print $0 "{SUFFIX}"}}')
    sed = pinned("sed", f"s/$/{SUFFIX}/")
    print(f"recommendation lines, {LINES:,} of {size // LINES} bytes, into a file in memory")
    into = measure.compare({
        "colophon enrich": lambda: into_file(enrich, source, target),
        "mawk, a constant suffix": lambda: into_file(mawk, source, target),
        "sed, a constant suffix": lambda: into_file(sed, source, target)})
    best = min(into["mawk, a constant suffix"], into["sed, a constant suffix"])
    measure.bar("speed beside the faster of mawk and sed, into a file", best / into["colophon enrich"], 1.5, at_most=False)
    print("the same, to nobody")
    none = measure.compare({"colophon enrich": lambda: measure.once(enrich, stdin=source, quiet=True)[0]})
    measure.bar("bytes read a second", size / none["colophon enrich"] / 1e9, 1, at_most=False, unit="GB/s")
    print("the same, into a pipe")
    pipe = measure.compare({
        "colophon enrich": lambda: into_pipe(enrich, source), "cat": lambda: into_pipe(pinned("cat"), source),
        "mawk": lambda: into_pipe(mawk, source), "sed": lambda: into_pipe(sed, source)})
    measure.bar("speed beside the faster of mawk and sed, into a pipe", min(pipe["mawk"], pipe["sed"]) / pipe["colophon enrich"], 1.5,
                at_most=False)
    measure.bar("speed beside cat, into a pipe", pipe["cat"] / pipe["colophon enrich"], 0.5, at_most=False)
    size = write(source, JSON_LINES, document)
    members = json.dumps({"model_version": "als-20250304", "pipeline_commit": "80d8e56", "pipeline_branch": "main",
                          "data_version": "kafka-20250301", "manifest_sha256": "1a85" * 16})
    print(f"JSON lines, {JSON_LINES:,} of {size // JSON_LINES} bytes")
    both = measure.compare({
        "colophon enrich": lambda: into_file(enrich, source, target),
        "jq": lambda: into_file(pinned("jq", "-c", f". + {members}"), source, target)}, rounds=3)
    measure.bar("speed beside jq", both["jq"] / both["colophon enrich"], 10, at_most=False)
    measure.bar("JSON read a second", size / measure.once(enrich, stdin=source, quiet=True)[0] / 1e6, 500, at_most=False, unit="MB/s")
    os.unlink(source)


def kafka(scratch, manifest):
    from cluster import Kafka
    source, enriched = f"{scratch}/app.log", f"{scratch}/enriched"
    write(source, KAFKA_LINES, recommendation)
    subprocess.run([colophon, "enrich", "--manifest", manifest], stdin=open(source), stdout=open(enriched, "w"), stderr=subprocess.DEVNULL,
                   check=True)
    loop = f"{scratch}/produce"
    subprocess.run(["gcc", "-O2", "-o", loop, f"{HERE}/peers/produce.c", "-lrdkafka"], check=True)
    with Kafka() as broker:
        serial = iter(range(1000))
        used = {}

        def run(name, command, stdin=None):
            topic = broker.create()
            seconds, processor = measure.once(command(topic), stdin=stdin, quiet=True)
            used.setdefault(name, []).append(processor)
            return seconds

        def enrich(*arguments):
            return lambda topic: [colophon, "enrich", "--manifest", manifest, "--data-dir", f"{scratch}/d{next(serial)}", "--to",
                                  f"kafka://{broker.address}/{topic}", *arguments]
        files = ["--files", source, "--once"]
        print(f"{KAFKA_LINES:,} lines to a real Kafka, acknowledged by all, zstd; the broker has the same two cores")
        medians = measure.compare({
            "C loop, four headers": lambda: run("loop4", lambda t: [loop, broker.address, t, enriched, "4"]),
            "colophon, file to Kafka": lambda: run("file4", enrich(*files)),
            "colophon, stdin through the spool": lambda: run("spool4", enrich(), stdin=source),
            "C loop, no headers": lambda: run("loop0", lambda t: [loop, broker.address, t, enriched, "0"]),
            "colophon, file, no headers": lambda: run("file0", enrich(*files, "--kafka-headers", "none"))}, rounds=3)
        cost = {name: statistics.median(values[1:]) / KAFKA_LINES * 1e6 for name, values in used.items()}
        for name, value in cost.items():
            print(f"  {name:10} {value:.2f} us of processor time a line")
        measure.bar("lines a second beside the C loop", medians["C loop, four headers"] / medians["colophon, file to Kafka"], 0.8, at_most=False)
        measure.bar("processor time a line beside the C loop", cost["file4"] / cost["loop4"], 1.25)
        measure.bar("processor time a line through the spool beside the C loop", cost["spool4"] / cost["loop4"], 1.5)
        measure.bar("processor time a line without headers beside the C loop", cost["file0"] / cost["loop0"], 1.25)
        proxy(scratch, broker)


def proxy(scratch, broker):
    """Processor time of a request with lines to Kafka, beside the proxy without."""
    os.chmod(scratch, 0o755)
    sys.argv = ["bench-proxy.py", colophon]
    spec = importlib.util.spec_from_file_location("bench_proxy", f"{HERE}/bench-proxy.py")
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    try:
        upstream = bench.free_port()
        words = {"RUN": scratch, "UPSTREAM": upstream, "BODY": bench.BODY, "PORT": "up"}
        bench.start(1, "nginx", "-e", f"{scratch}/e", "-c", bench.configured(scratch, "upstream.conf", words))
        bench.await_port(upstream)
        with open(f"{scratch}/m.json", "w") as file:
            file.write(bench.MANIFEST)
        contenders = []
        for name, extra in [("off", []), ("on", ["--kafka-brokers", broker.address, "--kafka-topic", broker.create()])]:
            port = bench.free_port()
            contenders.append(bench.Contender(name, bench.colophon(scratch, port, upstream, *extra), port))
            bench.await_port(port)
        bench.rounds(contenders, [("32", "/recommend/39157", 32)])
        off, on = contenders
        for one in contenders:
            print(f"  lines {one.name:4} {one.median('32', 'cpu'):.3f} s of processor time for 100,000 requests, "
                  f"p99 {one.median('32', 'p99') / 1000:.2f} ms, {one.median('32', 'rate'):.0f} requests/s, {one.median('32', 'resident'):.0f} MiB")
        measure.bar("processor time of a request with lines to Kafka", on.median("32", "cpu") / off.median("32", "cpu"), 1.3)
        measure.bar("resident memory with lines to Kafka", max(run["resident"] for run in on.runs["32"]), 64, unit="MiB")
    finally:
        for process in bench.started:
            process.kill()
            process.wait()


with measure.Scratch() as scratch:
    measure.begin("enriching")
    path = f"{scratch}/manifest.json"
    with open(path, "w") as file:
        json.dump(MANIFEST, file)
    if len(sys.argv) < 3 or sys.argv[2] == "filters":
        filters(scratch, path)
    if len(sys.argv) < 3 or sys.argv[2] == "kafka":
        kafka(scratch, path)
measure.end()
