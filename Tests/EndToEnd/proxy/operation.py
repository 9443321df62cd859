"""Starting, activating, draining, limits, the admin listener."""

import contextlib
import hashlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path

from harness import COLOPHON, PATIENCE, Colophon, Response, Upstream, manifest, ok, place, read_to_end, run, wait_until


def version(colophon):
    return colophon.get("/").one("X-Model-Version")


def test_an_activation_is_seen_and_settles():
    with Upstream(ok) as upstream, Colophon(upstream.address) as colophon:
        colophon.get("/").assert_stamped("m1")
        place(colophon.pointer, manifest("m2"))
        colophon.event("activation", 2)
        # The model server may still answer with the old model.
        colophon.get("/").assert_stamped("m2", "mixed")
        assert colophon.ask("/v1/status")[1]["variants"][0]["settled"] is False
    with Upstream(ok) as upstream, Colophon(upstream.address, "--attribution-settle", "300ms") as colophon:
        place(colophon.pointer, manifest("m2"))
        colophon.event("activation", 2)
        wait_until(lambda: colophon.get("/").one("X-Model-Attribution") == "inferred", "it has settled")
        colophon.get("/").assert_stamped("m2")


def test_settles_when_the_upstream_was_restarted():
    with Upstream(ok) as upstream, Colophon(upstream.address, "--attribution-settle", "upstream-restart") as colophon:
        with colophon.connect() as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            connection.recv(65536)
            place(colophon.pointer, manifest("m2"))
            colophon.event("activation", 2)
            colophon.get("/").assert_stamped("m2", "mixed")
            for connection in upstream.connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            wait_until(lambda: colophon.ask("/v1/status")[1]["upstream_connections"] == 0, "the pool is empty")
            colophon.get("/").assert_stamped("m2", "inferred")

    # A server that closes every connection is a new one each time, as far as anybody can see.
    def closing(connection, head, rest):
        ok(connection, head, rest, fields="Connection: close\r\n")
        return False
    with Upstream(closing) as upstream, Colophon(upstream.address, "--attribution-settle", "upstream-restart") as colophon:
        for number in range(2, 5):
            colophon.get("/")
            place(colophon.pointer, manifest(f"m{number}"))
            colophon.event("activation", number)
            wait_until(lambda: colophon.ask("/v1/status")[1]["variants"][0]["settled"], "it has settled")
            colophon.get("/").assert_stamped(f"m{number}", "inferred")


def test_an_activation_during_an_exchange_is_mixed():
    go = threading.Event()

    def behave(connection, head, rest):
        assert go.wait(PATIENCE)
        return ok(connection, head, rest)
    with Upstream(behave) as upstream, Colophon(upstream.address, "--attribution-settle", "none") as colophon:
        with colophon.connect() as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            wait_until(lambda: upstream.heads, "the request is with the upstream")
            place(colophon.pointer, manifest("m2"))
            colophon.event("activation", 2)
            go.set()
            Response(read_to_end(connection)).assert_stamped("m2", "mixed")
        colophon.get("/").assert_stamped("m2", "inferred")


def test_a_bad_manifest_changes_nothing_but_what_is_claimed():
    with Upstream(ok) as upstream, Colophon(upstream.address, "--poll", "100ms") as colophon:
        for number, (text, reason) in enumerate((("{\"model_version\": \"m2\"", "end"), ("", "empty"), (manifest("x" * 300), "longer"),
                             (manifest("m3", manifest_sha256="0" * 64), "known form")), 1):
            place(colophon.pointer, text)
            event = colophon.event("reload-failed", number)
            assert event["still_active"] == "m1", event
            colophon.get("/").assert_stamped("m1", "unknown")
            status = colophon.ask("/v1/status")[1]
            assert status["variants"][0]["problem"] and not status["variants"][0]["current"]
        assert status["failed_reloads"] >= 4
        ready, document = colophon.ask("/readyz")
        assert ready == 200 and "last good one" in document["checks"]["manifest default"]["detail"]
        os.unlink(colophon.pointer)
        colophon.event("reload-failed", 5)
        colophon.get("/").assert_stamped("m1", "unknown")
        os.mkfifo(colophon.pointer)
        colophon.event("reload-failed", 6)
        os.unlink(colophon.pointer)
        place(colophon.pointer, manifest("m1"))
        colophon.event("manifest-confirmed")
        # The server may have followed the pointer meanwhile, and comes back.
        colophon.get("/").assert_stamped("m1", "mixed")


