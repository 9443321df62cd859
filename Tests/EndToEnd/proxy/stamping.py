"""Stamps, identity, forwarding: what clients and upstreams see of one exchange."""

import re
import socket
import tempfile
from pathlib import Path

from harness import Colophon, Response, Upstream, manifest, ok, place, run, wait_until


def field(head, name):
    return re.findall(rf"(?im)^{name}: (.*)$", head.replace("\r\n", "\n"))


def test_stamps_whatever_the_status():
    def behave(connection, head, rest):
        status = head.split(" ")[1].strip("/")
        body = b"" if status in ("204", "304") else b"hello"
        connection.sendall(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        return True
    with Upstream(behave) as upstream, Colophon(upstream.address) as colophon:
        for status in (200, 201, 301, 400, 404, 429, 500, 503):
            response = colophon.get(f"/{status}")
            assert response.status == status and response.rest == b"hello"
            response.assert_stamped("m1")
        colophon.get("/204").assert_stamped("m1")
        colophon.get("/304").assert_stamped("m1", "mixed")
        colophon.get("/206").assert_stamped("m1", "mixed")


def test_nobody_can_pretend():
    def behave(connection, head, rest):
        return ok(connection, head, rest, fields="X-Model-Version: evil\r\nx-model-manifest: evil\r\nX-Data-Version: evil\r\n"
                  "X-Pipeline-Commit: evil\r\nX-Model-Attribution: exact\r\nX-Request-Id: evil\r\n")
    with Upstream(behave) as upstream, Colophon(upstream.address) as colophon:
        response = colophon.get("/", "X-Model-Version: evil\r\nX_Model_Manifest: evil\r\nx-model_attribution: exact\r\n")
        response.assert_stamped("m1")
        assert "evil" not in str(response.fields)
        assert "evil" not in upstream.heads[0] and "exact" not in upstream.heads[0]


def test_age_and_what_was_kept_is_mixed():
    def behave(connection, head, rest):
        age = head.split(" ")[1].strip("/")
        return ok(connection, head, rest, fields=f"Age: {age}\r\n")
    with Upstream(behave) as upstream, Colophon(upstream.address) as colophon:
        colophon.get("/0").assert_stamped("m1", "inferred")
        colophon.get("/1").assert_stamped("m1", "mixed")


def test_forwards_what_it_should():
    with Upstream(ok) as upstream, Colophon(upstream.address) as colophon:
        response = colophon.get(
            "/a?b=c", "Via: 1.0 front\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\nX-Own: 1\r\n"
            "Keep-Alive: 5\r\nProxy-Connection: close\r\nTE: trailers, gzip\r\nCookie: a=b\r\nConnection: X-Own, TE\r\n")
        head = upstream.heads[0]
        assert head.startswith("GET /a?b=c HTTP/1.1\r\n")
        assert field(head, "Via") == ["1.0 front, 1.1 colophon"]
        assert field(head, "X-Forwarded-For") == ["192.0.2.1, 127.0.0.1"]
        assert field(head, "X-Forwarded-Proto") == ["https, http"]
        assert field(head, "Host") == ["model"]
        assert field(head, "Cookie") == ["a=b"]
        assert field(head, "TE") == ["trailers"] and field(head, "Connection") == ["TE"]
        assert not field(head, "X-Own") and not field(head, "Keep-Alive") and not field(head, "Proxy-Connection")
        assert len(field(head, "traceparent")) == 1
        assert response.one("Via") == "1.1 colophon"
        assert len(response.all("Date")) == 1


def test_absolute_form_replaces_host():
    with Upstream(ok) as upstream, Colophon(upstream.address) as colophon:
        colophon.get("http://other:81/x?y")
        colophon.get("http://other")
        assert upstream.heads[0].startswith("GET /x?y HTTP/1.1\r\nHost: other:81\r\n")
        assert upstream.heads[1].startswith("GET / HTTP/1.1\r\nHost: other\r\n")
        assert all(len(field(head, "Host")) == 1 for head in upstream.heads)


def test_request_ids():
    with Upstream(ok) as upstream, Colophon(upstream.address) as colophon:
        digest = colophon.get("/").one("X-Model-Manifest")
        minted = colophon.get("/").one("X-Request-Id")
        assert re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{26}-" + digest[:12], minted), minted
        assert field(upstream.heads[-1], "X-Request-Id") == [minted]
        kept = colophon.get("/", "X-Request-Id: mine:1.2_3-4\r\n")
        assert kept.one("X-Request-Id") == "mine:1.2_3-4" and field(upstream.heads[-1], "X-Request-Id") == ["mine:1.2_3-4"]
        for forged in (minted, minted.lower(), minted[:26], "a b", "x" * 129, ""):
            fresh = colophon.get("/", f"X-Request-Id: {forged}\r\n").one("X-Request-Id")
            assert fresh != forged and fresh.endswith(digest[:12]), (forged, fresh)
            assert field(upstream.heads[-1], "X-Request-Id") == [fresh]
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
        colophon.get("/", f"traceparent: {trace}\r\n")
        assert field(upstream.heads[-1], "traceparent") == [trace]
        with Colophon(upstream.address, "--request-id-trust-minted") as trusting:
            assert trusting.get("/", f"X-Request-Id: {minted}\r\n").one("X-Request-Id") == minted


def test_own_names():
    with Upstream(ok) as upstream, Colophon(
            upstream.address, "--stamp-version", "X-V", "--stamp-manifest", "off", "--stamp-commit-length", "12") as colophon:
        response = colophon.get("/")
        assert response.one("X-V") == "m1" and response.one("X-Pipeline-Commit") == "80d8e56f5c1b"
        assert not response.all("X-Model-Manifest") and not response.all("X-Model-Version")


def test_values_that_headers_cannot_hold():
    with Upstream(ok) as upstream, Colophon(upstream.address, version="é v,1\r\nX: y") as colophon:
        response = colophon.get("/")
        assert response.one("X-Model-Version") == "%C3%A9%20v%2C1%0D%0AX:%20y", response.fields
        assert not response.all("X")


def test_no_manifest_is_said():
    with Upstream(ok) as upstream, Colophon(upstream.address, "--manifest-optional", version=None) as colophon:
        response = colophon.get("/", "X-Model-Version: evil\r\n")
        assert response.one("X-Model-Attribution") == "unknown"
        assert not response.all("X-Model-Version") and not response.all("X-Model-Manifest")
        assert re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{26}", response.one("X-Request-Id"))
        place(colophon.pointer, manifest("m2"))
        wait_until(lambda: colophon.get("/").all("X-Model-Version") == ["m2"], "the first manifest is active")
        colophon.get("/").assert_stamped("m2")


def test_the_upstream_names_its_version():
    def behave(connection, head, rest):
        name = head.split(" ")[1].strip("/")
        return ok(connection, head, rest, fields=f"X-Served: {name}\r\n" if name else "")
    with Upstream(behave) as upstream, Colophon(upstream.address, "--attribution-from", "header:X-Served") as colophon:
        first = colophon.get("/m1")
        first.assert_stamped("m1", "exact")
        digest = first.one("X-Model-Manifest")
        colophon.get("/" + digest[:12]).assert_stamped("m1", "exact")
        for name in (digest[:11], "m9", ""):
            response = colophon.get("/" + name)
            assert response.one("X-Model-Attribution") == "unknown" and not response.all("X-Model-Version"), name
        place(colophon.pointer, manifest("m2"))
        colophon.event("activation", 2)
        # Both are known now: the upstream says which one spoke.
        wait_until(lambda: colophon.get("/m2").all("X-Model-Version") == ["m2"], "m2 is known")
        colophon.get("/m2").assert_stamped("m2", "exact")
        colophon.get("/m1").assert_stamped("m1", "exact")
        assert colophon.totals()["unknown_names"] >= 3
    # What does not say its own digest rightly is never exact.
    with Upstream(behave) as upstream, Colophon(
            upstream.address, "--attribution-from", "header:X-Served", "--verify", "warn", version=None,
            *["--manifest-optional"]) as colophon:
        place(colophon.pointer, manifest("m7", manifest_sha256="0" * 64))
        colophon.event("activation")
        wait_until(lambda: colophon.get("/m7").all("X-Model-Version") == ["m7"], "m7 is known")
        colophon.get("/m7").assert_stamped("m7", "inferred")


def test_variants():
    with tempfile.TemporaryDirectory() as scratch, Upstream(lambda *a: ok(*a, body=b"A")) as one, \
            Upstream(lambda *a: ok(*a, body=b"B", fields="X-Variant: als\r\n")) as two:
        for name in ("als", "popgen"):
            place(Path(scratch) / f"{name}.json", manifest(f"{name}-1"))
        arms = ["--manifest", f"als={scratch}/als.json", "--manifest", f"popgen={scratch}/popgen.json"]
        with Colophon(f"als={one.address}", "--upstream", f"popgen={two.address}", "--route-header", "X-Arm",
                      "--route-default", "popgen", manifest_args=arms) as colophon:
            for header, body, version in (("X-Arm: als\r\n", b"A", "als-1"), ("X-Arm: popgen\r\n", b"B", "popgen-1"),
                                          ("X-Arm: nobody\r\n", b"B", "popgen-1"), ("", b"B", "popgen-1")):
                response = colophon.get("/", header)
                assert response.rest == body, header
                response.assert_stamped(version)
        # One server with several models says nothing of which one spoke, unless it names its variant.
        with Colophon(two.address, "--route-header", "X-Arm", manifest_args=arms) as colophon:
            response = colophon.get("/", "X-Arm: als\r\n")
            assert response.one("X-Model-Attribution") == "unknown" and not response.all("X-Model-Version")
        with Colophon(two.address, "--attribution-from", "variant-header:X-Variant", manifest_args=arms) as colophon:
            colophon.get("/").assert_stamped("als-1")


def test_other_addresses():
    with tempfile.TemporaryDirectory() as scratch:
        with Upstream(ok, socket.AF_INET6) as upstream, Colophon(upstream.address, listen="[::1]:0") as colophon:
            colophon.get("/").assert_stamped("m1")
            assert field(upstream.heads[0], "X-Forwarded-For") == ["::1"]
        path = f"{scratch}/upstream.sock"
        with Upstream(ok, socket.AF_UNIX, path) as upstream, Colophon(
                upstream.address, listen=f"unix:{scratch}/proxy.sock") as colophon:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(f"{scratch}/proxy.sock")
                connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                data = b""
                while chunk := connection.recv(65536):
                    data += chunk
            Response(data).assert_stamped("m1")
            assert field(upstream.heads[0], "X-Forwarded-For") == ["unknown"]


def test_a_line_names_the_variant_that_has_answered():
    """Where the response says so, the variant that the request was sent to is nobody's."""
    def behave(connection, head, rest):
        said = re.search(r"(?m)^X-Say: (.*)$", head.replace("\r\n", "\n"))
        return ok(connection, head, rest, fields="".join(f"{field}\r\n" for field in said[1].split("|")) if said else "")

    def line(colophon, out, number, said):
        colophon.get(f"/recommend/{number}", f"X-Say: {said}\r\n" if said else "")
        found = wait_until(lambda: next((row for row in out.read_text().splitlines() if f"/recommend/{number}," in row), None), "the line")
        return re.findall("variant=([^,]*)", found), re.findall("model_version=([^,]*)", found)

    with tempfile.TemporaryDirectory(prefix="colophon-e2e-") as directory, Upstream(behave) as upstream:
        for name in ("als", "popgen"):
            place(f"{directory}/{name}.json", manifest(f"{name}-1"))
        arms = [word for name in ("als", "popgen") for word in ("--manifest", f"{name}={directory}/{name}.json")]
        for header in ("X-Model-Variant", "X-Other"):
            out = Path(directory, f"out-{header}")
            with Colophon(upstream.address, "--attribution-from", "variant-header:X-Model-Variant", "--logs-to", f"file:{out}",
                          "--recommendation-variant-header", header, manifest_args=arms) as colophon:
                assert line(colophon, out, 1, "X-Model-Variant: als") == (["als"], ["als-1"])
                assert line(colophon, out, 2, "X-Model-Variant: popgen") == (["popgen"], ["popgen-1"])
                assert line(colophon, out, 3, "X-Model-Variant: nonsense") == (["nonsense"], [])
                assert line(colophon, out, 4, "") == ([], [])
                assert line(colophon, out, 5, "X-Model-Variant: als|X-Model-Variant: popgen") == ([], [])
                if header == "X-Other":
                    assert line(colophon, out, 6, "X-Model-Variant: popgen|X-Other: blue") == (["blue"], ["popgen-1"])


if __name__ == "__main__":
    run(globals())
