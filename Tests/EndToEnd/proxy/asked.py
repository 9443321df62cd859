"""The admin API: manifests, traces, history, promotion and rollback; who is let in, and what is refused."""

import concurrent.futures
import json
import os
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from harness import COLOPHON, ENDLESS, PATIENCE, Colophon, Response, Upstream, manifest, ok, place, read_to_end, run, wait_until


def call(colophon, path, body=None, method=None, headers=None):
    """Status, document and headers."""
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(
        f"http://{colophon.admin}{path}", data=data, method=method,
        headers={**({"Content-Type": "application/json"} if data is not None else {}), **(headers or {})})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            text = answer.read()
            is_json = answer.headers.get_content_type() == "application/json"
            return answer.status, json.loads(text) if is_json else text, answer.headers
    except urllib.error.HTTPError as error:
        text = error.read()
        if error.code >= 400:
            document = json.loads(text)
            assert error.headers["Content-Type"] == "application/problem+json" and document["status"] == error.code, document
            assert document["detail"] and document["title"], document
            return error.code, document, error.headers
        return error.code, text, error.headers


def raw(colophon, data):
    host, port = colophon.admin.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        connection.sendall(data)
        return read_to_end(connection)


def index(colophon, *versions):
    """Adds manifests to the ledger of a sidecar that serves."""
    for version in versions:
        (colophon.path / f"{version}.json").write_text(manifest(version))
    subprocess.run([COLOPHON, "index", "add", *[str(colophon.path / f"{v}.json") for v in versions], "--data-dir",
                    str(colophon.path / "data")], check=True, capture_output=True, timeout=PATIENCE)


def live(colophon):
    return colophon.ask("/v1/status")[1]["variants"][0]


