"""What was doubted stays doubted: lines of a time in which nobody knew what the model server spoke with claim nothing, whoever looks at them
later: another process, after kills and restarts, or `trace` and `enrich` from the ledger."""

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from harness import COLOPHON, ENDLESS, PATIENCE, Colophon, Upstream, large, manifest, notes, ok, place, run, stopped, wait_until


def line(seconds):
    when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds * 1e6) % 1_000_000:06d}Z"
    return f"{when},7,recommendation request /recommend/7, status 200, result: a,b, 4 ms"


def enriched(colophon, *seconds):
    """What `enrich` says of lines of those times: version and attribution of each."""
    data = str(colophon.path / "data")
    result = subprocess.run([COLOPHON, "enrich", "--data-dir", data, "--attribution-settle", "none"], capture_output=True, text=True,
                            input="".join(line(at) + "\n" for at in seconds), timeout=PATIENCE)
    assert result.returncode == 0, result.stderr
    fields = [dict(part.split("=", 1) for part in text.split(", ") if "=" in part) for text in result.stdout.splitlines()]
    return [(one.get("model_version"), one.get("attribution", "inferred")) for one in fields]


def traced(colophon, seconds):
    result = subprocess.run([COLOPHON, "trace", line(seconds), "--json", "--data-dir", str(colophon.path / "data")], capture_output=True,
                            text=True, timeout=PATIENCE)
    assert result.returncode == 4, (result.returncode, result.stderr)
    return json.loads(result.stdout)


def doubts(colophon):
    with contextlib.closing(sqlite3.connect(colophon.path / "data" / "ledger.sqlite")) as database:
        return database.execute("SELECT variant, since / 1e6, until / 1e6, reason, instance FROM doubts ORDER BY id").fetchall()


def history(colophon, at):
    when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at * 1e6) % 1_000_000:06d}Z"
    result = subprocess.run([COLOPHON, "history", "--at", when, "--json", "--data-dir", str(colophon.path / "data")], capture_output=True,
                            text=True, timeout=PATIENCE)
    assert result.returncode == 0, result.stderr
    [activation] = json.loads(result.stdout)["activations"]
    return activation


def variant(colophon):
    return colophon.ask("/v1/status")[1]["variants"][0]


def later(seconds):
    """Clocks that differ by a second make what is near unsure: what is to be sure lies further away."""
    end = time.time() + seconds
    wait_until(lambda: time.time() > end, "the time")


# Whoever looks so late has a gap between two looks, in which anything may have happened: it is long enough for slow machines.
POLL = "500ms"


@contextlib.contextmanager
def serving(upstream, at, *args, version="m1"):
    settle = () if "--attribution-settle" in args else ("--attribution-settle", "none")
    with Colophon(upstream.address, *settle, "--poll", POLL, *args, version=version, directory=str(at)) as colophon:
        yield colophon


def two(upstream, at, *args):
    """A sidecar for two variants, a and b, each with a pointer of its own in `at`."""
    for name in ("a", "b"):
        if not (at / f"{name}.json").exists():
            place(at / f"{name}.json", manifest(f"{name}1"))
    pointers = ["--manifest", f"a={at / 'a.json'}", "--manifest", f"b={at / 'b.json'}", "--route-header", "X-Arm", "--route-default", "a"]
    return Colophon(f"a={upstream.address}", "--upstream", f"b={upstream.address}", "--attribution-settle", "none", "--poll", POLL, *args,
                    manifest_args=pointers, version=None, directory=str(at))