def test_a_start_with_another_manifest_settles():
    with tempfile.TemporaryDirectory() as scratch, Upstream(ok) as upstream:
        for version, claim in (("m1", "inferred"), ("m2", "mixed"), ("m2", "mixed"), ("m1", "mixed")):
            with Colophon(upstream.address, directory=scratch, version=version) as colophon:
                colophon.get("/").assert_stamped(version, claim)
        with Colophon(upstream.address, "--attribution-settle", "100ms", directory=scratch, version="m1") as colophon:
            wait_until(lambda: colophon.get("/").one("X-Model-Attribution") == "inferred", "it has settled long since")


def test_what_failed_is_tried_again():
    with Upstream(ok) as upstream, Colophon(upstream.address, "--artifacts", "required", "--poll", "100ms") as colophon:
        digest = hashlib.sha256(b"late").hexdigest()
        place(colophon.pointer, manifest("m2", artifacts={"a": {"path": "late.npz", "sha256": digest}}))
        assert "late.npz" in colophon.event("reload-failed")["reason"]
        (colophon.path / "late.npz").write_bytes(b"late")
        colophon.event("activation", 2)
        colophon.get("/").assert_stamped("m2", "mixed")
    # Written in place, slowly, into the directory that is the pointer.
    with tempfile.TemporaryDirectory() as scratch, Upstream(ok) as upstream:
        os.mkdir(f"{scratch}/manifests")
        place(f"{scratch}/manifests/a.json", manifest("d1", trained_at="2025-01-01T00:00:00Z"))
        with Colophon(upstream.address, "--poll", "100ms", manifest_args=["--manifest", scratch]) as colophon:
            with open(f"{scratch}/manifests/b.json", "w") as file:
                text = manifest("d2", trained_at="2025-01-02T00:00:00Z")
                file.write(text[:40])
                file.flush()
                colophon.event("reload-failed")
                file.write(text[40:])
            colophon.event("activation", 2)
            assert version(colophon) == "d2"
            with open(f"{scratch}/manifests/b.json", "w") as file:
                file.write(manifest("d3", trained_at="2025-01-02T00:00:00Z"))
            wait_until(lambda: version(colophon) == "d3", "the file was rewritten in place")


def test_changed_artifacts_refuse_an_activation():
    with Upstream(ok) as upstream, Colophon(upstream.address) as colophon:
        (colophon.path / "a.npz").write_bytes(b"weights")
        wrong = {"a": {"path": "a.npz", "sha256": "0" * 64, "size_bytes": 7}}
        place(colophon.pointer, manifest("m2", artifacts=wrong))
        assert "a.npz" in colophon.event("reload-failed")["reason"]
        colophon.get("/").assert_stamped("m1", "unknown")
        right = {"a": {"path": "a.npz", "sha256": hashlib.sha256(b"weights").hexdigest(), "size_bytes": 7}}
        place(colophon.pointer, manifest("m2", artifacts=right))
        colophon.event("activation", 2)
        place(colophon.pointer, manifest("m3", artifacts={"b": {"path": "missing.npz", "sha256": "0" * 64}}))
        colophon.event("activation", 3)


