"""The proxy beside nginx, HAProxy and, where it is installed, Envoy: same upstream, same added headers, keep-alive everywhere,
one worker each on core 0; load generator and upstream on core 1.

    bench-proxy.py COLOPHON [--rounds N] [--seconds S] [--quick]

Processor time for a request is the figure to believe. Requests per second are a lower bound wherever core 1 is the limit.
Each contender adds the same five response headers. Colophon also mints or passes a request id and a traceparent, and appends Via and
X-Forwarded-For, which the others do not: that work is not switched off.
"""

import argparse
import contextlib
import glob
import json
import mmap
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request

import measure

HERE = os.path.dirname(os.path.abspath(__file__))
TICKS = os.sysconf("SC_CLK_TCK")
options = argparse.ArgumentParser()
options.add_argument("colophon")
options.add_argument("--rounds", type=int, default=5)
options.add_argument("--seconds", type=int, default=4)
options.add_argument("--quick", action="store_true", help="three short rounds: to look, not to quote")
options = options.parse_args()
if options.quick:
    options.rounds, options.seconds = 3, 2

MANIFEST = """{"model_version":"als-20250304","pipeline":{"git_commit":"80d8e56f5c1b4a7e9d3c2b1a0f9e8d7c6b5a4f3e"},
"data":{"dataset_version":"kafka-20250301"}}"""
BODY = '{"model":"demo","outputs":[' + ",".join(["0.125"] * 62) + "]}"
started = []


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def start(core, *command, env=None):
    process = subprocess.Popen(["taskset", "-c", str(core), *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               stdin=subprocess.DEVNULL, env=env)
    started.append(process)
    return process


def await_port(port):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"benchmark: nobody listens on {port}")


def processor(pid):
    """User and system seconds of a process."""
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return int(fields[11]) / TICKS, int(fields[12]) / TICKS