@contextlib.contextmanager
def locked(at):
    """While another process writes to the ledger."""
    with contextlib.closing(sqlite3.connect(at / "data" / "ledger.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")


@contextlib.contextmanager
def directory(parent=None):
    at = Path(tempfile.mkdtemp(prefix="colophon-doubted-", dir=parent))
    try:
        yield at
    finally:
        shutil.rmtree(at, ignore_errors=True)


def test_a_pointer_that_led_nowhere_for_a_while_leaves_a_doubt_that_outlasts_the_process():
    with Upstream(ok) as upstream, directory() as at:
        with serving(upstream, at) as colophon:
            later(1.2)
            sure = time.time()
            later(2.5)
            place(colophon.pointer, "rubbish")
            wait_until(lambda: not variant(colophon)["current"], "the doubt")
            wait_until(lambda: doubts(colophon), "the ledger to have it")
            broken = time.time()
            # It lasts, and so it is told while it does.
            assert enriched(colophon, sure, broken) == [("m1", "inferred"), ("m1", "unknown")]
            answer = traced(colophon, broken)
            assert answer["attribution"] == "unknown" and "nobody could tell" in answer["note"], answer
            colophon.process.kill()
            colophon.process.wait()
        killed = time.time()
        with serving(upstream, at, "--manifest-optional", version=None) as colophon:
            # Another process, and the pointer still leads nowhere: it is the same doubt.
            assert len(doubts(colophon)) == 1 and doubts(colophon)[0][2] is None, doubts(colophon)
            assert enriched(colophon, broken, killed) == [("m1", "unknown")] * 2
            place(colophon.pointer, manifest("m1"))
            wait_until(lambda: doubts(colophon)[0][2], "its end")
            mended = time.time()
            colophon.get("/").assert_stamped("m1")
            later(1.2)
            assert enriched(colophon, sure, broken, killed, time.time()) == [
                ("m1", "inferred"), ("m1", "unknown"), ("m1", "unknown"), ("m1", "inferred")]
            answer = traced(colophon, broken)
            assert history(colophon, broken)["doubts"][0]["reason"] == doubts(colophon)[0][3] and not history(colophon, sure)["doubts"]
            assert "until" in answer["note"] and "m1" == answer["model_version"], answer
            [(name, since, until, reason, instance)] = doubts(colophon)
            assert name == "default" and sure < since <= broken and killed < until <= mended, doubts(colophon)
            assert "model_manifest.json" in reason and instance == "default", reason


def watched(at):
    """Until when, by the latest note."""
    times = [0]
    for note in notes(at / "data"):
        with contextlib.suppress(FileNotFoundError):
            times.append(note.stat().st_mtime)
    return max(times)


def test_a_promotion_while_nobody_watched_is_doubted_from_when_somebody_last_did():
    with Upstream(ok) as upstream, directory() as at:
        with serving(upstream, at) as colophon:
            pointer = colophon.pointer
            later(1.2)
            before = time.time()
            later(1.2)
            # It says so while it watches, not only at an orderly end.
            wait_until(lambda: watched(at) > before + 1.2, "the note")
            colophon.process.kill()
        last = watched(at)
        later(1.2)
        between = time.time()
        # As whoever promotes does it: written beside it, and renamed; its contents may be older.
        new = pointer.with_name("new")
        new.write_text(manifest("m2"))
        os.utime(new, (1_700_000_000, 1_700_000_000))
        new.rename(pointer)
        swapped = time.time()
        later(1.2)
        after = time.time()
        with serving(upstream, at, version=None) as colophon:
            colophon.get("/").assert_stamped("m2")
            later(1.2)
            assert enriched(colophon, before, between, after, time.time()) == [
                ("m1", "inferred"), ("m1", "unknown"), ("m1", "unknown"), ("m2", "inferred")]
            assert "nobody watched" in traced(colophon, after)["note"], traced(colophon, after)
            [(_, since, until, _, _)] = doubts(colophon)
            assert abs(since - last) < 0.001 and until > after, (since, last, until)


def test_a_pointer_that_went_elsewhere_and_came_back_while_nobody_watched_is_doubted():
    with Upstream(ok) as upstream, directory() as at:
        with serving(upstream, at) as colophon:
            wait_until(lambda: watched(at), "the note")
            last = watched(at)
        later(1.2)
        place(colophon.pointer, manifest("m2"))
        later(1.2)
        meanwhile = time.time()
        place(colophon.pointer, manifest("m1"))
        with serving(upstream, at, version=None) as colophon:
            assert enriched(colophon, meanwhile) == [("m1", "unknown")]
            found = doubts(colophon)
            assert len(found) == 1 and found[0][1] >= last and found[0][2] > meanwhile, (found, last)
            # Clocks of file systems are coarse: what was placed just now may have been placed a little later.
            wait_until(lambda: watched(at) > found[0][2] + 0.2, "the note")
        # Nothing has changed since: nothing is doubted.
        with serving(upstream, at, version=None) as colophon:
            assert doubts(colophon) == found, (doubts(colophon), found)


def test_there_and_back_while_it_stood_still_is_doubted():
    with Upstream(ok) as upstream, directory() as at:
        with serving(upstream, at) as colophon:
            later(1.2)
            with stopped(colophon.process):
                place(colophon.pointer, manifest("m2"))
                later(1.2)
                meanwhile = time.time()
                later(1.2)
                place(colophon.pointer, manifest("m1"))
            wait_until(lambda: doubts(colophon), "the doubt")
            assert enriched(colophon, meanwhile) == [("m1", "unknown")]


def test_what_went_there_and_back_while_others_were_hashed_leaves_nothing_unsure():
    """A directory that is renamed and named back leaves nothing that looks other than before."""
    with Upstream(ok) as upstream, directory() as at:
        for version in ("b1", "b2"):
            (at / version).mkdir()
            place(at / version / "b.json", manifest(version))
        (at / "b1").rename(at / "live")
        place(at / "a.json", manifest("a1"))
        size, digest = large(at / "big")
        pointers = ["--manifest", f"a={at / 'a.json'}", "--manifest", f"b={at / 'live' / 'b.json'}", "--route-header", "X-Arm", "--route-default", "a"]
        with Colophon(f"a={upstream.address}", "--upstream", f"b={upstream.address}", "--attribution-settle", "none", "--poll", "100ms",
                      manifest_args=pointers, version=None, directory=str(at)) as colophon:
            def of(name):
                return next(v for v in colophon.ask("/v1/status")[1]["variants"] if v["variant"] == name)
            later(1.2)
            place(at / "a.json", manifest("a2", artifacts={"big": {"path": "big", "sha256": digest, "size_bytes": size}}))
            wait_until(lambda: not of("a")["current"], "a to be looked at")
            hashing = time.time()
            # Who looks at lines meanwhile finds it in the ledger, though nothing has come of it yet.
            wait_until(lambda: any(row[0] == "a" for row in doubts(colophon)) or of("a")["current"], "a doubt on record")
            assert not of("a")["current"], "it was hashed too fast for this test"
            (at / "live").rename(at / "b1")
            (at / "b2").rename(at / "live")
            wait_until(lambda: not of("b")["current"], "b to be seen elsewhere")
            (at / "live").rename(at / "b2")
            (at / "b1").rename(at / "live")
            wait_until(lambda: of("a")["model_version"] == "a2" and of("a")["current"] and of("b")["current"], "everything to be sure again", 10 * PATIENCE)
            assert of("b")["model_version"] == "b1", of("b")
            assert any(row[0] == "a" and row[1] <= hashing <= row[2] for row in doubts(colophon)), doubts(colophon)


def unseen(at, **manifests):
    """Directories by name, each with the text of a `model_manifest.json`, below one in which nobody is told of renames. The first is called
    `live`: that path is the pointer."""
    deep = at / "deep"
    for name, text in manifests.items():
        (deep / name).mkdir(parents=True)
        place(deep / name / "model_manifest.json", text)
    (deep / next(iter(manifests))).rename(deep / "live")
    return deep, deep / "live" / "model_manifest.json"


def test_a_pointer_that_changes_while_nobody_reads_it_is_seen_by_whoever_reads_lines():
    """However late the change is looked into: what is written then claims nothing of before."""
    # In memory: file systems of other machines are not looked at for each line.
    with Upstream(ok) as upstream, directory("/dev/shm" if os.path.isdir("/dev/shm") else None) as at:
        place(at / "a.json", manifest("a1"))
        deep, pointer = unseen(at, b1=manifest("b1"), b2=manifest("b2"))
        pointers = ["--manifest", f"a={at / 'a.json'}", "--manifest", f"b={pointer}", "--route-header", "X-Arm", "--route-default", "a"]
        out = at / "out"
        # The loader looks once a minute, and is told nothing.
        with Colophon(f"a={upstream.address}", "--upstream", f"b={upstream.address}", "--attribution-settle", "none", "--poll", "60s",
                      "--logs-to", f"file:{out}", "--logs-http", "true", "--logs-match", "all", manifest_args=pointers, version=None, directory=str(at)) as colophon:
            def post(at):
                return posted(colophon, out, "b", at)

            def of(name):
                return next(v for v in colophon.ask("/v1/status")[1]["variants"] if v["variant"] == name)
            later(1.2)
            assert (got := post(time.time())) == ("b1", "inferred"), (got, out.read_text())
            before = time.time()
            later(1.2)
            # What is doubted then begins when somebody last saw it unchanged.
            assert post(time.time()) == ("b1", "inferred")
            (deep / "live").rename(deep / "b1")
            (deep / "b2").rename(deep / "live")
            assert post(time.time()) == ("b1", "unknown")
            assert (got := post(before)) == ("b1", "inferred"), (got, before, out.read_text())
            assert of("b")["model_version"] == "b1" and of("b")["current"], of("b")
            # There and back: nothing looks other than before, and nothing stays in doubt for that.
            (deep / "live").rename(deep / "b2")
            (deep / "b1").rename(deep / "live")
            later(1.2)
            assert post(time.time()) == ("b1", "inferred")
            (deep / "live").rename(deep / "b1")
            (deep / "b2").rename(deep / "live")
            urllib.request.urlopen(urllib.request.Request(
                f"http://{colophon.admin}/v1/reload", data=b"{}", headers={"Content-Type": "application/json"}), timeout=PATIENCE).close()
            wait_until(lambda: of("b")["model_version"] == "b2" and of("b")["current"], "b2")
            later(1.2)
            assert post(time.time()) == ("b2", "inferred")


def posted(colophon, out, variant, at):
    """What is said of a line of that time: version and attribution."""
    when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at * 1e6) % 1_000_000:06d}Z"
    before = out.read_text().count("\n") if out.exists() else 0
    request = urllib.request.Request(
        f"http://{colophon.admin}/v1/logs", data=json.dumps({"time": when, "variant": variant, "user_id": "7", "items": ["1"]}).encode() + b"\n",
        headers={"Content-Type": "application/x-ndjson"})
    urllib.request.urlopen(request, timeout=PATIENCE).close()
    wait_until(lambda: out.exists() and out.read_text().count("\n") > before, "the line")
    one = json.loads(out.read_text().splitlines()[-1])
    return one.get("model_version"), one.get("attribution", "inferred")


