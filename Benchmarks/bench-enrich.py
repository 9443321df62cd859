"""Enriching lines: beside mawk, sed and jq in a pipe; beside a bare librdkafka loop in C to a real Kafka; and what it adds to the proxy."""

import importlib.util
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path += [HERE, os.path.join(HERE, "..", "Tests", "EndToEnd", "lines")]
import measure  # noqa: E402
from confluent_kafka import Consumer, TopicPartition  # noqa: E402

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
    subprocess.run(["gcc", "-O2", "-o", f"{scratch}/suffix", f"{HERE}/peers/suffix.c"], check=True)
    least = pinned(f"{scratch}/suffix", SUFFIX)
    print(f"recommendation lines, {LINES:,} of {size // LINES} bytes, into a file in memory")
    into = measure.compare({
        "colophon enrich": lambda: into_file(enrich, source, target),
        "mawk, a constant suffix": lambda: into_file(mawk, source, target),
        "sed, a constant suffix": lambda: into_file(sed, source, target),
        "C, a constant suffix": lambda: into_file(least, source, target)})
    best = min(into["mawk, a constant suffix"], into["sed, a constant suffix"])
    measure.bar("speed beside the faster of mawk and sed, into a file", best / into["colophon enrich"], 1.5, at_most=False)
    print("the same, to nobody")
    none = measure.compare({"colophon enrich": lambda: measure.once(enrich, stdin=source, quiet=True)[0]})
    measure.bar("bytes read a second", size / none["colophon enrich"] / 1e9, 1, at_most=False, unit="GB/s")
    print("the same, into a pipe")
    pipe = measure.compare({
        "colophon enrich": lambda: into_pipe(enrich, source), "cat": lambda: into_pipe(pinned("cat"), source),
        "mawk": lambda: into_pipe(mawk, source), "sed": lambda: into_pipe(sed, source), "C": lambda: into_pipe(least, source)})
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
    none = measure.compare({"colophon enrich, to nobody": lambda: measure.once(enrich, stdin=source, quiet=True)[0]})
    measure.bar("JSON read a second", size / none["colophon enrich, to nobody"] / 1e6, 500, at_most=False, unit="MB/s")
    os.unlink(source)


def spool(scratch):
    """The spool by itself: records of 400 bytes, written as they come and synced in groups; then read back as after a kill."""
    print("the spool, a GiB of records in memory")
    runs = []
    for _ in range(5):
        shutil.rmtree(f"{scratch}/spool", ignore_errors=True)
        bench = os.path.join(os.path.dirname(colophon), "spool-bench")
        runs.append(json.loads(subprocess.run([bench, f"{scratch}/spool", "1024"], capture_output=True, check=True).stdout))
    shutil.rmtree(f"{scratch}/spool")
    measure.bar("appended a second", statistics.median(run["append_mb_per_second"] for run in runs), 500, at_most=False, unit="MB/s")
    measure.bar("recovery of a GiB", statistics.median(run["recovery_seconds"] for run in runs), 2, unit="s")
    print("its syncs of 16 KiB, on the disk")
    runs = []
    with tempfile.TemporaryDirectory(dir=os.path.dirname(colophon)) as disk:
        for number in range(5):
            runs.append(json.loads(subprocess.run([bench, f"{disk}/{number}", "syncs"], capture_output=True, check=True).stdout))
    new, over = (statistics.median(run[name] for run in runs) for name in ("new_us", "over_us"))
    print(f"  {new:.0f} us into a new file, {over:.0f} us over a delivered one")
    measure.bar("a sync over a delivered segment beside one into a new file", over / new, 0.8)


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
        # What decision 16 tells glibc, so that both do the same.
        told = ["env", "GLIBC_TUNABLES=glibc.malloc.tcache_count=5000"]
        print(f"{KAFKA_LINES:,} lines to a real Kafka, acknowledged by all, zstd; the broker has the same two cores")
        medians = measure.compare({
            "C loop, four headers": lambda: run("loop4", lambda t: [*told, loop, broker.address, t, enriched, "4"]),
            "colophon, file to Kafka": lambda: run("file4", enrich(*files)),
            "colophon, stdin through the spool": lambda: run("spool4", enrich(), stdin=source),
            "C loop, told nothing": lambda: run("loop4 bare", lambda t: [loop, broker.address, t, enriched, "4"]),
            "C loop, no headers": lambda: run("loop0", lambda t: [*told, loop, broker.address, t, enriched, "0"]),
            "colophon, file, no headers": lambda: run("file0", enrich(*files, "--kafka-headers", "none")),
            "colophon, file, all headers": lambda: run("file8", enrich(*files, "--kafka-headers", "all"))}, rounds=3)
        cost = {name: statistics.median(values[1:]) / KAFKA_LINES * 1e6 for name, values in used.items()}
        for name, value in cost.items():
            print(f"  {name:10} {value:.2f} us of processor time a line")
        # All of them, but for a request id, which these lines do not have; line_time is there, for they are old.
        print(f"  a header costs {(cost['file8'] - cost['file0']) / 8:.2f} us of processor time a line")
        print(f"  beside the loop that is told nothing: a line of a file {cost['file4'] / cost['loop4 bare']:.2f}, "
              f"through the spool {cost['spool4'] / cost['loop4 bare']:.2f}")
        measure.bar("lines a second beside the C loop", medians["C loop, four headers"] / medians["colophon, file to Kafka"], 0.8, at_most=False)
        measure.bar("processor time a line beside the C loop", cost["file4"] / cost["loop4"], 1.25)
        measure.bar("processor time a line through the spool beside the C loop", cost["spool4"] / cost["loop4"], 1.5)
        measure.bar("processor time a line without headers beside the C loop", cost["file0"] / cost["loop0"], 1.25)
        daemons(scratch, manifest, broker, source)
        proxy(scratch, broker)


