"""What nobody watched, and what moves while it is looked at: pointers that change under a long hashing, starts that were mistaken, paths that
change, copies of the data directory. No line of such a time may claim what nobody knew, and none of a time that was watched may lose what was."""

import concurrent.futures
import contextlib
import shutil
import subprocess
import threading
import time
import urllib.request

from asked import call, index
from doubted import POLL, directory, doubts, enriched, history, later, line, locked, serving, traced, two, variant, watched
from harness import COLOPHON, PATIENCE, Colophon, Upstream, large, manifest, notes, ok, place, run, stopped, wait_until


def test_a_pointer_that_moves_on_while_it_is_hashed_is_followed_to_where_it_leads():
    with Upstream(ok) as upstream, directory() as at:
        size, digest = large(at / "big")
        with serving(upstream, at) as colophon:
            later(1.2)
            place(colophon.pointer, manifest("m2", artifacts={"big": {"path": str(at / "big"), "sha256": digest, "size_bytes": size}}))
            wait_until(lambda: not variant(colophon)["current"], "the hashing to begin")
            assert variant(colophon)["model_version"] == "m1"
            place(colophon.pointer, manifest("m3"))
            wait_until(lambda: variant(colophon)["current"], "it to be sure again", 10 * PATIENCE)
            colophon.get("/").assert_stamped("m3")
            rows = colophon.ask("/v1/history")[1]["activations"]
            assert [row["model_version"] for row in rows] == ["m3", "m1"], rows


def test_a_mistaken_start_does_not_hide_what_happened_before_it():
    with Upstream(ok) as upstream, directory() as at:
        with serving(upstream, at) as colophon:
            wait_until(lambda: watched(at), "the note")
        pointer = colophon.pointer
        later(1.2)
        place(pointer, manifest("m2"))
        later(1.2)
        meanwhile = time.time()
        place(pointer, manifest("m1"))
        later(11)
        (at / "wrong").mkdir()
        mistaken = ["--manifest", str(at / "wrong" / "model_manifest.json"), "--manifest-optional"]
        with Colophon(upstream.address, "--attribution-settle", "none", manifest_args=mistaken, version=None, directory=str(at)):
            pass
        with serving(upstream, at, version=None) as colophon:
            assert enriched(colophon, meanwhile) == [("m1", "unknown")], doubts(colophon)


def test_a_rollback_by_another_path_leaves_what_was_watched_as_it_was():
    with Upstream(ok) as upstream, directory() as at:
        for version in ("m1", "m2"):
            place(at / f"{version}.json", manifest(version))

        def served(version):
            return Colophon(upstream.address, "--attribution-settle", "none", "--poll", POLL, manifest_args=["--manifest", str(at / f"{version}.json")],
                            version=None, directory=str(at))
        with served("m1"):
            later(1.2)
        with served("m2"):
            later(1.2)
            sure = time.time()
            wait_until(lambda: watched(at) > sure + 1.2, "the note")
        later(1.2)
        between = time.time()
        with served("m1") as colophon:
            assert enriched(colophon, sure, between) == [("m2", "inferred"), ("m2", "unknown")], doubts(colophon)


def test_a_copy_of_the_data_directory_knows_no_more_than_what_was_copied():
    with Upstream(ok) as upstream, directory() as at:
        with serving(upstream, at) as colophon:
            wait_until(lambda: watched(at), "the note")
        later(1.2)
        place(colophon.pointer, manifest("m2"))
        later(1.2)
        meanwhile = time.time()
        place(colophon.pointer, manifest("m1"))
        later(1.2)
        # All of its files are as new as this.
        (at / "data").rename(at / "before")
        subprocess.run(["cp", "-r", str(at / "before"), str(at / "data")], check=True)
        with serving(upstream, at, version=None) as colophon:
            assert enriched(colophon, meanwhile) == [("m1", "unknown")], doubts(colophon)


def test_a_directory_of_manifests_that_had_another_one_for_a_while_is_doubted():
    with Upstream(ok) as upstream, directory() as at:
        (at / "run" / "manifests").mkdir(parents=True)
        place(at / "run" / "manifests" / "m1.json", manifest("m1"))
        pointer = ["--manifest", str(at / "run")]

        def served():
            return Colophon(upstream.address, "--attribution-settle", "none", "--poll", POLL, manifest_args=pointer, version=None, directory=str(at))
        with served():
            wait_until(lambda: watched(at), "the note")
        later(1.2)
        place(at / "run" / "manifests" / "m2.json", manifest("m2"))
        later(1.2)
        meanwhile = time.time()
        (at / "run" / "manifests" / "m2.json").unlink()
        with served() as colophon:
            assert enriched(colophon, meanwhile) == [("m1", "unknown")], doubts(colophon)


