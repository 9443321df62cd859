"""What a sidecar does before it serves: probes are answered while artifacts are hashed, signals count, and a restart is no activation."""

import contextlib
import json
import signal
import sqlite3
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request
from pathlib import Path

from harness import COLOPHON, ENDLESS, PATIENCE, Colophon, Upstream, manifest, ok, place, run, wait_until



class Held(Colophon):
    """Its start takes as long as the ledger is locked by somebody else; it is not waited for."""

    def __init__(self, upstream, directory, **more):
        self.other = sqlite3.connect(Path(directory) / "data" / "ledger.sqlite", isolation_level=None)
        self.other.execute("BEGIN IMMEDIATE")
        super().__init__(upstream.address, directory=directory, **more)

    def __enter__(self):
        self.admin = self.event("starting")["admin"]
        return self

    def __exit__(self, *what):
        self.other.close()
        super().__exit__(*what)


@contextlib.contextmanager
def served_before(upstream):
    """A directory in which another sidecar served m1."""
    with tempfile.TemporaryDirectory(prefix="colophon-starting-") as directory:
        with Colophon(upstream.address, directory=directory) as colophon:
            colophon.terminate()
            assert colophon.process.wait(PATIENCE) == 0
        yield directory


def test_probes_are_answered_before_it_serves_and_a_reload_waits():
    with Upstream(ok) as upstream, served_before(upstream) as directory, Held(upstream, directory, version="m2") as colophon:
        # Alive, and not ready: it says why.
        assert urllib.request.urlopen(f"http://{colophon.admin}/healthz", timeout=PATIENCE).status == 200
        status, report = colophon.ask("/readyz")
        assert status == 503 and "artifacts checked" in report["checks"]["serving"]["detail"], report
        # Nobody watches the pointer yet, and nobody takes lines.
        [m1] = colophon.ask("/v1/history")[1]["activations"]
        assert m1["model_version"] == "m1" and m1["doubts"], m1
        colophon.process.send_signal(signal.SIGHUP)
        assert not colophon.events("start")
        colophon.other.execute("ROLLBACK")
        colophon.event("start")
        colophon.event("reload")
        names = [json.loads(text)["event"] for text in colophon.said().splitlines()]
        assert names.index("start") < names.index("reload"), names
        wait_until(lambda: colophon.ask("/readyz")[0] == 200, "it to be ready")


def test_lines_that_are_posted_before_it_serves_are_refused_and_may_come_again():
    with Upstream(ok) as upstream, served_before(upstream) as directory, tempfile.TemporaryDirectory() as out:
        class Lines(Held):
            def __init__(self):
                self.other = sqlite3.connect(Path(directory) / "data" / "ledger.sqlite", isolation_level=None)
                self.other.execute("BEGIN IMMEDIATE")
                Colophon.__init__(self, upstream.address, "--logs-to", f"file:{out}/lines", version="m2", directory=directory)
        with Lines() as colophon:
            request = urllib.request.Request(f"http://{colophon.admin}/v1/logs", data=b"one\n", headers={"Content-Type": "application/x-ndjson"})
            try:
                urllib.request.urlopen(request, timeout=PATIENCE)
                raise AssertionError("it was taken")
            except urllib.error.HTTPError as error:
                assert error.code == 503 and error.headers["Retry-After"] == "5", (error.headers, error.read())
            colophon.other.execute("ROLLBACK")
            colophon.event("start")
            assert urllib.request.urlopen(request, timeout=PATIENCE).status == 204
            wait_until(lambda: Path(out, "lines").read_text() == "one\n", "the line, once")


def test_told_to_end_before_it_serves_it_ends_and_answers_who_waits():
    with Upstream(ok) as upstream, served_before(upstream) as directory, Held(upstream, directory, version="m2") as colophon:
        answers = []

        def order():
            request = urllib.request.Request(f"http://{colophon.admin}/v1/activations", data=b'{"manifest": "m1"}',
                                             headers={"Content-Type": "application/json"})
            try:
                answers.append(urllib.request.urlopen(request, timeout=PATIENCE).status)
            except urllib.error.HTTPError as error:
                answers.append(error.code)
        waiting = threading.Thread(target=order)
        waiting.start()
        wait_until(lambda: "\ncolophon_activation_orders_waiting 1\n" in
                   urllib.request.urlopen(f"http://{colophon.admin}/metrics", timeout=PATIENCE).read().decode(), "the order")
        colophon.terminate()
        assert colophon.process.wait(PATIENCE) == 0, colophon.said()
        waiting.join()
        assert answers == [503], answers
        assert not colophon.events("start") and colophon.event("stop")["effect"] == "it had not begun to serve"