def daemons(scratch, manifest, broker, source):
    """The same file to Kafka by rsyslog and syslog-ng, which set no headers: from the start to the last record in the topic."""
    root = os.path.join(HERE, "..", ".venv-bench", "syslog")
    if not os.path.isdir(root):
        sys.exit("benchmark: rsyslog and syslog-ng are missing: make deps-bench")
    libraries = [f"{root}/usr/lib/x86_64-linux-gnu", f"{root}/lib/x86_64-linux-gnu", f"{root}/usr/lib/syslog-ng"]
    environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(os.path.abspath(path) for path in libraries)}
    modules = os.path.abspath(f"{root}/usr/lib/x86_64-linux-gnu/rsyslog")
    used, serial = {}, iter(range(1000))

    def rsyslog(topic, place):
        with open(f"{place}/conf", "w") as file:
            file.write(f"""module(load="{modules}/imfile.so" mode="inotify")
module(load="{modules}/omkafka.so")
global(workDirectory="{place}" maxMessageSize="64k")
template(name="enriched" type="string" string="%msg%{SUFFIX}")
ruleset(name="k" queue.type="LinkedList" queue.size="50000" queue.dequeueBatchSize="1024") {{
  action(type="omkafka" broker=["{broker.address}"] topic="{topic}" template="enriched" resubmitOnFailure="on"
         confParam=["compression.codec=zstd", "enable.idempotence=true", "linger.ms=20"])
}}
input(type="imfile" File="{source}" Tag="x" ruleset="k")
""")
        return [f"{root}/usr/sbin/rsyslogd", "-n", "-f", f"{place}/conf", "-i", f"{place}/pid", "-M", modules]

    def syslog_ng(topic, place):
        with open(f"{place}/conf", "w") as file:
            file.write(f"""@version: 3.38
options {{ stats-freq(0); log-msg-size(65536); }};
source s {{ file("{source}" flags(no-parse) read-old-records(yes) log-fetch-limit(1000) log-iw-size(10000)); }};
destination d {{ kafka-c(bootstrap-servers("{broker.address}") topic("{topic}") message("${{MESSAGE}}{SUFFIX}") sync-send(no)
  config(compression.codec("zstd") enable.idempotence("true") linger.ms("20"))); }};
log {{ source(s); destination(d); flags(flow-control); }};
""")
        return [f"{root}/usr/sbin/syslog-ng", "-F", "-f", f"{place}/conf", "-R", f"{place}/persist", "-p", f"{place}/pid",
                "-c", f"{place}/control", f"--module-path={os.path.abspath(root)}/usr/lib/syslog-ng/3.38"]

    def enrich(topic, place):
        return [colophon, "enrich", "--manifest", manifest, "--data-dir", place, "--to", f"kafka://{broker.address}/{topic}",
                "--kafka-headers", "none", "--kafka-key", "none", "--files", source]

    def run(name, make):
        topic, place = broker.create(), f"{scratch}/daemon{next(serial)}"
        os.mkdir(place)
        began = time.monotonic()
        process = subprocess.Popen(make(topic, place), env=environment if make is not enrich else None, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while (there := count(topic)) < KAFKA_LINES:
                if process.poll() is not None or time.monotonic() - began > 120:
                    sys.exit(f"benchmark: {name} has brought {there:,} lines of {KAFKA_LINES:,}")
                time.sleep(0.02)
            seconds = time.monotonic() - began
            fields = open(f"/proc/{process.pid}/stat").read().rsplit(")", 1)[1].split()
            used.setdefault(name, []).append((int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))
        finally:
            process.terminate()
            process.wait(30)
        # Again, when it has ended: nothing more, and nothing less.
        used.setdefault(name + ", records", []).append(count(topic))
        return seconds

    def count(topic):
        return looking.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)[1]

    looking = Consumer(broker.settings(**{"group.id": "looking"}))
    print(f"{KAFKA_LINES:,} lines of a file to Kafka, no headers and no key, beside daemons for logs")
    medians = measure.compare({
        "colophon enrich --files": lambda: run("colophon", enrich), "rsyslog": lambda: run("rsyslog", rsyslog),
        "syslog-ng": lambda: run("syslog-ng", syslog_ng)}, rounds=3)
    looking.close()
    cost = {name: statistics.median(values[1:]) / KAFKA_LINES * 1e6 for name, values in used.items() if "records" not in name}
    for name, value in cost.items():
        print(f"  {name:10} {value:.2f} us of processor time a line; {used[name + ', records'][-1]:,} records")
    measure.bar("lines a second beside the faster daemon", min(medians["rsyslog"], medians["syslog-ng"]) / medians["colophon enrich --files"],
                1, at_most=False)
    measure.bar("processor time a line beside the thriftier daemon", cost["colophon"] / min(cost["rsyslog"], cost["syslog-ng"]), 1)


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
    if len(sys.argv) < 3 or sys.argv[2] == "spool":
        spool(scratch)
    if len(sys.argv) < 3 or sys.argv[2] == "kafka":
        kafka(scratch, path)
    if sys.argv[2:] == ["proxy"]:
        from cluster import Kafka
        with Kafka() as broker:
            proxy(scratch, broker)
    if sys.argv[2:] == ["daemons"]:
        from cluster import Kafka
        with Kafka() as broker:
            source = f"{scratch}/app.log"
            write(source, KAFKA_LINES, recommendation)
            daemons(scratch, path, broker, source)
measure.end()
