"""Records of exchanges: a request id leads to what its response was stamped with, for lines that follow and for those who ask later."""

import json
import subprocess
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from harness import COLOPHON, PATIENCE, Colophon, Upstream, manifest, ok, place, run, wait_until


def trace(colophon, *args, text=None):
    result = subprocess.run(
        [COLOPHON, "trace", *args, "--json", "--data-dir", str(colophon.path / "data")], input=text, capture_output=True,
        text=True, timeout=PATIENCE)
    assert result.returncode in (0, 4), result.stderr
    return json.loads(result.stdout.splitlines()[0])


def kept(colophon, count):
    wait_until(lambda: colophon.ask("/v1/status")[1]["exchanges"]["kept"] >= count, f"{count} records")


def activate(colophon, version):
    place(colophon.pointer, manifest(version))
    wait_until(lambda: colophon.ask("/v1/status")[1]["variants"][0]["model_version"] == version, version)


def line(number, identifier, seconds=None):
    when = time.gmtime(time.time() if seconds is None else seconds)
    return (time.strftime("%Y-%m-%dT%H:%M:%SZ", when) + f",{number},recommendation request /recommend/{number}, status 200, "
            f"request_id={identifier}, result: a,b, 42 ms")


def test_ids_of_clients_lead_back_and_say_how_to_switch_that_on():
    with Upstream(ok) as upstream:
        with Colophon(upstream.address, "--exchanges-bytes", "32MiB", "--attribution-settle", "none") as colophon:
            first = colophon.get("/", "X-Request-Id: order-66\r\n").one("X-Model-Manifest")
            colophon.get("/", "X-Request-Id: twice\r\n")
            minted = colophon.get("/").one("X-Request-Id")
            activate(colophon, "m2")
            second = colophon.get("/", "X-Request-Id: after\r\n").one("X-Model-Manifest")
            colophon.get("/", "X-Request-Id: twice\r\n")
            kept(colophon, 5)
            for name, digest in [("order-66", first), (minted, first), ("after", second)]:
                answer = trace(colophon, name)
                assert answer["manifest_sha256"] == digest and answer["attribution"] == "inferred", answer
                assert answer["found_by"] == "record of the exchange" and "status 200" in answer["note"], answer
            answer = trace(colophon, line(7, "order-66"))
            assert answer["manifest_sha256"] == first, answer
            # Two exchanges, two manifests: neither is claimed.
            answer = trace(colophon, "twice")
            assert answer["attribution"] == "unknown" and "2 exchanges had the request id twice" in answer["reason"], answer
            reason = trace(colophon, '{"request_id": "never-seen"}')["reason"]
            assert "oldest records make room" in reason, reason
        with Colophon(upstream.address) as colophon:
            colophon.get("/", "X-Request-Id: order-66\r\n")
            reason = trace(colophon, '{"request_id": "order-66"}')["reason"]
            assert "--exchanges-bytes" in reason, reason
            assert not list((colophon.path / "data").glob("instances/*/exchanges/*"))


def test_records_survive_a_kill_and_are_gone_on_with():
    with Upstream(ok) as upstream:
        with Colophon(upstream.address, "--exchanges-bytes", "32MiB") as colophon:
            for number in range(500):
                colophon.get("/", f"X-Request-Id: killed-{number}\r\n")
            kept(colophon, 500)
            colophon.process.kill()
            colophon.process.wait()
            digest = None
            for number in (0, 250, 499):
                answer = trace(colophon, f"killed-{number}")
                digest = digest or answer["manifest_sha256"]
                assert answer["manifest_sha256"] == digest, answer
            with Colophon(upstream.address, "--exchanges-bytes", "32MiB", directory=colophon.path) as again:
                again.get("/", "X-Request-Id: later\r\n")
                kept(again, 501)
                # Of those this process has written one.
                page = urllib.request.urlopen(f"http://{again.admin}/metrics", timeout=PATIENCE).read().decode()
                assert 'colophon_exchange_records_total{result="kept"} 1\n' in page, page
                assert trace(again, "later")["manifest_sha256"] == digest
                assert trace(again, "killed-7")["manifest_sha256"] == digest


def test_two_sidecars_on_one_ledger_keep_their_own_and_trace_looks_through_both():
    with Upstream(ok) as upstream:
        with Colophon(upstream.address, "--exchanges-bytes", "32MiB", "--instance", "a") as one:
            with Colophon(upstream.address, "--exchanges-bytes", "32MiB", "--instance", "b", directory=one.path) as other:
                digest = one.get("/", "X-Request-Id: at-a\r\n").one("X-Model-Manifest")
                other.get("/", "X-Request-Id: at-b\r\n")
                kept(one, 1)
                kept(other, 1)
                for name in ("at-a", "at-b"):
                    assert trace(one, name)["manifest_sha256"] == digest