def test_after_a_gap_responses_settle_as_after_an_activation():
    with Upstream(ok) as upstream, directory() as at:
        with serving(upstream, at, "--attribution-settle", "600s") as colophon:
            colophon.get("/").assert_stamped("m1")
            with stopped(colophon.process):
                place(colophon.pointer, manifest("m2"))
                later(1.2)
                place(colophon.pointer, manifest("m1"))
            wait_until(lambda: doubts(colophon), "the doubt")
            wait_until(lambda: colophon.get("/").one("X-Model-Attribution") == "mixed", "it to settle")


def test_after_a_gap_under_an_order_nothing_is_claimed_until_somebody_confirms_it():
    with Upstream(ok) as upstream, directory() as at:
        with serving(upstream, at) as colophon:
            def order():
                request = urllib.request.Request(f"http://{colophon.admin}/v1/activations", b'{"manifest":"m2","settled":true}',
                                                 {"Content-Type": "application/json"})
                assert urllib.request.urlopen(request, timeout=PATIENCE).status == 200
            place(colophon.pointer, manifest("m2"))
            wait_until(lambda: variant(colophon)["model_version"] == "m2", "the second")
            place(colophon.pointer, manifest("m1"))
            wait_until(lambda: variant(colophon)["model_version"] == "m1", "the first again")
            order()
            colophon.get("/").assert_stamped("m2")
            with stopped(colophon.process):
                place(colophon.pointer, manifest("m3"))
                later(1.2)
                meanwhile = time.time()
                place(colophon.pointer, manifest("m1"))
            wait_until(lambda: not variant(colophon)["current"], "the doubt")
            assert colophon.get("/").one("X-Model-Attribution") == "unknown"
            order()
            colophon.get("/").assert_stamped("m2")
            wait_until(lambda: doubts(colophon)[-1][2], "its end")
            assert enriched(colophon, meanwhile) == [("m2", "unknown")], doubts(colophon)


def test_a_confirmation_ends_the_doubts_of_sidecars_that_are_gone():
    with Upstream(ok) as upstream, directory() as at:
        with serving(upstream, at) as colophon:
            place(at / "other.json", manifest("m1"))
            other = ["--manifest", str(at / "other.json"), "--instance", "other"]
            with Colophon(upstream.address, "--attribution-settle", "none", "--poll", POLL, manifest_args=other, version=None,
                          directory=str(at)) as second:
                place(at / "other.json", "rubbish")
                wait_until(lambda: doubts(colophon), "the other one's doubt")
                second.process.kill()
                second.process.wait()
            assert doubts(colophon)[-1][2] is None
            body = b'{"manifest":"m1","settled":true}'
            request = urllib.request.Request(f"http://{colophon.admin}/v1/activations", body, {"Content-Type": "application/json"})
            assert urllib.request.urlopen(request, timeout=PATIENCE).status == 200
            assert doubts(colophon)[-1][2] is not None, doubts(colophon)


def test_notes_of_what_is_no_longer_live_are_put_away():
    with Upstream(ok) as upstream, directory() as at:
        for number in range(1, 5):
            began = time.time()
            with serving(upstream, at, version=f"m{number}") as colophon:
                wait_until(lambda: variant(colophon)["model_version"] == f"m{number}", "the manifest")
                wait_until(lambda: len(notes(at / "data")) == 1 and watched(at) >= began, "its note, and no other one")


def test_a_line_without_a_time_is_of_now_and_no_surer_than_now_is():
    with Upstream(ok) as upstream, directory() as at:
        with serving(upstream, at) as colophon:
            later(1.2)
            placed = time.time()
            place(colophon.pointer, manifest("m2"))
            wait_until(lambda: variant(colophon)["model_version"] == "m2", "the promotion")
            wait_until(lambda: watched(at) > placed, "the note")
        result = subprocess.run(
            [COLOPHON, "enrich", "--data-dir", str(at / "data"), "--attribution-settle", "600s"], capture_output=True, text=True,
            input='{"event":"recommendation"}\n', timeout=PATIENCE)
        assert result.returncode == 0 and '"attribution":"mixed"' in result.stdout and '"m2"' in result.stdout, result