def test_manifests_are_listed_searched_paged_shown_and_compared():
    with Upstream(ok) as upstream, Colophon(upstream.address) as colophon:
        index(colophon, *[f"als-{n:03}" for n in range(25)])
        seen, path = [], "/v1/manifests?limit=10"
        while path:
            page = call(colophon, path)[1]
            seen += [item["model_version"] for item in page["manifests"]]
            assert len(page["manifests"]) <= 10
            path = page["next"] and f"/v1/manifests?limit=10&after={page['next']}"
        assert sorted(seen) == sorted(["m1"] + [f"als-{n:03}" for n in range(25)])
        found = call(colophon, "/v1/manifests?q=als-007")[1]["manifests"]
        assert [item["model_version"] for item in found] == ["als-007"]
        digest = found[0]["manifest_sha256"]
        for name in (digest, digest[:12], "als-007"):
            status, document, headers = call(colophon, f"/v1/manifests/{name}")
            assert status == 200 and document["data"]["dataset_version"] == "ds-als-007", document
            assert headers["ETag"] == f'"{digest}"' and headers["Content-Location"] == f"/v1/manifests/{digest}"
        for tag in (f'"{digest}"', f'W/"{digest}"', f'"x", "{digest}"', "*"):
            status, body, headers = call(colophon, f"/v1/manifests/{digest}", headers={"If-None-Match": tag})
            assert status == 304 and not body and headers["ETag"] == f'"{digest}"', (tag, status)
        assert call(colophon, f"/v1/manifests/{digest}", headers={"If-None-Match": '"other"'})[0] == 200
        difference = call(colophon, "/v1/manifests/als-007/diff/als-008")[1]
        assert {"path": "model_version", "before": "als-007", "after": "als-008"} in difference["differences"], difference
        head = raw(colophon, f"HEAD /v1/manifests/{digest} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert head.startswith(b"HTTP/1.1 200") and head.endswith(b"\r\n\r\n") and b"Content-Length: " in head


def test_names_that_are_none_or_several_are_told_apart():
    with Upstream(ok) as upstream, Colophon(upstream.address) as colophon:
        (colophon.path / "twin.json").write_text(manifest("m1", model_family="other"))
        subprocess.run([COLOPHON, "index", "add", str(colophon.path / "twin.json"), "--data-dir", str(colophon.path / "data")],
                       check=True, capture_output=True, timeout=PATIENCE)
        for path in ("/v1/manifests/m1", "/v1/manifests/m1/diff/m1"):
            status, problem, _ = call(colophon, path)
            assert status == 409 and len(problem["candidates"]) == 2, problem
        assert call(colophon, "/v1/activations", {"manifest": "m1"})[0] == 409
        status, problem, _ = call(colophon, "/v1/manifests/nobody%20%C3%A9%0A")
        assert status == 404 and "nobody é" in problem["detail"] and "\n" not in problem["detail"], problem
        for path in ("/v1/manifests/..%2F..%2Fetc%2Fpasswd", "/v1/manifests/%2e%2e", "/v1/../../etc/passwd", "/v1/manifests/%00",
                     "/v1/manifests/%ff", "/v1/manifests/%zz", "/v1/manifests/", "/v1/manifests/a/diff/", "//v1/status", "/V1/status"):
            assert call(colophon, path)[0] == 404, path


def test_traces_are_answered_and_unknown_is_an_answer():
    with Upstream(ok) as upstream, Colophon(upstream.address, "--exchanges-bytes", "32MiB") as colophon:
        response = colophon.get("/", "X-Request-Id: order-7\r\n")
        digest = response.one("X-Model-Manifest")
        minted = colophon.get("/").one("X-Request-Id")
        for text in (digest, digest[:10], "m1", minted, f"2025-03-04T18:21:03Z,1,recommendation request x, status 200, result: a, 1 ms, manifest_sha256={digest}"):
            answer = call(colophon, "/v1/trace?input=" + urllib.parse.quote(text))[1]["answers"]
            assert len(answer) == 1 and answer[0]["manifest_sha256"] == digest, answer
        wait_until(lambda: call(colophon, "/v1/trace?input=order-7")[1]["answers"][0].get("manifest_sha256") == digest, "the record")
        block = "HTTP/1.1 200 OK\r\n" + "".join(f"{k}: {v}\r\n" for k, v in response.fields) + "\r\n"
        answers = call(colophon, "/v1/trace", {"input": "nobody-knows\n" + digest + "\n" + block})[1]["answers"]
        assert [a["attribution"] for a in answers][0] == "unknown" and [a.get("manifest_sha256") for a in answers][1:] == [digest, digest], answers
        for body, status in [({}, 422), ({"input": 5}, 422), ({"input": " "}, 422), ({"inputs": "x"}, 422), (b"{", 400), (b"[]", 422)]:
            assert call(colophon, "/v1/trace", body)[0] == status, body
        assert "did you mean input?" in call(colophon, "/v1/trace", {"inputs": "x"})[1]["detail"]


def test_promotion_and_rollback_are_one_call_and_on_record():
    with Upstream(ok) as upstream, Colophon(upstream.address, "--attribution-settle", "none") as colophon:
        first = colophon.get().one("X-Model-Manifest")
        index(colophon, "m2")
        status, answer, _ = call(colophon, "/v1/activations", {"manifest": "m2", "by": "alice"})
        assert status == 200 and answer["result"] == "activated" and not answer["activation"]["rollback"], answer
        assert answer["activation"]["actor"] == "alice" and answer["activation"]["cause"] == "api", answer
        assert answer["activation"]["previous_manifest_sha256"] == first
        colophon.get().assert_stamped("m2")
        # Neither a look at the pointer nor its being written anew with the same contents undoes it.
        call(colophon, "/v1/reload", {})
        place(colophon.pointer, manifest("m1"))
        colophon.process.send_signal(signal.SIGHUP)
        colophon.event("reload", 2)
        colophon.get().assert_stamped("m2")
        answer = call(colophon, "/v1/activations", {"manifest": first[:12]})[1]
        assert answer["activation"]["rollback"] and answer["activation"]["model_version"] == "m1", answer
        colophon.get().assert_stamped("m1")
        assert colophon.events("activation")[-1]["rollback"] is True
        # The pointer is followed as soon as it names something else.
        call(colophon, "/v1/activations", {"manifest": "m2"})
        place(colophon.pointer, manifest("m3"))
        wait_until(lambda: colophon.get().one("X-Model-Version") == "m3", "the pointer's")
        history = call(colophon, "/v1/history")[1]["activations"]
        assert [(a["model_version"], a["cause"], a["rollback"]) for a in history] == [
            ("m3", "pointer", False), ("m2", "api", True), ("m1", "api", True), ("m2", "api", False), ("m1", "start", False)], history
        at = history[3]["from"]
        assert [a["model_version"] for a in call(colophon, "/v1/history?at=" + at)[1]["activations"]] == ["m2"]
        assert call(colophon, "/v1/history?variant=nobody")[1] == {"activations": [], "next": None}
        page = call(colophon, "/v1/history?limit=2")[1]
        rest = call(colophon, f"/v1/history?limit=1000&after={page['next']}")[1]
        assert page["activations"] + rest["activations"] == history and rest["next"] is None
        listed = subprocess.run([COLOPHON, "history", "--json", "--data-dir", str(colophon.path / "data")], capture_output=True,
                                text=True, check=True, timeout=PATIENCE)
        assert json.loads(listed.stdout)["activations"] == history


def test_a_rollback_leaves_the_manifest_where_it_is_known_to_be():
    """Its pointer has moved on: then nobody has a file of it, and none is made up."""
    with Upstream(ok) as upstream, Colophon(upstream.address, "--attribution-settle", "none", "--poll", "100ms") as colophon:
        place(colophon.pointer, manifest("m2"))
        wait_until(lambda: colophon.get().one("X-Model-Version") == "m2", "the promotion")
        assert call(colophon, "/v1/activations", {"manifest": "m1"})[0] == 200
        colophon.get().assert_stamped("m1")
        data = str(colophon.path / "data")
        traced = subprocess.run([os.path.abspath(COLOPHON), "trace", "m1", "--json", "--data-dir", data], capture_output=True, text=True, cwd="/", timeout=PATIENCE)
        path = json.loads(traced.stdout)["manifest_path"]
        assert path is None or Path(path).is_file(), traced.stdout
        rebuilt = subprocess.run([os.path.abspath(COLOPHON), "index", "rebuild", "--data-dir", data], capture_output=True, text=True, cwd="/", timeout=PATIENCE)
        assert "directory" not in rebuilt.stderr, rebuilt


def test_what_was_live_at_a_time_is_paged_like_everything_else():
    with Upstream(ok) as upstream, tempfile.TemporaryDirectory(prefix="colophon-e2e-") as directory:
        names, pointers, ups = ["a", "b", "c"], [], []
        for name in names:
            place(f"{directory}/{name}.json", manifest(f"{name}1"))
            pointers += ["--manifest", f"{name}={directory}/{name}.json"]
            ups += ["--upstream", f"{name}={upstream.address}"]
        with Colophon(*ups[1:2], *ups[2:], "--route-header", "X-Arm", "--route-default", "a", manifest_args=pointers, version=None) as colophon:
            at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 5))
            first = call(colophon, f"/v1/history?at={at}&limit=2")[1]
            rest = call(colophon, f"/v1/history?at={at}&limit=2&after={first['next']}")[1]
            assert [a["variant"] for a in first["activations"] + rest["activations"]] == names, (first, rest)
            assert len(first["activations"]) == 2 and rest["next"] is None, (first, rest)