def test_what_went_to_the_same_and_back_while_others_were_hashed_is_not_doubted_for_ever():
    with Upstream(ok) as upstream, directory("/dev/shm" if os.path.isdir("/dev/shm") else None) as at:
        place(at / "a.json", manifest("a1"))
        deep, pointer = unseen(at, one=manifest("b1"), other=manifest("b1"))
        with open(at / "big", "wb") as big:
            big.truncate(ENDLESS)
        pointers = ["--manifest", f"a={at / 'a.json'}", "--manifest", f"b={pointer}", "--route-header", "X-Arm", "--route-default", "a"]
        out = at / "out"
        with Colophon(f"a={upstream.address}", "--upstream", f"b={upstream.address}", "--attribution-settle", "none", "--poll", "100ms",
                      "--logs-to", f"file:{out}", "--logs-http", "true", "--logs-match", "all", manifest_args=pointers, version=None, directory=str(at)) as colophon:
            # What has just changed is read once more two seconds later.
            later(2.5)
            # It is never done with that: what it finds at the end is not what it should be, either.
            place(at / "a.json", manifest("a2", artifacts={"big": {"path": "big", "sha256": "0" * 64, "size_bytes": ENDLESS}}))
            wait_until(lambda: is_hashing(colophon), "it to hash")
            (deep / "live").rename(deep / "one")
            (deep / "other").rename(deep / "live")
            # Until it was looked at, and found to be the same.
            wait_until(lambda: posted(colophon, out, "b", time.time()) == ("b1", "inferred"), "it to be looked at")
            (deep / "live").rename(deep / "other")
            (deep / "one").rename(deep / "live")
            wait_until(lambda: posted(colophon, out, "b", time.time()) == ("b1", "inferred"), "it to be looked at again")
            assert is_hashing(colophon), "it was hashed too fast for this test"