def test_told_to_end_it_answers_whoever_waits_for_an_order():
    """Also for the one that is being carried out, however long its artifacts are hashed."""
    with Upstream(ok) as upstream, tempfile.TemporaryDirectory(prefix="colophon-starting-") as directory:
        # Nobody is looked at for a minute.
        with Colophon(upstream.address, "--timeouts-drain", "2s", "--poll", "60s", directory=directory) as colophon:
            answers = []
            with open(Path(directory, "big"), "wb") as out:
                out.truncate(ENDLESS)

            def order(name):
                request = urllib.request.Request(f"http://{colophon.admin}/v1/activations", data=json.dumps({"manifest": name}).encode(),
                                                 headers={"Content-Type": "application/json"})
                try:
                    answers.append((urllib.request.urlopen(request, timeout=PATIENCE).status, name))
                except urllib.error.HTTPError as error:
                    answers.append((error.code, json.load(error)["detail"]))
            for name in ("a1", "a2", "a3"):
                artifacts = {"big": {"path": "big", "sha256": "0" * 63 + name[1], "size_bytes": ENDLESS}}
                place(Path(directory, f"{name}.json"), manifest(name, artifacts=artifacts))
                added = subprocess.run([COLOPHON, "index", "add", f"{directory}/{name}.json", "--data-dir", f"{directory}/data"], capture_output=True, text=True)
                assert added.returncode == 0, added.stderr
            threads = [threading.Thread(target=order, args=(name,)) for name in ("a1", "a2", "a3")]
            for one in threads:
                one.start()
            wait_until(lambda: "\ncolophon_activation_orders_waiting 2\n" in
                       urllib.request.urlopen(f"http://{colophon.admin}/metrics", timeout=PATIENCE).read().decode(), "two to wait and one not to")
            # Whoever looks at lines from outside finds it doubted at once.
            with contextlib.closing(sqlite3.connect(Path(directory, "data", "ledger.sqlite"))) as ledger:
                wait_until(lambda: ledger.execute("SELECT count(*) FROM doubts").fetchone() == (1,), "the doubt")
            assert not answers, answers
            colophon.terminate()
            assert colophon.process.wait(PATIENCE) == 0, colophon.said()
            for one in threads:
                one.join()
            assert [code for code, _ in answers] == [503, 503, 503], answers
            assert sorted("has not got to the end of it" in detail for _, detail in answers) == [False, False, True], answers


def test_what_cannot_be_served_ends_it_as_before():
    with Upstream(ok) as upstream, tempfile.TemporaryDirectory(prefix="colophon-starting-") as directory:
        Path(directory, "wrong.bin").write_bytes(b"x")
        place(Path(directory, "model_manifest.json"), manifest("m1", artifacts={"a": {"path": "wrong.bin", "sha256": "0" * 64}}))
        colophon = Colophon(upstream.address, version=None, directory=directory)
        assert colophon.process.wait(PATIENCE) == 1, colophon.said()
        assert "wrong.bin" in colophon.said() and not colophon.events("start"), colophon.said()


def test_a_restart_is_no_activation():
    with Upstream(ok) as upstream, tempfile.TemporaryDirectory(prefix="colophon-starting-") as directory:
        for turn in range(3):
            with Colophon(upstream.address, directory=directory) as colophon:
                metrics = urllib.request.urlopen(f"http://{colophon.admin}/metrics", timeout=PATIENCE).read().decode()
                assert f'colophon_activations_total{{cause="start"}} {0 if turn else 1}' in metrics, metrics
                assert bool(colophon.events("activation")) == (turn == 0)
                if turn:
                    assert colophon.event("manifest-resumed")["model_version"] == "m1"
                colophon.get().assert_stamped("m1")
                history = colophon.ask("/v1/history")[1]["activations"]
                assert len(history) == 1, history
                colophon.terminate()
                assert colophon.process.wait(PATIENCE) == 0


if __name__ == "__main__":
    run(globals())