def test_a_confirmation_ends_the_time_of_doubt():
    with Upstream(ok) as upstream, Colophon(upstream.address, "--attribution-settle", "10m") as colophon:
        place(colophon.pointer, manifest("m2"))
        wait_until(lambda: colophon.get().one("X-Model-Version") == "m2", "the second")
        colophon.get().assert_stamped("m2", "mixed")
        answer = call(colophon, "/v1/activations", {"manifest": "m2"})[1]
        assert answer["result"] == "confirmed" and answer["settled"], answer
        colophon.get().assert_stamped("m2")
        assert len(call(colophon, "/v1/history")[1]["activations"]) == 2
        # A promotion of one that the server has loaded already.
        index(colophon, "m4")
        assert call(colophon, "/v1/activations", {"manifest": "m4", "settled": True})[1]["settled"] is True
        colophon.get().assert_stamped("m4")
        call(colophon, "/v1/activations", {"manifest": "m2"})
        colophon.get().assert_stamped("m2", "mixed")


def test_after_a_restart_nothing_is_claimed_until_somebody_confirms():
    with Upstream(ok) as upstream, Colophon(upstream.address, "--attribution-settle", "none") as colophon:
        index(colophon, "m2")
        call(colophon, "/v1/activations", {"manifest": "m2"})
        colophon.terminate()
        colophon.process.wait(PATIENCE)
        with Colophon(upstream.address, "--attribution-settle", "none", directory=colophon.path) as again:
            # Perhaps the server has followed the pointer meanwhile, perhaps not.
            assert again.get().one("X-Model-Attribution") == "unknown"
            state = live(again)
            assert state["model_version"] == "m2" and not state["current"] and "confirm it" in state["problem"], state
            assert "confirm it" in again.event("manifest-unconfirmed")["reason"]
            assert call(again, "/v1/activations", {"manifest": "m2"})[1]["result"] == "confirmed"
            again.get().assert_stamped("m2")
            again.terminate()
            again.process.wait(PATIENCE)
        place(colophon.pointer, manifest("m3"))
        with Colophon(upstream.address, "--attribution-settle", "none", directory=colophon.path, version="m3") as third:
            third.get().assert_stamped("m3")


def test_a_pointer_that_changes_while_another_variant_is_hashed_is_believed_no_more():
    with Upstream(ok) as upstream, tempfile.TemporaryDirectory(prefix="colophon-e2e-", dir=".build") as directory:
        a, b = Path(directory, "a.json"), Path(directory, "b.json")
        place(a, manifest("a1"))
        place(b, manifest("b1"))
        # So large that hashing it takes longer than anything else here.
        with open(Path(directory, "large.bin"), "wb") as large:
            large.truncate(ENDLESS)
        args = ["--manifest", f"a={a}", "--manifest", f"b={b}", "--upstream", f"b={upstream.address}", "--route-header", "X-Arm",
                "--attribution-settle", "none"]
        with Colophon(f"a={upstream.address}", *args, manifest_args=[]) as colophon:
            def of(variant):
                return next(v for v in colophon.ask("/v1/status")[1]["variants"] if v["variant"] == variant)

            colophon.get("/", "X-Arm: a\r\n").assert_stamped("a1")
            place(b, manifest("b2", artifacts={"model": {"path": str(Path(directory, "large.bin").absolute()), "sha256": "0" * 64}}))
            wait_until(lambda: not of("b")["current"], "the hashing")
            place(a, manifest("a2"))
            wait_until(lambda: colophon.get("/", "X-Arm: a\r\n").one("X-Model-Attribution") == "unknown", "the doubt")
            assert of("b")["problem"] is None, "the hashing has ended: this has shown nothing"