def is_hashing(colophon):
    names = []
    for task in Path(f"/proc/{colophon.process.pid}/task").iterdir():
        with contextlib.suppress(OSError):
            names.append((task / "comm").read_text())
    return "hashing\n" in names


def test_looking_at_artifacts_again_puts_nothing_in_doubt_but_what_moves_meanwhile():
    """However long the hashing takes: the pointer is watched."""
    with Upstream(ok) as upstream, directory() as at:
        size, digest = large(at / "big")
        m1 = manifest("m1", artifacts={"big": {"path": "big", "sha256": digest, "size_bytes": size}})
        place(at / "model_manifest.json", m1)

        def configure(artifacts):
            place(at / "colophon.yaml", f"artifacts: {artifacts}\npoll: {POLL}\nattribution: {{settle: none}}\n")
        configure("off")
        with Colophon(upstream.address, "--config", str(at / "colophon.yaml"), version=None, directory=str(at)) as colophon:
            def reloaded():
                request = urllib.request.Request(
                    f"http://{colophon.admin}/v1/reload", data=b"{}", headers={"Content-Type": "application/json"})
                return json.load(urllib.request.urlopen(request, timeout=10 * PATIENCE))
            configure("required")
            began = time.monotonic()
            assert reloaded()["changed"] == ["artifacts"]
            assert time.monotonic() - began > 0.3, "it was hashed too fast for this test"
            colophon.get().assert_stamped("m1")
            assert not doubts(colophon), doubts(colophon)
            # The file is hashed anew, and while it is the pointer moves on.
            os.utime(at / "big")
            configure("off")
            reloaded()
            configure("required")
            asking = threading.Thread(target=reloaded)
            asking.start()
            wait_until(lambda: is_hashing(colophon), "it to hash")
            place(at / "model_manifest.json", manifest("m2"))

            def live():
                return colophon.ask("/v1/status")[1]["variants"][0]
            wait_until(lambda: not live()["current"], "that to be seen")
            assert asking.is_alive() and live()["model_version"] == "m1", "it was hashed too fast for this test"
            asking.join()
            wait_until(lambda: live()["model_version"] == "m2" and live()["current"], "m2", 10 * PATIENCE)
            colophon.get().assert_stamped("m2")