def test_projected_volumes_and_directories():
    with tempfile.TemporaryDirectory() as scratch, Upstream(ok) as upstream:
        for name in ("1", "2"):
            os.mkdir(f"{scratch}/..{name}")
            place(f"{scratch}/..{name}/model_manifest.json", manifest("k" + name))
        os.symlink("..1", f"{scratch}/..data")
        os.symlink("..data/model_manifest.json", f"{scratch}/model_manifest.json")
        for pointer in (f"{scratch}/model_manifest.json", scratch):
            with Colophon(upstream.address, manifest_args=["--manifest", pointer]) as colophon:
                assert version(colophon) == "k1"
                os.symlink("..2", f"{scratch}/..new")
                os.rename(f"{scratch}/..new", f"{scratch}/..data")
                colophon.event("activation", 2)
                assert version(colophon) == "k2"
                os.symlink("..1", f"{scratch}/..back")
                os.rename(f"{scratch}/..back", f"{scratch}/..data")
                colophon.event("activation", 3)
    with tempfile.TemporaryDirectory() as scratch, Upstream(ok) as upstream:
        os.mkdir(f"{scratch}/manifests")
        place(f"{scratch}/manifests/a.json", manifest("d1", trained_at="2025-01-01T00:00:00Z"))
        with Colophon(upstream.address, manifest_args=["--manifest", scratch]) as colophon:
            place(f"{scratch}/manifests/b.json", manifest("d2", trained_at="2025-01-02T00:00:00Z"))
            colophon.event("activation", 2)
            assert version(colophon) == "d2"


def test_history_is_written():
    with Upstream(ok) as upstream, Colophon(upstream.address) as colophon:
        place(colophon.pointer, manifest("m2"))
        colophon.event("activation", 2)
        place(colophon.pointer, manifest("m1"))
        colophon.event("activation", 3)
        rows = subprocess.run([COLOPHON, "history", "--json", "--data-dir", str(colophon.path / "data")], capture_output=True,
                              text=True, check=True, timeout=PATIENCE).stdout
        versions = re.findall(r'"model_version": ?"(\w+)"', rows)
        assert versions == ["m1", "m2", "m1"], rows
        # A response leads back to its manifest.
        headers = colophon.get("/").raw.split(b"\r\n\r\n")[0].decode()
        traced = subprocess.run([COLOPHON, "trace", "-", "--data-dir", str(colophon.path / "data")], input=headers,
                                capture_output=True, text=True, timeout=PATIENCE)
        assert traced.returncode == 0 and "m1" in traced.stdout, traced
    # Started again, the same manifest is no new activation, and has nothing to settle.
    with tempfile.TemporaryDirectory() as scratch, Upstream(ok) as upstream:
        for _ in range(2):
            with Colophon(upstream.address, directory=scratch) as colophon:
                colophon.get("/").assert_stamped("m1")
        rows = subprocess.run([COLOPHON, "history", "--json", "--data-dir", scratch + "/data"], capture_output=True, text=True,
                              check=True, timeout=PATIENCE).stdout
        assert len(re.findall("model_version", rows)) == 1, rows


def test_a_ledger_that_is_gone_refuses_an_activation():
    with Upstream(ok) as upstream, Colophon(upstream.address) as colophon:
        os.rename(colophon.path / "data", colophon.path / "moved")
        place(colophon.pointer, manifest("m2"))
        assert "removed or replaced" in colophon.event("reload-failed")["reason"]
        colophon.get("/").assert_stamped("m1", "unknown")
        os.rename(colophon.path / "moved", colophon.path / "data")
        colophon.process.send_signal(signal.SIGHUP)
        colophon.event("activation", 2)
        assert version(colophon) == "m2"


def test_an_access_log_at_its_limit_does_no_harm():
    with tempfile.TemporaryDirectory() as scratch, Upstream(ok) as upstream:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
        try:
            with Colophon(upstream.address, "--log-access", scratch + "/log") as colophon:
                with colophon.connect() as connection:
                    stream = connection.makefile("rb")
                    for _ in range(4000):
                        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                        while stream.readline() != b"\r\n":
                            pass
                        assert stream.read(4) == b"fine"
                assert colophon.event("access-log-failed")["lines_lost"] > 0
                for line in Path(scratch, "log").read_text().splitlines()[:-1]:
                    assert line.count("time=") == 1 and line.endswith("ended=ok"), line
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def test_signals_reload():
    with Upstream(ok) as upstream, Colophon(upstream.address, "--poll", "1h") as colophon:
        for number in range(2, 8):
            place(colophon.pointer, manifest(f"m{number}"))
            colophon.process.send_signal(signal.SIGHUP)
            colophon.event("activation", number)
        assert version(colophon) == "m7"