def test_a_ledger_that_comes_back_is_ready_again():
    with Upstream(ok) as upstream, Colophon(upstream.address, "--poll", "100ms") as colophon:
        ledger, away = colophon.path / "data" / "ledger.sqlite", colophon.path / "data" / "away.sqlite"
        ledger.rename(away)
        place(colophon.pointer, manifest("m2"))
        wait_until(lambda: (live(colophon)["problem"] or "").count("ledger"), "the problem")
        assert colophon.ask("/readyz")[0] == 503
        away.rename(ledger)
        wait_until(lambda: colophon.ask("/readyz")[0] == 200, "readiness")
        assert live(colophon)["model_version"] == "m2"


def test_what_the_api_has_activated_is_not_forgotten_when_the_pointer_comes_late():
    with Upstream(ok) as upstream, Colophon(upstream.address, "--attribution-settle", "none") as colophon:
        index(colophon, "m2")
        call(colophon, "/v1/activations", {"manifest": "m2"})
        colophon.terminate()
        colophon.process.wait(PATIENCE)
        colophon.pointer.unlink()
        with Colophon(upstream.address, "--attribution-settle", "10m", "--manifest-optional", directory=colophon.path, version=None) as again:
            assert again.get().one("X-Model-Attribution") == "unknown"
            place(again.pointer, manifest("m1"))
            wait_until(lambda: "confirm it" in (live(again)["problem"] or ""), "the late pointer")
            assert again.get().one("X-Model-Attribution") == "unknown" and live(again)["model_version"] == "m2"
            # An order that does not say that the server has followed is doubted for as long as any activation.
            (again.path / "m4.json").write_text(manifest("m4"))
            index(again, "m4")
            assert call(again, "/v1/activations", {"manifest": "m4"})[1]["settled"] is False
            again.get().assert_stamped("m4", "mixed")


def test_an_order_does_not_pass_over_a_pointer_that_has_just_changed():
    with Upstream(ok) as upstream, Colophon(upstream.address, "--attribution-settle", "none", "--poll", "10m", version=None,
                                            manifest_args=["--manifest-optional"]) as probe:
        for version in ("m1", "m2"):
            (probe.path / version).mkdir()
            (probe.path / version / "model_manifest.json").write_text(manifest(version))
        (probe.path / "current").symlink_to(probe.path / "m2")
        with Colophon(upstream.address, "--attribution-settle", "none", "--poll", "10m", "--instance", "second", directory=probe.path,
                      manifest_args=["--manifest", str(probe.path / "current" / "model_manifest.json")]) as colophon:
            colophon.get().assert_stamped("m2")
            # A swapped link on the way is seen, though nobody polls.
            (probe.path / "next").symlink_to(probe.path / "m1")
            os.rename(probe.path / "next", probe.path / "current")
            answer = call(colophon, "/v1/activations", {"manifest": "m2"})[1]
            versions = [a["model_version"] for a in call(colophon, "/v1/history")[1]["activations"]]
            # Either way the pointer's is on record, and what is asked for is live.
            assert answer["result"] == "activated" and versions[:2] == ["m2", "m1"], (answer, versions)
            (probe.path / "next").symlink_to(probe.path / "m2")
            os.rename(probe.path / "next", probe.path / "current")
            (probe.path / "next").symlink_to(probe.path / "m1")
            os.rename(probe.path / "next", probe.path / "current")
            colophon.get().one("X-Model-Version")


def test_a_pointer_that_goes_and_comes_back_under_an_order_says_so():
    with Upstream(ok) as upstream, Colophon(upstream.address, "--attribution-settle", "none") as colophon:
        index(colophon, "m2")
        call(colophon, "/v1/activations", {"manifest": "m2"})
        colophon.pointer.unlink()
        wait_until(lambda: colophon.get().one("X-Model-Attribution") == "unknown", "the missing pointer")
        place(colophon.pointer, manifest("m1"))
        wait_until(lambda: "the pointer names m1, and m2 was activated over it" in (live(colophon)["problem"] or ""), "the words")
        # Once in the log, however often it is looked at.
        assert "the pointer names m1" in colophon.event("manifest-unconfirmed")["reason"] and len(colophon.events("manifest-unconfirmed")) == 1
        assert call(colophon, "/v1/activations", {"manifest": "m2"})[1]["result"] == "confirmed"
        colophon.get().assert_stamped("m2")
        # Over a pointer that cannot be read: a look at it changes nothing.
        colophon.pointer.write_text("{")
        wait_until(lambda: colophon.get().one("X-Model-Attribution") == "unknown", "the broken pointer")
        call(colophon, "/v1/activations", {"manifest": "m2"})
        call(colophon, "/v1/reload", {})
        colophon.event("reload")
        colophon.get().assert_stamped("m2")
        place(colophon.pointer, manifest("m3"))
        wait_until(lambda: colophon.get().one("X-Model-Version") == "m3", "the mended pointer")