def test_what_was_doubted_settles_before_it_is_believed():
    with Upstream(ok) as upstream, directory() as at:
        args = ("--attribution-settle", "600s")
        with serving(upstream, at, *args) as colophon:
            colophon.get("/").assert_stamped("m1")
            place(colophon.pointer, "rubbish")
            wait_until(lambda: doubts(colophon), "the doubt")
            colophon.process.kill()
        place(colophon.pointer, manifest("m1"))
        # It is the first one that was ever active; and yet the server may speak with what its pointer named meanwhile.
        with serving(upstream, at, *args, version=None) as colophon:
            colophon.get("/").assert_stamped("m1", "mixed")
            assert len(doubts(colophon)) == 1 and doubts(colophon)[0][2], doubts(colophon)
        # A pointer that was only written anew is no reason to doubt what is answered from now on.
        shutil.rmtree(at / "data")
        for _ in range(2):
            with serving(upstream, at, *args) as colophon:
                colophon.get("/").assert_stamped("m1")


def test_another_variant_and_another_ledger_were_not_watched():
    with Upstream(ok) as upstream, directory() as at:
        for name in ("a", "b"):
            place(at / f"{name}.json", manifest(f"{name}1"))

        def served(*names):
            pointers = [word for name in names for word in ("--manifest", f"{name}={at / name}.json")]
            ups = [word for name in names[1:] for word in ("--upstream", f"{name}={upstream.address}")]
            more = ["--route-header", "X-Arm", "--route-default", "a"] if len(names) > 1 else []
            return Colophon(f"a={upstream.address}", *ups, *more, "--attribution-settle", "none", "--poll", POLL, manifest_args=pointers,
                            version=None, directory=str(at))
        with served("a", "b"):
            later(1.2)
        ended = time.time()
        with served("a"):
            later(1.2)
            place(at / "b.json", manifest("b2"))
            later(1.2)
        with served("a", "b") as colophon:
            [row] = [row for row in doubts(colophon) if row[0] == "b"]
            assert row[1] <= ended and row[2] >= ended + 2.4, (row, ended)


