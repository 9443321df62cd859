"""What a sidecar does before it serves: probes are answered while artifacts are hashed, signals count, and a restart is no activation."""

import hashlib
import signal
import tempfile
import urllib.request
from pathlib import Path

from harness import PATIENCE, Colophon, Upstream, manifest, ok, place, run, wait_until

LARGE = 3 << 30


def digest_of_nothing(size):
    hashed, piece = hashlib.sha256(), bytes(1 << 20)
    for _ in range(size >> 20):
        hashed.update(piece)
    return hashed.hexdigest()


class Slow(Colophon):
    """Its manifest names a file that takes a second or more to hash; it is not waited for."""

    def __init__(self, upstream, sha256):
        self.place = tempfile.TemporaryDirectory(prefix="colophon-starting-")
        at = Path(self.place.name)
        with open(at / "large.bin", "wb") as file:
            file.truncate(LARGE)
        place(at / "model_manifest.json", manifest("m1", artifacts={"a": {"path": "large.bin", "sha256": sha256}}))
        super().__init__(upstream.address, "--artifacts", "required", version=None, directory=self.place.name)

    def __enter__(self):
        self.admin = self.event("starting")["admin"]
        return self

    def __exit__(self, *what):
        super().__exit__(*what)
        self.place.cleanup()


def test_probes_are_answered_while_artifacts_are_hashed_and_a_reload_waits():
    with Upstream(ok) as upstream, Slow(upstream, digest_of_nothing(LARGE)) as colophon:
        # Alive, and not ready: it says why.
        assert urllib.request.urlopen(f"http://{colophon.admin}/healthz", timeout=PATIENCE).status == 200
        status, report = colophon.ask("/readyz")
        assert not colophon.events("start"), "it was too fast for this test"
        assert status == 503 and not report["checks"]["start"]["ok"], report
        colophon.process.send_signal(signal.SIGHUP)
        colophon.event("start")
        assert colophon.event("reload")["cause"] == "signal"
        wait_until(lambda: colophon.ask("/readyz")[0] == 200, "it to be ready")
        assert "start" not in colophon.ask("/readyz")[1]["checks"]


def test_told_to_end_while_it_hashes_it_ends():
    with Upstream(ok) as upstream, Slow(upstream, "0" * 64) as colophon:
        colophon.terminate()
        assert colophon.process.wait(PATIENCE) == 0, colophon.said()
        assert not colophon.events("start") and colophon.event("stop")["effect"] == "it had not begun to serve"


def test_what_cannot_be_served_ends_it_as_before():
    with Upstream(ok) as upstream, Slow(upstream, "0" * 64) as colophon:
        assert colophon.process.wait(PATIENCE) == 1, colophon.said()
        assert "large.bin" in colophon.said() and not colophon.events("start"), colophon.said()


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