def test_two_sidecars_on_one_ledger():
    with Upstream(ok) as upstream:
        with tempfile.TemporaryDirectory(prefix="colophon-e2e-") as directory:
            here = Path(directory)
            for name in ("a", "b"):
                place(here / f"{name}.json", manifest(f"{name}0"))

            def sidecar(name):
                return Colophon(f"{name}={upstream.address}", "--attribution-settle", "none", "--instance", name, directory=here, version=None,
                                manifest_args=["--manifest", f"{name}={here}/{name}.json"])

            with sidecar("a") as a, sidecar("b") as b:
                held = subprocess.run([COLOPHON, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "off", "--upstream", upstream.address,
                                       "--manifest", f"{here}/a.json", "--data-dir", str(here / "data"), "--instance", "a"],
                                      capture_output=True, text=True, timeout=PATIENCE)
                assert held.returncode == 3 and "the instance a is in use" in held.stderr, held

                def promote(colophon, name, count):
                    for number in range(1, count + 1):
                        version = f"{name}{number}"
                        place(here / f"{name}.json", manifest(version))
                        wait_until(lambda: live(colophon)["model_version"] == version and live(colophon)["current"], version)
                        colophon.get().assert_stamped(version)
                        if number % 5 == 0:
                            assert call(colophon, "/v1/activations", {"manifest": f"{name}{number - 1}"})[0] == 200
                            colophon.get().assert_stamped(f"{name}{number - 1}")

                with concurrent.futures.ThreadPoolExecutor(2) as pool:
                    for done in [pool.submit(promote, a, "a", 20), pool.submit(promote, b, "b", 20)]:
                        done.result()
                for name, colophon in (("a", b), ("b", a)):
                    history = call(colophon, f"/v1/history?variant={name}&limit=1000")[1]["activations"]
                    expected = [f"{name}0"]
                    for number in range(1, 21):
                        expected += [f"{name}{number}"] + ([f"{name}{number - 1}"] if number % 5 == 0 else [])
                    assert [entry["model_version"] for entry in reversed(history)] == expected, history
                    assert all(entry["instance"] == name for entry in history)
                    for earlier, later in zip(history[1:], history):
                        assert earlier["until"] == later["from"], (earlier, later)


def test_a_manifest_that_says_another_digest_is_activated_only_where_that_is_allowed():
    for verify, status in [("strict", 422), ("warn", 200)]:
        with Upstream(ok) as upstream, Colophon(upstream.address, "--attribution-settle", "none", "--verify", verify) as colophon:
            (colophon.path / "false.json").write_text(manifest("false", manifest_sha256="0" * 64))
            subprocess.run([COLOPHON, "index", "add", str(colophon.path / "false.json"), "--verify", "warn", "--data-dir",
                            str(colophon.path / "data")], check=True, capture_output=True, timeout=PATIENCE)
            got, answer, _ = call(colophon, "/v1/activations", {"manifest": "false"})
            assert got == status, answer
            if status == 422:
                assert "--verify warn" in answer["detail"], answer
                colophon.get().assert_stamped("m1")
            else:
                assert colophon.event("manifest-unverified")["declared"] == "0" * 64
                colophon.get().assert_stamped("false")


def test_what_is_active_is_checked_again_when_a_reload_asks_more_of_artifacts():
    with Upstream(ok) as upstream, tempfile.TemporaryDirectory(prefix="colophon-asked-") as name:
        at = Path(name)
        place(at / "model_manifest.json", manifest("m1", artifacts={"model": {"path": "model.npz", "sha256": "0" * 64}}))

        def configure(artifacts):
            place(at / "colophon.yaml", f"artifacts: {artifacts}\nattribution: {{settle: none}}\n")
        configure("if-present")
        with Colophon(upstream.address, "--config", str(at / "colophon.yaml"), version=None, directory=name) as colophon:
            colophon.get().assert_stamped("m1")
            configure("required")
            assert call(colophon, "/v1/reload", {})[1]["changed"] == ["artifacts"]
            assert not live(colophon)["current"] and "model.npz" in live(colophon)["problem"], live(colophon)
            assert colophon.get().one("X-Model-Attribution") == "unknown"
            # It is the file that was missing, or the demand for it.
            configure("if-present")
            call(colophon, "/v1/reload", {})
            wait_until(lambda: live(colophon)["current"], "it to be believed again")


def test_what_cannot_be_activated_changes_nothing():
    with Upstream(ok) as upstream, Colophon(upstream.address, "--attribution-settle", "none", "--artifacts", "required") as colophon:
        index(colophon, "m2")
        (colophon.path / "gone.json").write_text(manifest("gone", artifacts={"model": {"path": "nowhere.npz", "sha256": "0" * 64}}))
        subprocess.run([COLOPHON, "index", "add", str(colophon.path / "gone.json"), "--data-dir", str(colophon.path / "data")],
                       check=True, capture_output=True, timeout=PATIENCE)
        for body, status, words in [
            ({"manifest": "nobody"}, 404, "nobody"), ({"manifest": "m2", "variant": "b"}, 422, "there is no variant b"),
            ({"manifest": "gone"}, 422, "nowhere.npz"), ({}, 422, "manifest is missing"), ({"manifest": ""}, 422, "manifest is text"),
            ({"manifest": "m2", "settled": "yes"}, 422, "settled is true or false"), ({"manifest": "m2", "b": 1}, 422, "did you mean by?"),
            ({"manifest": 5}, 422, "manifest is text"), ({"manifest": "m2", "by": "x" * 600}, 422, "by is text"),
        ]:
            got, problem, _ = call(colophon, "/v1/activations", body)
            assert got == status and words in problem["detail"], (body, problem)
        colophon.get().assert_stamped("m1")
        assert len(call(colophon, "/v1/history")[1]["activations"]) == 1