def test_what_another_sidecar_has_activated_for_the_same_variant_is_not_what_lines_here_came_from():
    with Upstream(ok) as upstream, directory() as at:
        out = at / "out"
        place(at / "other.json", manifest("m9"))
        with serving(upstream, at, "--logs-to", f"file:{out}", "--logs-http", "true", "--logs-match", "all") as colophon:
            later(1.2)
            assert posted(colophon, out, "default", time.time()) == ("m1", "inferred")
            other = ["--manifest", str(at / "other.json"), "--instance", "other"]
            with Colophon(upstream.address, "--attribution-settle", "none", "--poll", POLL, manifest_args=other, version=None, directory=str(at)) as second:
                second.get("/").assert_stamped("m9")
                later(1.2)
                # Responses say what this one has; the ledger alone says what the other one has, and that is not for this one's lines.
                colophon.get("/").assert_stamped("m1")
                version, word = posted(colophon, out, "default", time.time())
                assert word == "unknown", (version, word)


def test_a_doubt_that_an_order_finds_and_ends_in_one_is_on_record():
    with Upstream(ok) as upstream, directory() as at:
        deep, pointer = unseen(at, one=manifest("m1"), other="rubbish")
        # Nobody is told of what is renamed there, and nobody looks for a minute but whoever carries the order out.
        with Colophon(upstream.address, "--attribution-settle", "none", "--poll", "60s", manifest_args=["--manifest", str(pointer)], version=None, directory=str(at)) as colophon:
            # What has just changed is read once more two seconds later.
            later(2.5)
            (deep / "live").rename(deep / "one")
            (deep / "other").rename(deep / "live")
            meanwhile = time.time()
            request = urllib.request.Request(f"http://{colophon.admin}/v1/activations", b'{"manifest":"m1","settled":true}',
                                             {"Content-Type": "application/json"})
            assert json.load(urllib.request.urlopen(request, timeout=PATIENCE))["result"] == "confirmed"
            wait_until(lambda: doubts(colophon), "the doubt")
            [(_, since, until, _, _)] = doubts(colophon)
            assert since <= meanwhile < until, (since, meanwhile, until)


def test_a_refused_order_leaves_no_doubt():
    with Upstream(ok) as upstream, directory() as at:
        with serving(upstream, at) as colophon:
            gone = at / "gone.json"
            gone.write_text(manifest("m9", artifacts={"w": {"path": "w", "sha256": "0" * 64, "size_bytes": 1}}))
            (at / "w").write_text("x")
            subprocess.run([COLOPHON, "index", "add", str(gone), "--data-dir", str(at / "data")], check=True, capture_output=True)
            quick = slow = 0
            while quick < 5 and slow < 50:
                request = urllib.request.Request(f"http://{colophon.admin}/v1/activations", b'{"manifest": "m9"}',
                                                 {"Content-Type": "application/json"})
                began = time.monotonic()
                try:
                    urllib.request.urlopen(request, timeout=PATIENCE)
                    raise AssertionError("it was taken")
                except urllib.error.HTTPError as error:
                    assert error.code == 422, error.read()
                # What takes longer to hash is doubted meanwhile, on record too.
                is_quick = time.monotonic() < began + 0.02
                quick, slow = quick + is_quick, slow + (not is_quick)
            found = doubts(colophon)
            assert variant(colophon)["current"] and len(found) <= slow and all(row[2] for row in found), (found, slow)