def test_a_hundred_activations_a_second_under_load():
    with Upstream(ok) as upstream, Colophon(upstream.address, "--attribution-settle", "none") as colophon:
        stop = threading.Event()
        failures, counts, seen = [], [], []

        def load():
            count = 0
            try:
                with colophon.connect() as connection:
                    stream = connection.makefile("rb")
                    while not stop.is_set():
                        asked = time.time()
                        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                        line = stream.readline()
                        assert line == b"HTTP/1.1 200 OK\r\n", line
                        fields = {}
                        while (line := stream.readline()) != b"\r\n":
                            name, _, value = line.decode().strip().partition(": ")
                            assert name not in fields or name == "Via", f"{name} twice"
                            fields[name] = value
                        assert stream.read(4) == b"fine"
                        stamped = fields["X-Model-Version"]
                        seen.append((asked, time.time(), stamped))
                        assert fields["X-Data-Version"] == "ds-" + stamped, fields
                        assert fields["X-Model-Attribution"] in ("inferred", "mixed", "unknown"), fields
                        count += 1
            except Exception as error:  # noqa: BLE001: reported below
                failures.append(repr(error))
            counts.append(count)
        threads = [threading.Thread(target=load) for _ in range(8)]
        for thread in threads:
            thread.start()
        activations = 300
        for number in range(2, activations + 2):
            place(colophon.pointer, manifest(f"m{number}"))
            if number % 2:
                # Some are overtaken by the next before they are read, and not more than half of them.
                colophon.event("activation", 1 + number // 2)
            else:
                time.sleep(0.005)
        wait_until(lambda: colophon.events("activation")[-1]["model_version"] == f"m{activations + 1}", "the last one is live")
        wait_until(lambda: len(seen) > 500 or failures, "five hundred answers", 10 * PATIENCE)
        stop.set()
        for thread in threads:
            thread.join()
        assert not failures, failures
        assert sum(counts) == len(seen)
        assert not colophon.events("reload-failed")
        # Each was live at some time between question and answer: from when the ledger says until the next one was told of.
        rows = colophon.ask("/v1/history?limit=1000")[1]["activations"]
        since = {row["model_version"]: datetime.fromisoformat(row["from"]).timestamp() for row in rows}
        order = [event["model_version"] for event in colophon.events("activation")]
        told = {event["model_version"]: datetime.fromisoformat(event["time"]).timestamp() for event in colophon.events("activation")}
        until = {version: told[following] for version, following in zip(order, order[1:])}
        for asked, answered, version in seen:
            # A worker that was held up within a turn finishes that with what was live when the turn began.
            assert since[version] <= answered and asked <= until.get(version, asked) + 0.5, (version, asked, answered, since[version], until.get(version))


def test_draining_finishes_what_was_begun():
    go = threading.Event()

    def behave(connection, head, rest):
        if "/slow" in head:
            assert go.wait(PATIENCE)
        return ok(connection, head, rest)
    with Upstream(behave) as upstream, Colophon(upstream.address) as colophon:
        with colophon.connect() as slow, colophon.connect() as idle, colophon.connect() as quick:
            idle.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert idle.recv(65536)
            slow.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_until(lambda: any("/slow" in head for head in upstream.heads), "the slow request is with the upstream")
            # Who has begun is waited for, however slow everything is.
            quick.sendall(b"GET / HTTP/1.1\r\n")
            colophon.terminate()
            colophon.event("drain")
            assert colophon.ask("/readyz")[0] == 503
            # A connection that was open is still served, and told that it is the last time.
            quick.sendall(b"Host: a\r\n\r\n")
            last = Response(read_to_end(quick))
            last.assert_stamped("m1")
            assert last.one("Connection") == "close"
            assert read_to_end(idle) == b""
            try:
                colophon.connect().close()
                raise AssertionError("it still listens")
            except ConnectionRefusedError:
                pass
            assert colophon.process.poll() is None
            go.set()
            Response(read_to_end(slow)).assert_stamped("m1")
        assert colophon.process.wait(PATIENCE) == 0
        stop = colophon.events("stop")[0]
        assert stop["requests"] == 3 and stop["cut"] == 0, stop


def test_draining_serves_what_was_sent_ahead():
    go = threading.Event()

    def behave(connection, head, rest):
        assert go.wait(PATIENCE)
        return ok(connection, head, rest)
    with Upstream(behave) as upstream, Colophon(upstream.address) as colophon, colophon.connect() as connection:
        connection.sendall(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_until(lambda: upstream.heads, "the first is with the upstream")
        colophon.terminate()
        colophon.event("drain")
        go.set()
        data = read_to_end(connection)
        assert data.count(b"HTTP/1.1 200") == 2 and data.count(b"Connection: close") == 1
        assert colophon.process.wait(PATIENCE) == 0


def test_draining_ends_in_time_or_when_asked_twice():
    def behave(connection, head, rest):
        connection.recv(1)
        return False
    for args, signals in ((["--timeouts-drain", "300ms"], 1), ([], 2)):
        with tempfile.TemporaryDirectory() as scratch, Upstream(behave) as upstream, \
                Colophon(upstream.address, "--log-access", scratch + "/log", *args) as colophon, colophon.connect() as slow:
            slow.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_until(lambda: upstream.heads, "the request is with the upstream")
            colophon.terminate()
            colophon.event("drain")

            def ended():
                # A second signal right after the first is taken for its echo: so it is sent until it counts.
                if signals > 1:
                    colophon.terminate()
                return colophon.process.poll() is not None
            wait_until(ended, "it ends")
            assert colophon.events("stop")[0]["cut"] == 1
            assert Path(scratch, "log").read_text().endswith(" ended=sidecar\n")
            assert colophon.process.returncode == 0


def test_too_many_connections_are_told():
    with Upstream(ok) as upstream, Colophon(upstream.address, "--limits-connections", "3") as colophon:
        held = [colophon.connect() for _ in range(3)]
        for connection in held:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        with colophon.connect() as fourth:
            response = Response(read_to_end(fourth))
            response.assert_ours(503, "sidecar")
            assert response.one("Retry-After") == "1"
        for connection in held:
            connection.close()
        wait_until(lambda: colophon.ask("/v1/status")[1]["connections"] == 0, "they are gone")
        colophon.get("/").assert_stamped("m1")
        assert colophon.totals()["shed"] == 1


def test_ten_thousand_idle_connections_cost_little():

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit[1], limit[1]))
    count = min(10_000, limit[1] // 2 - 400)
    with Upstream(ok) as upstream, Colophon(upstream.address, "--limits-connections", str(count + 10), "--timeouts-request-head", "300s") as colophon:
        colophon.get("/")
        before = colophon.memory()
        connections = []
        for number in range(count):
            connection = colophon.connect()
            if number % 10 == 0:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert connection.recv(65536).startswith(b"HTTP/1.1 200")
            connections.append(connection)
        wait_until(lambda: colophon.ask("/v1/status")[1]["connections"] == count, "all are open")
        each = (colophon.memory() - before) * 1024 / count
        assert each < 1024, f"{each} bytes for each of {count}"
        colophon.get("/").assert_stamped("m1")
        for connection in connections:
            connection.close()
        wait_until(lambda: colophon.ask("/v1/status")[1]["connections"] == 0, "all are gone")


def test_two_gibibytes_pass_with_flat_memory():
    total, block = 2 << 30, b"x" * (1 << 20)

    def behave(connection, head, rest):
        if head.startswith("POST"):
            count = len(rest.data)
            buffer = bytearray(1 << 20)
            while count < total:
                got = connection.recv_into(buffer)
                if not got:
                    return False
                count += got
            rest.data = b""
            return ok(connection, "", rest, body=str(count).encode())
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        for _ in range(total // len(block)):
            connection.sendall(block)
        return True
    with Upstream(behave) as upstream, Colophon(upstream.address) as colophon:
        before = colophon.memory()
        with colophon.connect() as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            buffer, count = bytearray(1 << 20), 0
            while got := connection.recv_into(buffer):
                count += got
        assert count > total
        with colophon.connect() as connection:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % total)
            for _ in range(total // len(block)):
                connection.sendall(block)
            assert Response(read_to_end(connection)).rest == str(total).encode()
        assert colophon.memory() - before < 2048, f"{before} KiB became {colophon.memory()}"


def test_two_workers_share_the_work():
    with Upstream(ok) as upstream, Colophon(upstream.address, "--workers", "2") as colophon:
        for _ in range(200):
            colophon.get("/").assert_stamped("m1")
        workers = colophon.ask("/v1/status")[1]["workers"]
        assert sum(worker["requests"] for worker in workers) == 200
        assert all(worker["requests"] > 50 for worker in workers), workers


def start(*args, code):
    with tempfile.TemporaryDirectory() as scratch:
        place(scratch + "/m.json", manifest("m1"))
        ended = subprocess.run(
            [COLOPHON, "serve", *([] if "--data-dir" in args else ["--data-dir", scratch + "/d"]),
             *([] if "--admin-listen" in args else ["--admin-listen", "off"]), *[a.replace("SCRATCH", scratch) for a in args]],
            capture_output=True, text=True, timeout=PATIENCE)
        assert ended.returncode == code, (args, ended)
        last = ended.stderr.strip().splitlines()[-1]
        # What never served leaves no activation behind.
        history = subprocess.run([COLOPHON, "history", "--data-dir", scratch + "/d"], capture_output=True, text=True, timeout=PATIENCE)
        assert "m1" not in history.stdout, (args, history)
        assert last.startswith("colophon: "), ended.stderr
        return last


def test_wrong_starts_say_what_to_do():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        good = ["--manifest", "SCRATCH/m.json", "--listen", "127.0.0.1:0"]
        for args, code, words in (
                (["--manifest", "SCRATCH/m.json", "--listen", address], 1, "already in use"),
                (["--manifest", "SCRATCH/missing.json", "--listen", "127.0.0.1:0"], 1, "--manifest-optional"),
                ([*good, "--upstream", "no.such.host.invalid:80"], 1, "--upstream"),
                ([*good, "--upstream", "nonsense"], 2, "--upstream"), ([*good, "--upstream", "http://127.0.0.1:80"], 2, "scheme"),
                ([*good, "--data-dir", "/proc/none"], 1, "--data-dir"),
                ([*good, "--admin-listen", "0.0.0.0:0"], 2, "--admin-token"),
                ([*good, "--listen", "127.0.0.1:1x"], 2, "--listen"),
                ([*good, "--limits-connections", "0"], 2, "--limits-connections"),
                ([*good, "--limits-connections", "2", "--workers", "4"], 2, "--limits-connections"),
                ([*good, "--stamp-version", "X-V", "--route-header", "X-Model-Version"], 2, "--route-header"),
                ([*good, "--limits-connections", "900000"], 2, "--limits-connections"),
                ([*good, "--limits-head-bytes", "2KiB", "--limits-fields", "1000"], 2, "--limits-head-bytes"),
                ([*good, "--timeouts-idle", "soon"], 2, "--timeouts-idle"),
                ([*good, "--attribution-from", "magic"], 2, "--attribution-from"),
                ([*good, "--stamp-version", "Content-Length"], 2, "--stamp-version"),
                ([*good, "--stamp-version", "X-Data-Version"], 2, "x-data-version"),
                ([*good, "--upstream", "a=127.0.0.1:1", "--upstream", "b=127.0.0.1:2"], 2, "--route-header"),
                ([*good, "--route-default", "nobody"], 2, "--route-default"),
                ([*good, "--logs-to", "file:/no/such/directory/out"], 1, "/no/such/directory"),
                ([*good, "--logs-unix", "/no/such/directory/socket", "--logs-to", "file:SCRATCH/out"], 1, "/no/such/directory"),
                ([*good, "--workers", "many"], 2, "--workers"), ([*good, "--verify", "maybe"], 2, "--verify")):
            message = start(*args, code=code)
            assert words in message, (args, message)


def test_a_proxy_is_not_put_in_front_of_itself():
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    assert "itself" in start("--manifest", "SCRATCH/m.json", "--listen", address, "--upstream", address, code=2)


def test_a_stale_socket_is_taken_over_and_a_live_one_is_not():
    with tempfile.TemporaryDirectory() as scratch, Upstream(ok) as upstream:
        path = f"{scratch}/p.sock"
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(path)
        with Colophon(upstream.address, listen="unix:" + path):
            message = start("--manifest", "SCRATCH/m.json", "--listen", "unix:" + path, code=1)
            assert "already in use" in message
        Path(f"{scratch}/file").write_text("mine")
        start("--manifest", "SCRATCH/m.json", "--listen", f"unix:{scratch}/file", code=1)
        assert Path(f"{scratch}/file").read_text() == "mine"


def test_the_access_log():
    def behave(connection, head, rest):
        if "/cut" in head:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123")
            return False
        return "/none" not in head and ok(connection, head, rest)
    with tempfile.TemporaryDirectory() as scratch, Upstream(behave) as upstream, \
            Colophon(upstream.address, "--log-access", scratch + "/log") as colophon:
        colophon.get("/a/b?secret=1", "X-Request-Id: mine\r\nCookie: secret=1\r\nAuthorization: secret\r\n")
        colophon.get("/cut")
        colophon.get("/none")
        colophon.exchange(b"nonsense\r\n\r\n")
        wait_until(lambda: Path(scratch, "log").read_text().count("\n") == 4, "four lines are written")
        lines = Path(scratch, "log").read_text().splitlines()
        digest = colophon.ask("/v1/status")[1]["variants"][0]["manifest_sha256"][:12]
        stamped = f" manifest_sha256={digest} attribution=inferred"
        for line, (request, status, sent, words) in zip(lines, (
                ("GET /a/b", 200, 4, f" request_id=mine{stamped} ended=ok"), ("GET /cut", 200, 3, rf" request_id=\S+{stamped} ended=cut-by-upstream"),
                ("GET /none", 502, 0, r" request_id=\S+ attribution=unknown ended=upstream"), ("", 400, 0, " attribution=unknown ended=client"))):
            form = rf'time=20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z client=127\.0\.0\.1 request="{request}" status={status} bytes={sent} us=\d+{words}'
            assert re.fullmatch(form, line), (line, form)
        # A line leads back to the manifest.
        traced = subprocess.run([COLOPHON, "trace", lines[0], "--data-dir", str(colophon.path / "data")], capture_output=True, text=True,
                                timeout=PATIENCE)
        assert traced.returncode == 0 and "m1" in traced.stdout, traced
        assert "secret" not in "".join(lines)
        # Rotated, it goes on in the new file.
        os.rename(scratch + "/log", scratch + "/log.1")
        colophon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: os.path.exists(scratch + "/log"), "the log is reopened")
        colophon.get("/after")
        wait_until(lambda: "/after" in Path(scratch, "log").read_text(), "the line is in the new file")
    message = start("--manifest", "SCRATCH/m.json", "--listen", "127.0.0.1:0", "--log-access", "/no/such/place", code=1)
    assert "/no/such/place" in message


def test_the_admin_listener():
    with Upstream(ok) as upstream, Colophon(upstream.address, "--admin-token", "secret") as colophon:
        assert colophon.ask("/healthz") == (200, {"status": "ok"})
        assert colophon.ask("/v1/status")[0] == 401
        host, port = colophon.admin.rsplit(":", 1)

        def say(data):
            with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
                connection.sendall(data)
                return read_to_end(connection)
        for token, status in ((b"secret", 200), (b"secre", 401), (b"secrets", 401), (b"", 401)):
            answer = say(b"GET /v1/status HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + token + b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:100]
        for data, status in ((b"nonsense\r\n\r\n", 400), (b"GET / HTTP/1.1\r\n\r\n", 400), (b"POST /healthz HTTP/1.1\r\nHost: a\r\n\r\n", 405),
                             (b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 20000, 431)):
            answer = say(data)
            assert answer.startswith(b"HTTP/1.1 %d " % status) and b"application/problem+json" in answer, answer[:200]
        head = say(b"HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert head.endswith(b"\r\n\r\n") and b"Content-Length: " in head
        assert "secret" not in colophon.said()
        # However many come and say nothing, the others are answered.
        idle = [socket.create_connection((host, int(port))) for _ in range(100)]
        for _ in range(5):
            assert colophon.ask("/healthz")[0] == 200
        for connection in idle:
            connection.close()


def test_a_pointer_that_goes_promotes_nothing():
    with Upstream(ok) as upstream, tempfile.TemporaryDirectory(prefix="colophon-e2e-") as directory:
        here = Path(directory)
        (here / "manifests").mkdir()
        place(here / "manifests" / "other.json", manifest("other"))
        # Without a pointer the newest is meant.
        with Colophon(upstream.address, "--attribution-settle", "none", version=None, manifest_args=["--manifest", directory]) as colophon:
            colophon.get("/").assert_stamped("other")
            place(here / "model_manifest.json", manifest("m1"))
            wait_until(lambda: version(colophon) == "m1", "the pointer")
            (here / "model_manifest.json").unlink()
            wait_until(lambda: colophon.get("/").one("X-Model-Attribution") == "unknown", "the doubt")
            colophon.get("/").assert_stamped("m1", "unknown")
            assert "is gone: put it back" in colophon.ask("/v1/status")[1]["variants"][0]["problem"]
            place(here / "model_manifest.json", manifest("m1"))
            wait_until(lambda: colophon.get("/").one("X-Model-Attribution") == "inferred", "the pointer again")
            assert len(colophon.events("activation")) == 2


def test_what_cannot_be_told_apart_or_reached_is_said_at_the_start():
    with tempfile.TemporaryDirectory(prefix="colophon-e2e-") as directory, socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        server.close()
        for name in ("a", "b"):
            place(Path(directory, f"{name}.json"), manifest(name))
        arguments = ["--manifest", f"a={directory}/a.json", "--manifest", f"b={directory}/b.json"]
        with Colophon(f"127.0.0.1:{port}", version=None, manifest_args=arguments) as colophon:
            assert "nothing says which of a, b has answered" in colophon.event("configuration")["advice"]
            assert colophon.event("upstream-unreachable")["address"] == f"127.0.0.1:{port}"
        said = subprocess.run([COLOPHON, "config", "check", "--upstream", "127.0.0.1:1", *arguments], capture_output=True, text=True, timeout=PATIENCE)
        assert said.returncode == 0 and "nothing says which of a, b has answered" in said.stderr, said


def test_who_sends_in_small_pieces_is_told_at_once_that_they_have_come():
    """Such a server (Python's own is one) waits for that before it sends the next piece: for some 40 ms, where nothing else is sent to it."""
    calls = None

    def told():
        return calls.read_text().count("TCP_QUICKACK")

    def pieces(connection, head, rest):
        if "GET /whole" in head:
            return ok(connection, head, rest)
        for number, part in enumerate((b"HTTP/1.1 200 OK\r\n", b"Content-Length: 8\r\n\r\n", b"fi", b"ne", b"fine")):
            # As with Nagle's algorithm: not before the last piece is known to have come.
            wait_until(lambda: told() >= number, f"the acknowledgement of piece {number}")
            connection.sendall(part)
        return True

    with Upstream(pieces) as upstream, Colophon(upstream.address) as colophon:
        calls = colophon.path / "calls"
        tracer = subprocess.Popen(["strace", "-f", "-qq", "-e", "trace=setsockopt", "-o", str(calls), "-p", str(colophon.process.pid)])
        try:
            threads = Path(f"/proc/{colophon.process.pid}/task")
            wait_until(lambda: all(re.search(r"TracerPid:\s+[1-9]", (one / "status").read_text()) for one in threads.iterdir()), "the tracer")
            for _ in range(20):
                assert colophon.get("/whole").rest == b"fine"
            assert told() == 0, calls.read_text()
            assert colophon.get("/pieces").rest == b"finefine"
        finally:
            tracer.terminate()
            tracer.wait(PATIENCE)


if __name__ == "__main__":
    run(globals())