def test_questions_that_are_asked_wrongly_are_told_what_is_right():
    with Upstream(ok) as upstream, Colophon(upstream.address) as colophon:
        for path, words in [
            ("/v1/manifests?limit=0", "limit takes a number from 1 to 1000"), ("/v1/manifests?limit=x", "limit takes"),
            ("/v1/manifests?after=-1", "after takes"), ("/v1/manifests?qq=1", "did you mean q?"), ("/v1/manifests?q=a&q=b", "twice"),
            ("/v1/manifests?q=", "q has no word"), ("/v1/manifests?q=ab+cd", "too short"), ("/v1/manifests?q=%zz", "encoded"),
            ("/v1/trace", "input is missing"), ("/v1/trace?input=", "input is empty"), ("/v1/history?at=yesterday", "at takes a time"),
            ("/v1/history?att=x", "did you mean at?"),
        ]:
            status, problem, _ = call(colophon, path)
            assert status == 400 and words in problem["detail"], (path, problem)
        for path, method, allowed in [
            ("/v1/status", "POST", "GET, HEAD"), ("/v1/reload", "GET", "POST"), ("/v1/trace", "DELETE", "GET, HEAD, POST"),
            ("/metrics", "PUT", "GET, HEAD"), ("/v1/manifests", "OPTIONS", "GET, HEAD"), ("/healthz", "TRACE", "GET, HEAD"),
        ]:
            status, _, headers = call(colophon, path, method=method)
            assert status == 405 and headers["Allow"] == allowed, (path, method, status, headers["Allow"])


def test_reload_answers_what_it_did():
    with Upstream(ok) as upstream, tempfile.NamedTemporaryFile("w+", suffix=".yaml") as file:
        file.write("poll: 2s\n")
        file.flush()
        with Colophon(upstream.address, "--config", file.name) as colophon:
            variants = [{"variant": "default", "model_version": "m1", "current": True, "problem": None}]
            assert call(colophon, "/v1/reload", {})[1] == {"changed": [], "need_restart": [], "variants": variants}
            with open(file.name, "w") as again:
                again.write("poll: 1s\nstamp: {commit_length: 9}\n")
            assert call(colophon, "/v1/reload", {})[1] == {
                "changed": ["poll"], "need_restart": ["stamp.commit_length"], "variants": variants}
            with open(file.name, "w") as again:
                again.write("pol: 1s\n")
            status, problem, _ = call(colophon, "/v1/reload", {})
            assert status == 422 and "did you mean poll?" in problem["problems"][0], problem


def test_a_reload_tells_what_came_of_each_pointer_and_every_attempt_counts():
    with Upstream(ok) as upstream, Colophon(upstream.address, "--attribution-settle", "none", "--poll", "10m") as colophon:
        place(colophon.pointer, manifest("m2"))
        status, answer, _ = call(colophon, "/v1/reload", {})
        # Answered when it is live, and no sooner.
        assert status == 200 and answer["variants"][0]["model_version"] == "m2" and answer["variants"][0]["current"], answer
        colophon.get().assert_stamped("m2")
        colophon.pointer.write_text("{")
        wait_until(lambda: live(colophon)["problem"], "the broken pointer")
        failures = colophon.ask("/v1/status")[1]["failed_reloads"]
        for attempt in range(3):
            status, problem, _ = call(colophon, "/v1/reload", {})
            assert status == 422 and "cannot be followed" in problem["detail"] and problem["changed"] == [], problem
            assert problem["variants"][0]["problem"] == live(colophon)["problem"], problem
            assert colophon.ask("/v1/status")[1]["failed_reloads"] == failures + attempt + 1
        colophon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: colophon.ask("/v1/status")[1]["failed_reloads"] == failures + 4, "the fourth")
        wait_until(lambda: colophon.said().count("reload-failed") == failures + 4, "each of them in the log")


def test_a_pointer_that_is_nowhere_is_refused_like_any_other_mistake_in_the_file():
    with Upstream(ok) as upstream, tempfile.TemporaryDirectory(prefix="colophon-e2e-") as directory:
        file = Path(directory, "colophon.yaml")
        place(Path(directory, "m.json"), manifest("m1"))
        file.write_text("poll: 2s\nmanifest: m.json\n")
        with Colophon(upstream.address, "--config", str(file), "--attribution-settle", "none", version=None, manifest_args=[]) as colophon:
            file.write_text("poll: 1s\nmanifest: typo.json\n")
            status, problem, _ = call(colophon, "/v1/reload", {})
            assert status == 422 and f"{file}:2: manifest cannot be followed: " in problem["problems"][0] and "typo.json" in problem["detail"], problem
            colophon.get().assert_stamped("m1")
            assert "typo.json" in colophon.ask("/v1/status")[1]["configuration"]["problem"]
            # Nothing of that file was taken.
            file.write_text("poll: 1s\nmanifest: m.json\n")
            assert call(colophon, "/v1/reload", {})[1]["changed"] == ["poll"]


