"""What the admin listener costs the proxy: 1,000 admin requests a second while the proxy is at about half of what it can do.

    bench-admin.py COLOPHON [--rounds N] [--seconds S]

Rounds without them, with them, and with as many requests to another server beside it (nginx, which answers from memory) alternate: the last tells what those who
ask, and the machine, take by themselves. What counts is the ratio of the proxy's 99th percentiles with and without (bar: 1.10), and of its median as the steadier figure beside it.
Everything shares the machine's cores, as it does in a pod; whoever asks stands back (nice), as it would be elsewhere; /metrics, /v1/status, /readyz and a search of the ledger are asked in turn.
"""

import argparse
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

options = argparse.ArgumentParser()
options.add_argument("colophon")
options.add_argument("--rounds", type=int, default=8)
options.add_argument("--seconds", type=int, default=4)
options = options.parse_args()
PATHS = ["/metrics", "/v1/status", "/readyz", "/v1/manifests?q=als"]
CONNECTIONS, PAUSE = 16, 2
BAR = 1.10


def port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def wrk(url, script, connections, seconds, niceness=0):
    command = ["nice", "-n", str(niceness), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", script, url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def figures(process):
    said = process.communicate(timeout=60)[0]
    units = {"us": 1, "ms": 1000, "s": 1_000_000}

    def percentile(name):
        value, unit = re.search(rf"{name}%\s+([\d.]+)(us|ms|s)", said).groups()
        return float(value) * units[unit]

    return percentile("50"), percentile("99"), float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1])


def listener_time(process):
    """What the admin listener's thread has taken of the processor, in microseconds."""
    for thread in Path(f"/proc/{process.pid}/task").iterdir():
        if (thread / "comm").read_text().strip() == "admin":
            return sum(map(int, (thread / "stat").read_text().split()[13:15])) * 1_000_000 / os.sysconf("SC_CLK_TCK")
    raise SystemExit("bench-admin: there is no thread called admin")


def nginx(here, name, extra, body):
    where = port()
    (here / f"{name}.conf").write_text(f"""daemon off; master_process off; pid {here}/{name}.pid; error_log /dev/null; events {{}}
        http {{ access_log off; {extra} client_body_temp_path {here}/{name}1; proxy_temp_path {here}/{name}2; fastcgi_temp_path {here}/{name}3;
        uwsgi_temp_path {here}/{name}4; scgi_temp_path {here}/{name}5; server {{ listen 127.0.0.1:{where}; location / {{ return 200 "{'x' * body}"; }} }} }}""")
    return where, subprocess.Popen(["nginx", "-c", str(here / f"{name}.conf"), "-e", "/dev/null"], stderr=subprocess.DEVNULL)


def main():
    processes = []
    with tempfile.TemporaryDirectory(prefix="colophon-bench-") as directory:
        here = Path(directory)
        listen, admin = port(), port()
        (here / "m.json").write_text('{"model_version":"als-20250304","data":{"dataset_version":"d"}}')
        # A pause between two requests of a connection: so the proxy is not at its limit.
        (here / "proxy.lua").write_text(f"function delay() return {PAUSE} end\n")
        (here / "admin.lua").write_text(
            "local paths = {" + ",".join(f'"{path}"' for path in PATHS) + "}\nlocal n = 0\nfunction delay() return 3 end\n"
            "function request() n = n % #paths + 1; return wrk.format('GET', paths[n]) end\n")
        try:
            upstream, process = nginx(here, "upstream", "keepalive_requests 100000000;", 400)
            processes.append(process)
            other, process = nginx(here, "other", "keepalive_requests 100000000;", 3900)
            processes.append(process)
            processes.append(subprocess.Popen(
                [options.colophon, "serve", "--listen", f"127.0.0.1:{listen}", "--admin-listen", f"127.0.0.1:{admin}", "--upstream",
                 f"127.0.0.1:{upstream}", "--manifest", str(here / "m.json"), "--data-dir", str(here / "data")], stderr=subprocess.DEVNULL))
            for _ in range(400):
                try:
                    if urllib.request.urlopen(f"http://127.0.0.1:{admin}/readyz").status == 200:
                        break
                except OSError:
                    time.sleep(0.05)
            sidecar = processes[-1]
            ratios, medians, others, rates, asked = [], [], [], [], []
            taken = answered = 0
            kinds = ["without", "with", "other"]
            for number in range(options.rounds):
                found = {}
                for kind in kinds[number % 3:] + kinds[:number % 3]:
                    where = {"with": admin, "other": other}.get(kind)
                    before = listener_time(sidecar)
                    askers = where and wrk(f"http://127.0.0.1:{where}", str(here / "admin.lua"), 5, options.seconds + 1, 15)
                    found[kind] = figures(wrk(f"http://127.0.0.1:{listen}/", str(here / "proxy.lua"), CONNECTIONS, options.seconds))
                    if askers:
                        rate = figures(askers)[2]
                        if kind == "with":
                            asked.append(rate)
                            taken += listener_time(sidecar) - before
                            answered += rate * (options.seconds + 1)
                ratios.append(found["with"][1] / found["without"][1])
                medians.append(found["with"][0] / found["without"][0])
                others.append(found["other"][1] / found["without"][1])
                rates.append(found["without"][2])
        finally:
            for process in processes:
                process.kill()
                process.wait()
    ratio = statistics.median(ratios)
    print(f"proxy at {statistics.median(rates):.0f} requests/s, admin listener at {statistics.median(asked):.0f}: p99 x {ratio:.2f} "
          f"(rounds {', '.join(f'{r:.2f}' for r in sorted(ratios))}; bar {BAR}), median x {statistics.median(medians):.2f}; "
          f"with as many requests to another server instead: p99 x {statistics.median(others):.2f}; an answer takes the listener's thread {taken / answered:.0f} us of the processor")
    if ratio > BAR:
        sys.exit("bench-admin: missed")


main()