def test_lines_that_follow_get_the_manifest_of_their_exchange():
    with Upstream(ok) as upstream, tempfile.TemporaryDirectory(prefix="colophon-e2e-") as directory:
        log, out = Path(directory, "server.log"), Path(directory, "enriched.log")
        with Colophon(upstream.address, "--attribution-settle", "none", "--logs-to", f"file:{out}",
                      "--logs-files", str(log)) as colophon:
            asked = time.time()
            first = colophon.get("/", "X-Request-Id: a-1\r\n").one("X-Model-Manifest")
            minted = colophon.get("/").one("X-Request-Id")
            activate(colophon, "m2")
            # Of each the time at which it was asked.
            asked_later = time.time()
            second = colophon.get("/", "X-Request-Id: b-2\r\n").one("X-Model-Manifest")
            assert first != second
            log.write_text("".join(line(n, name, at) + "\n" for n, (name, at) in enumerate([("a-1", asked), ("b-2", asked_later), (minted, asked)]))
                           + line(3, "unheard-of", 0) + "\n" + line(4, "a-1", 0) + "\n")
            wait_until(lambda: out.exists() and out.read_text().count("\n") == 5, "the lines")
            lines = out.read_text().splitlines()
            for text, digest in zip(lines, [first, second, first]):
                assert f"manifest_sha256={digest}" in text, text
            # Of a time before anything was live: an id that nobody knows, and one that was used for something else later.
            for text in lines[3:]:
                assert "attribution=unknown" in text and "manifest_sha256" not in text, text


def test_a_line_of_a_retry_that_has_not_ended_is_not_taken_for_the_first_try():
    release = threading.Event()

    def slow(connection, head, rest):
        if "/slow" not in str(head):
            return ok(connection, head, rest)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
        release.wait(PATIENCE)
        connection.sendall(b"b")
        return True

    with Upstream(slow) as upstream, tempfile.TemporaryDirectory(prefix="colophon-e2e-") as directory:
        log, out = Path(directory, "server.log"), Path(directory, "enriched.log")
        with Colophon(upstream.address, "--attribution-settle", "none", "--attribution-skew", "0s", "--logs-to", f"file:{out}",
                      "--logs-files", str(log)) as colophon:
            first = colophon.get("/", "X-Request-Id: retry-1\r\n").one("X-Model-Manifest")
            activate(colophon, "m2")
            with colophon.connect() as connection:
                connection.sendall(b"GET /slow HTTP/1.1\r\nHost: m\r\nX-Request-Id: retry-1\r\n\r\n")
                head = connection.recv(1 << 16)
                assert b"X-Model-Version: m2" in head, head
                # A time well behind the first try, while the second has not ended.
                log.write_text(line(1, "retry-1", time.time() + 100) + "\n")
                wait_until(lambda: out.exists() and out.read_text().count("\n") == 1, "the line")
                release.set()
            text = out.read_text()
            assert "model_version=m2" in text and first not in text, text


def test_an_activation_within_a_response_makes_its_record_mixed():
    release = threading.Event()

    def slow(connection, head, rest):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
        release.wait(PATIENCE)
        connection.sendall(b"b")
        return True

    with Upstream(slow) as upstream:
        with Colophon(upstream.address, "--exchanges-bytes", "32MiB", "--attribution-settle", "none") as colophon:
            with colophon.connect() as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: m\r\nX-Request-Id: long\r\n\r\n")
                head = connection.recv(1 << 16)
                assert b"X-Model-Attribution: inferred" in head, head
                activate(colophon, "m2")
                release.set()
                wait_until(lambda: colophon.ask("/v1/status")[1]["exchanges"]["kept"] == 1, "its record")
            answer = trace(colophon, "long")
            assert answer["attribution"] == "mixed" and answer["model_version"] == "m1", answer


def test_a_size_that_cannot_be_is_refused():
    for size in ["1MiB", "soon", "-1"]:
        result = subprocess.run([COLOPHON, "serve", "--exchanges-bytes", size], capture_output=True, text=True, timeout=PATIENCE)
        assert result.returncode == 2 and "at least 32MiB" in result.stderr, result.stderr


if __name__ == "__main__":
    run(globals())