def test_a_reload_is_no_order_and_reopens_the_access_log():
    with Upstream(ok) as upstream, tempfile.TemporaryDirectory(prefix="colophon-e2e-") as directory:
        file, log = Path(directory, "colophon.yaml"), Path(directory, "access.log")
        for version in ("m1", "m2"):
            place(Path(directory, f"{version}.json"), manifest(version))
        file.write_text(f"manifest: m1.json\nlog: {{access: {log}}}\n")
        arguments = ["--config", str(file), "--attribution-settle", "none"]
        with Colophon(upstream.address, *arguments, version=None, manifest_args=[]) as colophon:
            file.write_text(f"manifest: m2.json\nlog: {{access: {log}}}\n")
            log.rename(Path(directory, "access.log.1"))
            assert call(colophon, "/v1/reload", {})[1]["variants"][0]["model_version"] == "m2"
            wait_until(log.exists, "the access log")
            assert call(colophon, "/v1/history")[1]["activations"][0]["cause"] == "reload"
            colophon.terminate()
            colophon.process.wait(PATIENCE)
            # Nobody ordered m2: the pointer, which names m1 again, is followed.
            file.write_text("manifest: m1.json\n")
            with Colophon(upstream.address, *arguments, version=None, manifest_args=[], directory=colophon.path) as again:
                again.get().assert_stamped("m1")
                assert live(again)["problem"] is None


def test_with_several_variants_an_order_names_one():
    with Upstream(ok) as upstream, tempfile.TemporaryDirectory(prefix="colophon-e2e-") as directory:
        for variant in ("als", "pop"):
            place(Path(directory, f"{variant}.json"), manifest(f"{variant}1"))
        with Colophon(f"als={upstream.address}", "--upstream", f"pop={upstream.address}", "--route-header", "X-Arm", version=None, manifest_args=[
                "--manifest", f"als={directory}/als.json", "--manifest", f"pop={directory}/pop.json"]) as colophon:
            status, problem, _ = call(colophon, "/v1/activations", {"manifest": "pop1"})
            assert status == 422 and "there are als, pop" in problem["detail"], problem
            assert call(colophon, "/v1/activations", {"manifest": "pop1", "variant": "pop"})[1]["result"] == "confirmed"


def test_an_override_is_seen_everywhere():
    with Upstream(ok) as upstream, Colophon(upstream.address, "--attribution-settle", "none") as colophon:
        index(colophon, "m2")
        assert live(colophon)["overridden"] is False
        call(colophon, "/v1/activations", {"manifest": "m2"})
        assert live(colophon)["overridden"] is True and live(colophon)["current"] is True
        assert "is not followed" in colophon.ask("/readyz")[1]["checks"]["manifest default"]["detail"]
        assert b'colophon_manifest_overridden{variant="default"} 1' in call(colophon, "/metrics")[1]
        place(colophon.pointer, manifest("m2"))
        wait_until(lambda: live(colophon)["overridden"] is False, "the pointer")
        assert b'colophon_manifest_overridden{variant="default"} 0' in call(colophon, "/metrics")[1]