def test_a_doubt_that_cannot_be_written_keeps_nobody_from_watching():
    with Upstream(ok) as upstream, directory() as at:
        with two(upstream, at) as colophon, contextlib.closing(
                          sqlite3.connect(at / "data" / "ledger.sqlite", isolation_level=None)) as other:
            def current(name):
                return next(v for v in colophon.ask("/v1/status")[1]["variants"] if v["variant"] == name)["current"]
            other.execute("BEGIN IMMEDIATE")
            # It waits for the ledger as everybody does: what is seen before it gives up, was seen by somebody who did not wait.
            (at / "more").mkdir()
            place(at / "more" / "more.json", manifest("more"))
            waiting = subprocess.Popen([COLOPHON, "index", "add", str(at / "more"), "--data-dir", str(at / "data")], stderr=subprocess.DEVNULL,
                                       stdout=subprocess.DEVNULL)
            try:
                place(at / "a.json", "rubbish")
                colophon.event("doubt-not-recorded")
                place(at / "b.json", "rubbish")
                wait_until(lambda: not current("b"), "b to be looked at")
                assert waiting.poll() is None, "it took as long as those who wait"
            finally:
                other.execute("ROLLBACK")
                waiting.wait(PATIENCE)
            wait_until(lambda: {row[0] for row in doubts(colophon)} == {"a", "b"}, "both to be on record")


def test_links_that_were_swapped_while_nobody_watched_tell_when():
    """As a projected volume is swapped: the file itself is much older than the link that leads to it."""
    with Upstream(ok) as upstream, directory() as at:
        for version in ("m1", "m2"):
            (at / f"..{version}").mkdir()
            place(at / f"..{version}" / "model_manifest.json", manifest(version))
        (at / "..data").symlink_to("..m1")
        (at / "live.json").symlink_to("..data/model_manifest.json")
        pointers = ["--manifest", str(at / "live.json")]

        def served():
            return Colophon(upstream.address, "--attribution-settle", "none", manifest_args=pointers, version=None, directory=str(at))

        with served():
            later(2.4)
        before = time.time()
        later(1.2)
        # Of another instance nobody has noted when it last watched: then the links themselves tell.
        shutil.rmtree(at / "data" / "watched" / "default")
        (at / "..new").symlink_to("..m2")
        (at / "..new").rename(at / "..data")
        swapped = time.time()
        with served() as colophon:
            [(_, since, until, _, _)] = doubts(colophon)
            assert swapped - 0.5 <= since <= swapped <= until, (since, swapped, until)
            assert enriched(colophon, before) == [("m1", "inferred")]


def test_each_promotion_is_doubted_until_it_is_on_record_and_a_restart_with_the_same_pointer_is_none():
    with Upstream(ok) as upstream, directory() as at:
        with serving(upstream, at) as colophon:
            for number in (2, 3):
                place(colophon.pointer, manifest(f"m{number}"))
                wait_until(lambda: variant(colophon)["model_version"] == f"m{number}", "the promotion")
            found = doubts(colophon)
            assert len(found) == 2 and all(0 <= until - since < PATIENCE for _, since, until, _, _ in found), found
            wait_until(lambda: watched(at) > found[-1][2] + 0.2, "the note")
        with serving(upstream, at, version=None) as colophon:
            assert variant(colophon)["current"] and doubts(colophon) == found


def test_a_doubt_while_the_ledger_takes_nothing_is_written_when_it_does_again():
    with Upstream(ok) as upstream, directory() as at:
        with serving(upstream, at) as colophon:
            later(1.2)
            with contextlib.closing(sqlite3.connect(at / "data" / "ledger.sqlite", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                place(colophon.pointer, manifest("m2"))
                wait_until(lambda: not variant(colophon)["current"], "the doubt")
                doubted = time.time()
                later(1.2)
                other.execute("ROLLBACK")
            wait_until(lambda: variant(colophon)["model_version"] == "m2" and variant(colophon)["current"], "the promotion")
            assert enriched(colophon, doubted) == [("m1", "unknown")], (doubted, enriched(colophon, doubted), doubts(colophon))
            [(_, since, until, _, _)] = doubts(colophon)
            assert since <= doubted < until, (since, doubted, until)


if __name__ == "__main__":
    run({name: test for name, test in list(globals().items()) if name.startswith("test_")})