def test_what_nobody_watches_any_more_is_claimed_by_nobody():
    with Upstream(ok) as upstream, directory() as at:
        with serving(upstream, at) as colophon:
            later(1.2)
            sure = time.time()
            later(2.5)
            assert enriched(colophon, sure) == [("m1", "inferred")]
            # Whoever enriches beside it is told while it runs.
            beside = subprocess.Popen([COLOPHON, "enrich", "--data-dir", str(at / "data"), "--attribution-settle", "none"], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

            def asked():
                beside.stdin.write(line(time.time()) + "\n")
                beside.stdin.flush()
                return "attribution=unknown" not in beside.stdout.readline()
            assert asked()
            colophon.terminate()
            colophon.process.wait(PATIENCE)
        try:
            wait_until(lambda: not asked(), "it to see that nobody watches")
        finally:
            beside.stdin.close()
            beside.wait(PATIENCE)
            beside.stdout.close()
        later(1.2)
        ended = time.time()
        found = enriched(colophon, sure, ended)
        assert found == [("m1", "inferred"), ("m1", "unknown")], (found, watched(at), sure)
        answer = traced(colophon, ended)
        assert answer["attribution"] == "unknown" and "nobody has watched" in answer["note"], answer
        assert history(colophon, ended)["doubts"][0]["until"] is None and not history(colophon, sure)["doubts"]
        # The pointer has not changed: then it is sure again, and a kill is noticed when the next note is overdue.
        with serving(upstream, at, version=None) as colophon:
            wait_until(lambda: enriched(colophon, ended) == [("m1", "inferred")], "the note")
            colophon.process.kill()
        later(1.2)
        killed = time.time()
        wait_until(lambda: enriched(colophon, killed) == [("m1", "unknown")], "the note to be overdue")
        assert not doubts(colophon), doubts(colophon)


def test_others_are_looked_at_while_one_waits_for_the_ledger():
    with Upstream(ok) as upstream, directory() as at, two(upstream, at) as colophon:
        def current():
            return [v["current"] for v in colophon.ask("/v1/status")[1]["variants"]]
        with locked(at):
            place(at / "a.json", manifest("a2"))
            wait_until(lambda: current() == [False, True], "a to wait")
            place(at / "b.json", manifest("b2"))
            wait_until(lambda: current() == [False, False], "b to be looked at")
            assert "reload-failed" not in colophon.said(), "it was looked at only when the wait was over"
            # What it waits with is no more what the pointer names.
            place(at / "a.json", manifest("a3"))
        wait_until(lambda: current() == [True, True] and colophon.get("/", "X-Arm: a\r\n").one("X-Model-Version") == "a3", "both to be on record")
        # If the lock was gone before it saw that, nothing of its short life is sure.
        for row in colophon.ask("/v1/history")[1]["activations"]:
            assert row["model_version"] != "a2" or any(one["from"] <= row["from"] and one["until"] >= row["until"] for one in row["doubts"]), row
        for arm, version in (("a", "a3"), ("b", "b2")):
            colophon.get("/", f"X-Arm: {arm}\r\n").assert_stamped(version)


def test_a_start_that_fails_leaves_nothing_that_is_claimed_for_ever():
    with Upstream(ok) as upstream, directory() as at:
        with two(upstream, at) as colophon:
            colophon.terminate()
            colophon.process.wait(PATIENCE)
        place(at / "a.json", manifest("a2"))
        place(at / "b.json", "rubbish")
        failed = two(upstream, at)
        assert failed.process.wait(PATIENCE) == 1, failed.said()
        later(1.2)
        meant = line(time.time()).replace("status 200,", "status 200, variant=a,")
        result = subprocess.run([COLOPHON, "enrich", "--data-dir", str(at / "data"), "--attribution-settle", "none"], capture_output=True, text=True,
                                input=meant + "\n", timeout=PATIENCE)
        assert "model_version=a2" in result.stdout and "attribution=unknown" in result.stdout, (result, notes(at / "data"))


def test_a_pointer_that_never_rests_while_the_ledger_is_locked_is_told_of():
    with Upstream(ok) as upstream, directory() as at, serving(upstream, at) as colophon:
        ends = threading.Event()

        def flip():
            number = 0
            while not ends.is_set():
                number += 1
                place(colophon.pointer, manifest(f"n{number % 2}"))
        flipping = threading.Thread(target=flip)
        with locked(at):
            flipping.start()
            try:
                assert colophon.event("reload-failed")["still_active"] == "m1"
                # Whoever asks is answered, with what came of it.
                assert call(colophon, "/v1/reload", {})[0] == 422
            finally:
                ends.set()
                flipping.join(PATIENCE)
        place(colophon.pointer, manifest("m2"))
        wait_until(lambda: colophon.get("/").one("X-Model-Version") == "m2", "the last one")


def test_what_is_in_doubt_itself_promises_nothing():
    with Upstream(ok) as upstream, directory() as at:
        with Colophon(upstream.address, "--attribution-settle", "none", "--poll", "10m", version="m1", directory=str(at)) as colophon:
            wait_until(lambda: watched(at), "the note")
            with locked(at):
                place(colophon.pointer, manifest("m2"))
                wait_until(lambda: not variant(colophon)["current"], "it to be seen")
                later(1.2)
                meanwhile = time.time()
                wait_until(lambda: enriched(colophon, meanwhile) == [("m1", "unknown")], "the promise to be taken back")
                colophon.terminate()
                colophon.process.wait(PATIENCE)
                assert enriched(colophon, meanwhile) == [("m1", "unknown")]


def test_an_order_that_waits_at_the_end_is_answered():
    with Upstream(ok) as upstream, directory() as at, serving(upstream, at) as colophon:
        index(colophon, "m2")
        with locked(at), concurrent.futures.ThreadPoolExecutor(1) as pool:
            answer = pool.submit(call, colophon, "/v1/activations", {"manifest": "m2"})
            wait_until(lambda: not variant(colophon)["current"], "it to wait")
            colophon.terminate()
            status, problem, _ = answer.result(PATIENCE)
            assert status == 503, problem
            assert colophon.process.wait(PATIENCE) == 0, colophon.said()


def put_away(path):
    """Removes a directory that others write into, in one step."""
    with contextlib.suppress(FileNotFoundError):
        away = path.with_name(f"away-{time.monotonic_ns()}")
        path.rename(away)
        shutil.rmtree(away)


def test_damaged_notes_and_a_directory_that_was_removed_make_nothing_sure():
    with Upstream(ok) as upstream, directory() as at:
        with serving(upstream, at) as colophon:
            wait_until(lambda: watched(at), "the note")
            put_away(at / "data" / "watched")
            wait_until(lambda: (at / "data" / "watched" / "default").exists() and watched(at), "it to be made again")
            # Where it cannot be, that is told, once.
            def is_in_the_way():
                put_away(at / "data" / "watched")
                with contextlib.suppress(IsADirectoryError):
                    (at / "data" / "watched").write_text("in the way")
                    return True
            wait_until(is_in_the_way, "something to be in the way")
            colophon.event("notes-not-written")
            (at / "data" / "watched").unlink()
            wait_until(lambda: (at / "data" / "watched" / "default").exists() and watched(at), "it to be made again")
            assert len(colophon.events("notes-not-written")) == 1, colophon.said()
            colophon.terminate()
            colophon.process.wait(PATIENCE)
        later(1.2)
        for text in ("", "rubbish\n"):
            notes(at / "data")[0].write_text(text)
            assert enriched(colophon, time.time()) == [("m1", "unknown")], text
        place(colophon.pointer, manifest("m2"))
        later(1.2)
        meanwhile = time.time()
        place(colophon.pointer, manifest("m1"))
        with serving(upstream, at, version=None) as colophon:
            later(0.2)
            assert enriched(colophon, meanwhile) == [("m1", "unknown")], doubts(colophon)


def test_another_instance_knows_until_when_the_one_before_it_watched():
    with Upstream(ok) as upstream, directory() as at:
        with serving(upstream, at, "--instance", "pod-1") as colophon:
            wait_until(lambda: notes(at / "data", "pod-1"), "the note")
            colophon.terminate()
            colophon.process.wait(PATIENCE)
        later(1.2)
        place(colophon.pointer, manifest("m2"))
        later(1.2)
        meanwhile = time.time()
        place(colophon.pointer, manifest("m1"))
        assert enriched(colophon, meanwhile) == [("m1", "unknown")]
        with serving(upstream, at, "--instance", "pod-2", version=None) as colophon:
            assert enriched(colophon, meanwhile) == [("m1", "unknown")], doubts(colophon)


def test_others_keep_what_they_were_told_while_one_waits_for_the_ledger():
    with Upstream(ok) as upstream, directory() as at, two(upstream, at) as colophon:
        index(colophon, "b9")

        def order(version):
            return call(colophon, "/v1/activations", {"manifest": version, "variant": "b", "settled": True})[0]
        place(at / "b.json", manifest("b1"))
        assert order("b9") == 200
        with locked(at):
            # One that is refused, because it could not be written in time, has changed nothing either.
            assert order("b1") == 503
            place(at / "a.json", manifest("a2"))
            place(at / "b.json", manifest("b1"))
            colophon.event("reload-failed")
        wait_until(lambda: colophon.get("/", "X-Arm: a\r\n").one("X-Model-Version") == "a2", "a")
        colophon.get("/", "X-Arm: b\r\n").assert_stamped("b9")
        assert not colophon.events("manifest-unconfirmed"), colophon.said()


run(globals())