def test_a_ledger_that_is_busy_is_asked_again_later():
    with Upstream(ok) as upstream, Colophon(upstream.address) as colophon:
        index(colophon, "m2")
        other = sqlite3.connect(colophon.path / "data" / "ledger.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        status, problem, headers = call(colophon, "/v1/activations", {"manifest": "m2"})
        assert status == 503 and headers["Retry-After"] == "5", problem
        other.execute("ROLLBACK")
        assert call(colophon, "/v1/activations", {"manifest": "m2"})[0] == 200


def test_without_the_token_nothing_is_told_and_nothing_done():
    with Upstream(ok) as upstream, Colophon(upstream.address, "--admin-token", "s3cret-token") as colophon:
        bearer = {"Authorization": "Bearer s3cret-token"}
        document = call(colophon, "/openapi.json", headers=bearer)[1]
        for path, operations in document["paths"].items():
            for method in operations:
                concrete = path.replace("{manifest}", "m1").replace("{other}", "m1")
                for headers in ({}, {"Authorization": "Bearer s3cret-toke"}, {"Authorization": "Bearer s3cret-tokens"},
                                {"Authorization": "Basic czNjcmV0LXRva2Vu"}, {"Authorization": "Bearer "}):
                    status, problem, answer = call(colophon, concrete, {} if method == "post" else None, method.upper(), headers)
                    if path == "/healthz":
                        assert status == 200
                    elif path == "/readyz":
                        # Whether, and not why.
                        assert status == 200 and problem == {"ready": True}, problem
                    else:
                        assert status == 401 and answer["WWW-Authenticate"] == "Bearer", (path, method, headers, status)
        assert call(colophon, "/nowhere")[0] == 401
        assert call(colophon, "/v1/status", headers=bearer)[0] == 200
        # With a token, other hosts and origins are let in.
        assert call(colophon, "/v1/reload", {}, headers={**bearer, "Host": "elsewhere", "Origin": "http://elsewhere"})[0] == 200
        assert "s3cret" not in colophon.said()


def test_web_pages_cannot_reach_it():
    with Upstream(ok) as upstream, Colophon(upstream.address) as colophon:
        for path in ("/v1/reload", "/v1/activations", "/v1/trace"):
            for headers, status in [
                ({"Host": "evil.example"}, 403), ({"Origin": "http://evil.example"}, 403), ({"Host": "127.0.0.1.evil.example"}, 403), ({"Origin": "null"}, 403),
                ({"Content-Type": "text/plain"}, 415), ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
            ]:
                assert call(colophon, path, {}, headers=headers)[0] == status, (path, headers)
            assert call(colophon, path, {}, headers={"Origin": "http://localhost:3000"})[0] in (200, 422)
            assert call(colophon, path, {}, headers={"Content-Encoding": "gzip"})[0] == 415
        # Nor read what it tells, under a name of their own that leads here.
        for path in ("/v1/manifests", "/v1/status", "/v1/history", "/v1/trace?input=m1", "/metrics", "/readyz", "/openapi.json"):
            assert call(colophon, path, headers={"Host": "evil.example"})[0] == 403, path
            assert call(colophon, path, headers={"Origin": "http://evil.example"})[0] == 403, path
        assert call(colophon, "/healthz", headers={"Host": "10.1.2.3:9464"})[0] == 200


def test_bodies_and_heads_are_bounded_and_slow_clients_keep_nobody_out():
    with Upstream(ok) as upstream, Colophon(upstream.address) as colophon:
        assert call(colophon, "/v1/trace", {"input": "x" * (1 << 20)})[0] == 413
        head = b"POST /v1/trace HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        assert raw(colophon, head + b"Content-Length: 99999999999\r\n\r\n").startswith(b"HTTP/1.1 413")
        chunks = b"Transfer-Encoding: chunked\r\n\r\n" + b"40000\r\n" + b" " * 0x40000 + b"\r\n"
        assert raw(colophon, head + chunks + (b"40000\r\n" + b" " * 0x40000 + b"\r\n") * 4).startswith(b"HTTP/1.1 413")
        assert raw(colophon, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 20000 + b"\r\n\r\n").startswith(b"HTTP/1.1 431")
        for rubbish in (b"\x00\x01\x02\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET\r\n\r\n", b"GET /healthz HTTP/1.1\r\n\r\n",
                        head + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", b"\x16\x03\x01\x02\x00\x01\x00"):
            data = raw(colophon, rubbish + b"\r\n\r\n")
            assert data[:10] in (b"HTTP/1.1 4", b"HTTP/1.1 5"), (rubbish, data[:100])
        host, port = colophon.admin.rsplit(":", 1)
        slow = [socket.create_connection((host, int(port))) for _ in range(100)]
        for connection in slow:
            connection.sendall(b"POST /v1/trace HTTP/1.1\r\n")
        assert call(colophon, "/healthz")[0] == 200 and call(colophon, "/readyz")[0] == 200
        for connection in slow:
            connection.close()


def test_whoever_is_slow_is_told_so():
    with Upstream(ok) as upstream, Colophon(upstream.address) as colophon:
        slow = [b"GET /v1/status HTTP/1.1\r\nHost: local", b"POST /v1/trace HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Content-Length: 50\r\n\r\n{"]
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            for data in pool.map(lambda part: raw(colophon, part), slow):
                assert data.startswith(b"HTTP/1.1 408 Request Timeout\r\n"), data
        _, problem, _ = call(colophon, "/nowhere", method="FOO")
        assert problem["status"] == 404 and call(colophon, "/v1/status", method="FOO")[0] == 405


def test_many_ask_at_once_and_each_gets_an_answer():
    with Upstream(ok) as upstream, Colophon(upstream.address) as colophon:
        index(colophon, *[f"als-{n:03}" for n in range(10)])
        paths = ["/readyz", "/v1/manifests", "/v1/history", "/v1/trace?input=m1", "/v1/manifests/m1", "/metrics", "/v1/status"] * 40

        def ask(path):
            for _ in range(200):
                try:
                    return call(colophon, path)[0]
                except (ConnectionError, urllib.error.URLError):
                    time.sleep(0.01)

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            assert set(pool.map(ask, paths)) == {200}


def test_readiness_tells_of_ledger_and_lines():
    with Upstream(ok) as upstream:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        with Colophon(upstream.address, "--kafka-brokers", f"127.0.0.1:{port}") as colophon:
            colophon.get("/recommend/1")
            status, report = wait_until(
                lambda: (r := colophon.ask("/readyz")) and "wait in the spool" in r[1]["checks"]["lines"]["detail"] and r, "the spool")
            assert status == 200 and report["checks"]["ledger"]["ok"], report
            (colophon.path / "data" / "ledger.sqlite").rename(colophon.path / "data" / "away.sqlite")
            status, report = colophon.ask("/readyz")
            assert status == 503 and not report["checks"]["ledger"]["ok"], report
            # What needs the ledger says so, and the next question finds it again.
            assert call(colophon, "/v1/manifests")[0] == 503
            (colophon.path / "data" / "away.sqlite").rename(colophon.path / "data" / "ledger.sqlite")
            assert call(colophon, "/v1/manifests")[0] == 200


if __name__ == "__main__":
    run(globals())