def resident(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{pid}/status").read())[1]) / 1024


def configured(scratch, name, words):
    text = open(f"{HERE}/peers/{name}").read()
    for key, value in words.items():
        text = text.replace(f"@{key}@", str(value))
    path = f"{scratch}/{words['PORT']}-{name}"
    open(path, "w").write(text)
    return path


def microseconds(text):
    number, unit = re.match(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]


def load(port, path, connections, seconds):
    headers = ["-H", "User-Agent: bench-client/1.0 (x86_64; linux)", "-H", "Accept: application/json", "-H",
               "Accept-Encoding: identity", "-H", "X-Request-Id: 7f3c9a62-0d1e-4c57-9f3e-2b6a5f0c1d2e"]
    said = subprocess.run(["taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", f"-d{int(seconds)}s", "--latency", *headers,
                           f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        sys.exit(f"benchmark: errors under load:\n{said}")
    count = int(re.search(r"(\d+) requests in", said)[1])
    took = microseconds(re.search(r"requests in ([\d.]+(?:us|ms|s))", said)[1]) / 1e6
    percentile = {p: microseconds(re.search(rf"\n\s+{p}%\s+(\S+)", said)[1]) for p in (50, 99)}
    return count, took, percentile


class Contender:
    def __init__(self, name, process, port):
        self.name, self.process, self.port, self.runs = name, process, port, {}

    def measure(self, key, path, connections, seconds, keep):
        before = processor(self.process.pid)
        count, took, percentile = load(self.port, path, connections, seconds)
        after = processor(self.process.pid)
        if keep:
            self.runs.setdefault(key, []).append(dict(
                rate=count / took, cpu=(sum(after) - sum(before)) / count * 1e5, user=(after[0] - before[0]) / count * 1e5,
                p50=percentile[50], p99=percentile[99], resident=resident(self.process.pid)))

    def median(self, key, figure):
        return statistics.median(run[figure] for run in self.runs[key])


def contenders(scratch, upstream, digest, logged):
    """Everybody, each on a port of its own."""
    found = []
    words = {"RUN": scratch, "UPSTREAM": upstream, "DIGEST": digest,
             "NGINX_LOG": f"{scratch}/nginx.access plain buffer=64k flush=1s" if logged else "off",
             "HAPROXY_LOG": "log stdout format raw local0" if logged else "",
             "HAPROXY_LOGGED": "log global\n  option httplog" if logged else "",
             "ENVOY_LOG": f"""access_log:
          - name: envoy.access_loggers.file
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: {scratch}/envoy.access""" if logged else ""}

    def add(name, make):
        port = free_port()
        words["PORT"] = port
        process = make(port)
        await_port(port)
        found.append(Contender(name, process, port))
    add("nginx", lambda port: start(0, "nginx", "-e", f"{scratch}/e", "-c", configured(scratch, "nginx.conf", words)))
    add("haproxy", lambda port: start(0, "haproxy", "-f", configured(scratch, "haproxy.cfg", words)))
    # The program itself, not the script that starts it: that one's processor time is not the point.
    found_envoy = glob.glob(f"{HERE}/../.venv-bench/lib/python*/site-packages/envoy/_bin/envoy")
    envoy = found_envoy[0] if found_envoy else shutil.which("envoy")
    if envoy:
        add("envoy", lambda port: start(0, envoy, "-c", configured(scratch, "envoy.yaml", words), "--concurrency", "1",
                                        "--log-level", "error", "--disable-hot-restart", "--base-id", str(port)))
    add("colophon", lambda port: colophon(scratch, port, upstream, *(["--log-access", f"{scratch}/colophon.access"] if logged else [])))
    return found


def colophon(scratch, port, upstream, *args, env=None, workers=1, core=0):
    return start(core, options.colophon, "serve", "--listen", f"127.0.0.1:{port}", "--upstream", f"127.0.0.1:{upstream}", "--manifest",
                 f"{scratch}/m.json", "--data-dir", f"{scratch}/ledger-{port}", "--workers", str(workers), "--admin-listen", "off", *args,
                 env=env)


def rounds(everybody, cases):
    """In turn, only one of them running at a time; the first round is thrown away."""
    for contender in everybody:
        contender.process.send_signal(signal.SIGSTOP)
    for number in range(options.rounds + 1):
        for key, path, connections in cases:
            turn = number % len(everybody)
            for contender in everybody[turn:] + everybody[:turn]:
                contender.process.send_signal(signal.SIGCONT)
                contender.measure(key, path, connections, 1 if number == 0 else options.seconds, number > 0)
                contender.process.send_signal(signal.SIGSTOP)
    for contender in everybody:
        contender.process.send_signal(signal.SIGCONT)


def table(everybody, key, title):
    print(f"  {title}\n    {'':10}{'req/s':>9}{'least-most':>18}{'p50 us':>9}{'p99 us':>9}{'cpu/100k':>10}{'least-most':>15}{'user':>7}{'MiB':>7}")
    for one in everybody:
        rates = [run["rate"] for run in one.runs[key]]
        cpus = [run["cpu"] for run in one.runs[key]]
        print(f"    {one.name:10}{one.median(key, 'rate'):9.0f}{min(rates):9.0f}-{max(rates):<8.0f}{one.median(key, 'p50'):9.0f}"
              f"{one.median(key, 'p99'):9.0f}{one.median(key, 'cpu'):10.3f}{min(cpus):8.3f}-{max(cpus):<6.3f}{one.median(key, 'user'):7.3f}"
              f"{one.median(key, 'resident'):7.1f}")


def compare(scratch, upstream, digest, logged):
    words = "with access logs" if logged else "without access logs"
    everybody = contenders(scratch, upstream, digest, logged)
    cases = [(f"{n}", "/v1/models/demo:predict", n) for n in (32, 256)]
    rounds(everybody, cases)
    if not logged:
        # Apart, because large bodies leave everybody with more memory.
        rounds(everybody, [("big", "/big", 32)])
    named = {one.name: one for one in everybody}
    ours = named["colophon"]
    peers = [named["nginx"], named["haproxy"]]
    for key in ("32", "256"):
        table(everybody, key, f"{key} connections, {words}")
        measure.bar(f"cpu per request, {key} connections, {words}, to the better peer",
                    ours.median(key, "cpu") / min(peer.median(key, "cpu") for peer in peers), 0.85)
        measure.bar("requests/s to the better peer", ours.median(key, "rate") / max(peer.median(key, "rate") for peer in peers), 1, at_most=False)
        for figure in ("p50", "p99"):
            measure.bar(f"{figure} to the better peer", ours.median(key, figure) / min(peer.median(key, figure) for peer in peers), 1)
        if "envoy" in named:
            measure.bar("cpu to Envoy", ours.median(key, "cpu") / named["envoy"].median(key, "cpu"), 0.40)
    measure.bar("resident at 256 connections", ours.median("256", "resident"), 15, unit="MiB")
    if not logged:
        table(everybody, "big", "1 MiB bodies, 32 connections")
        measure.bar("1 MiB bodies, throughput to nginx", ours.median("big", "rate") / peers[0].median("big", "rate"), 1.5, at_most=False)
        measure.bar("1 MiB bodies, cpu to nginx", ours.median("big", "cpu") / peers[0].median("big", "cpu"), 0.6)
    stop(everybody)


def stop(everybody):
    for one in everybody:
        one.process.kill()
        one.process.wait()


def count_allocations(scratch, upstream):
    """Allocations over 100,000 requests, when everything is warm."""
    library = f"{scratch}/count.so"
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", library, f"{HERE}/peers/count_mallocs.c"], check=True)
    with open(f"{scratch}/count", "w+b") as file:
        file.truncate(4096)
        shared = mmap.mmap(file.fileno(), 4096)
        port = free_port()
        # The loader looks at the pointer once an hour: what is counted are requests.
        process = colophon(scratch, port, upstream, "--poll", "1h", env={**os.environ, "LD_PRELOAD": library, "COUNT_MALLOCS": file.name})
        await_port(port)
        load(port, "/warm", 64, 2)

        def counted():
            return int.from_bytes(shared[:8], "little")
        before, requests, seconds = counted(), 0, 0
        while requests < 100_000:
            requests += load(port, "/x", 64, 2)[0]
            seconds += 2
        allocations = counted() - before
        print(f"  {allocations} allocations over {requests} requests in {seconds} s")
        # A few more buffers than ever before may be in use at once, and that many are made.
        measure.bar("allocations over 100,000 requests", allocations, 64, unit="in all")
        process.kill()
        process.wait()


def first_byte(scratch):
    """How long until the first byte of a stream is there, straight from a server that goes on streaming, and through the proxy."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection):
        with contextlib.suppress(OSError), connection:
            while connection.recv(65536):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n1e\r\ndata: a token of an answer..\n\n\r\n")
                time.sleep(0.002)
                connection.sendall(b"0\r\n\r\n")

    def accept():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
    threading.Thread(target=accept, daemon=True).start()
    server = listener.getsockname()[1]
    port = free_port()
    process = colophon(scratch, port, server)
    await_port(port)

    def median(port):
        times = []
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(300):
                began = time.perf_counter()
                connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                data = connection.recv(65536)
                while b"data: " not in data:
                    data += connection.recv(65536)
                times.append(time.perf_counter() - began)
                while not data.endswith(b"0\r\n\r\n"):
                    data += connection.recv(65536)
        return statistics.median(times) * 1e6
    direct, through = [], []
    for _ in range(options.rounds):
        direct.append(median(server))
        through.append(median(port))
    print(f"  first byte of a stream: {statistics.median(direct):.0f} us direct, {statistics.median(through):.0f} us through the proxy")
    measure.bar("what the proxy adds to the first byte", (statistics.median(through) - statistics.median(direct)) / 1000, 0.5, unit="ms")
    process.kill()
    process.wait()
    listener.close()


def scale(scratch, upstream):
    """Processor time for a request with two workers beside one, on the same two cores."""
    ports = {count: free_port() for count in (1, 2)}
    admin = free_port()
    both = []
    for count, port in ports.items():
        process = start("0,1", options.colophon, "serve", "--listen", f"127.0.0.1:{port}", "--upstream", f"127.0.0.1:{upstream}", "--manifest",
                        f"{scratch}/m.json", "--data-dir", f"{scratch}/ledger-{port}", "--workers", str(count), "--admin-listen",
                        f"127.0.0.1:{admin}" if count == 2 else "off")
        await_port(port)
        both.append(Contender(f"{count} workers", process, port))
    rounds(both, [("256", "/x", 256)])
    status = json.load(urllib.request.urlopen(f"http://127.0.0.1:{admin}/v1/status"))
    shares = [worker["requests"] for worker in status["workers"]]
    measure.bar("the smaller worker's share of the requests", min(shares) / sum(shares), 0.35, at_most=False)
    table(both, "256", "one worker and two, sharing two cores with load and upstream")
    measure.bar("cpu per request, two workers to one", both[1].median("256", "cpu") / both[0].median("256", "cpu"), 1.10)
    stop(both)


measure.begin("the proxy beside others")
if __name__ == "__main__":
    with measure.Scratch() as scratch:
        os.chmod(scratch, 0o755)
        try:
            open(f"{scratch}/m.json", "w").write(MANIFEST)
            open(f"{scratch}/big", "wb").write(b"x" * (1 << 20))
            upstream = free_port()
            words = {"RUN": scratch, "UPSTREAM": upstream, "BODY": BODY, "PORT": "up"}
            start(1, "nginx", "-e", f"{scratch}/e", "-c", configured(scratch, "upstream.conf", words))
            await_port(upstream)
            port = free_port()
            probe = colophon(scratch, port, upstream)
            await_port(port)
            digest = urllib.request.urlopen(f"http://127.0.0.1:{port}/").headers["X-Model-Manifest"]
            probe.kill()
            probe.wait()
            for logged in (False, True):
                compare(scratch, upstream, digest, logged)
            count_allocations(scratch, upstream)
            first_byte(scratch)
            scale(scratch, upstream)
        finally:
            for process in started:
                if process.poll() is None:
                    process.send_signal(signal.SIGCONT)
                    process.kill()
                    process.wait()
    measure.end()
