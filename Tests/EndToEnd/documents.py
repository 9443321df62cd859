"""The documents for users, tried: what they tell to type is understood, what can be run is run, and what they name is there."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "proxy"))

from harness import COLOPHON, PATIENCE, Colophon, Upstream, manifest, ok, place, run, wait_until  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
BINARY = os.path.abspath(COLOPHON)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "Examples/kubernetes/README.md"]


def blocks(page, *languages):
    """(language, text) of each code block."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [(language, text) for language, text in found if language in languages]


def colophon_lines():
    """Every line of a code block that runs colophon: the page, and its words."""
    for page in PAGES:
        for _, text in blocks(page, "", "sh"):
            joined = re.sub(r"\\\n\s*", " ", text)
            for line in joined.splitlines():
                for part in re.split(r"\s[|&;]+\s|\s[<>]\s?\S+", re.sub(r"\s+#\s.*", "", line)):
                    if re.match(r"^(sudo )?colophon [a-z]", part.strip()):
                        yield page.name, shlex.split(part.strip().removeprefix("sudo ").rstrip("&").replace("…", ""))


def run_quietly(*words, **more):
    return subprocess.run([BINARY, *words], capture_output=True, text=True, timeout=PATIENCE, **more)


def test_every_command_line_is_one_that_is_understood():
    overview = run_quietly("--help").stdout
    commands = sorted(re.findall(r"^  ([a-z][a-z -]*[a-z])  ", overview, re.MULTILINE), key=len, reverse=True)
    tried = 0
    for page, words in colophon_lines():
        text = " ".join(words[1:])
        command = next((name for name in commands if text == name or text.startswith(name + " ")), None)
        assert command, f"{page}: {text}"
        known = set(re.findall(r"--[a-z0-9-]+", run_quietly(*command.split(), "--help").stdout))
        used = {word.split("=")[0] for word in words if word.startswith("--")}
        assert used <= known, f"{page}: {text}: {used - known}"
        if command == "serve":
            with tempfile.TemporaryDirectory(prefix="colophon-docs-") as directory:
                Path(directory, "colophon.yaml").write_text(run_quietly("config", "show", "--documented").stdout)
                checked = run_quietly("config", "check", *words[2:], cwd=directory)
            assert checked.returncode == 0, f"{page}: {text}: {checked.stderr}"
        tried += 1
    assert tried > 20, tried


def test_configurations_in_the_documents_are_fine():
    tried = 0
    for page in PAGES:
        for _, text in blocks(page, "yaml"):
            with tempfile.TemporaryDirectory(prefix="colophon-docs-") as directory:
                Path(directory, "colophon.yaml").write_text(text)
                # Certificates that are named are looked at.
                subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=kafka", "-keyout", "/dev/null",
                                "-out", f"{directory}/ca.pem"], check=True, capture_output=True, timeout=PATIENCE)
                checked = run_quietly("config", "check", f"{directory}/colophon.yaml",
                                      env={**os.environ, "ADMIN_TOKEN": "x", "KAFKA_PASSWORD": "y"})
            assert checked.returncode == 0, f"{page.name}: {checked.stderr}"
            tried += 1
    assert tried >= 2


def test_paths_keys_metrics_and_files_that_are_named_are_there():
    keys = set()

    def walk(schema, prefix):
        for name, inner in schema["properties"].items():
            keys.add(prefix + name)
            if "properties" in inner:
                walk(inner, f"{prefix}{name}.")

    walk(json.loads((ROOT / "Config/colophon.schema.json").read_text()), "")
    flags = {"--" + key.replace(".", "-").replace("_", "-") for key in keys}
    with Upstream(ok) as upstream, Colophon(upstream.address, "--logs-to", "off") as colophon:
        paths = set(colophon.ask("/openapi.json")[1]["paths"])
    patterns = [re.compile("^" + re.sub(r"\{\w+\}", "[^/]+", path) + "$") for path in paths]
    sections = {key.split(".")[0] for key in keys if "." in key}
    listed = (ROOT / "docs/metrics.md").read_text()
    for page in PAGES:
        text = page.read_text()
        for path in re.findall(r"(?:9464|`)(/(?:v1/[\w/-]*\w|healthz|readyz|metrics|openapi\.json))", text):
            assert any(pattern.match(path) for pattern in patterns), f"{page.name} names {path}"
        for key in re.findall(r"`((?:" + "|".join(sorted(sections)) + r")\.[a-z_.]+)`", text):
            assert key in keys or key in ("logs.from_kafka",) or key.startswith("kafka.properties") or key.endswith((".md", ".yaml", ".log")), f"{page.name} names {key}"
        for flag in re.findall(r"`(--(?:kafka|logs|timeouts|limits|attribution|stamp|admin|exchanges|recommendation|spool)-[a-z-]+)", text):
            assert flag in flags, f"{page.name} names {flag}"
        for metric in re.findall(r"`(colophon_[a-z_]+)`", text):
            assert f"`{metric}`" in listed, f"{page.name} names {metric}"
    for page in {*PAGES, *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")}:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def shell_block(page, needle):
    return next(text for _, text in blocks(ROOT / "docs" / page, "sh") if needle in text)


def test_every_event_is_explained_with_its_level_and_no_other():
    """An operator who meets a word in the log finds it on the page."""
    told = {}
    for source in (ROOT / "Sources").rglob("*.swift"):
        text = source.read_text()
        for level, event in re.findall(r"\.(debug|info|warn|error),\s*\"([a-z]+(?:-[a-z]+)*)\"", text):
            told.setdefault(event, set()).add(level)
        for kind, event in re.findall(r"(failure|recovery)Event = \"([a-z-]+)\"", text):
            told.setdefault(event, set()).add("warn" if kind == "failure" else "info")
        # A level that depends on how things went.
        for good, bad, event in re.findall(r"\? \.(\w+) : \.(\w+),\s*\"([a-z]+(?:-[a-z]+)*)\"", text):
            told.setdefault(event, set()).update((good, bad))
    assert len(told) >= 40, sorted(told)
    page = (ROOT / "docs/events.md").read_text()
    explained = {event: set(levels.split(" or ")) for event, levels in re.findall(r"^\| `([a-z-]+)` \| ([a-z ]+) \|", page, re.MULTILINE)}
    assert explained == told, {event: (explained.get(event), told.get(event)) for event in {*explained, *told}
                               if explained.get(event) != told.get(event)}


def test_a_ledger_is_restored_as_it_is_told_even_after_a_crash():
    with Upstream(ok) as upstream, Colophon(upstream.address, "--attribution-settle", "none") as colophon:
        data, backup = colophon.path / "data", colophon.path / "backup"
        backup.mkdir()

        def do(needle):
            text = shell_block("operating.md", needle).replace("/var/lib/colophon", str(data)).replace("/backup", str(backup))
            subprocess.run(["sh", "-euc", text], check=True, timeout=PATIENCE)
        do(".backup")
        for number in range(2, 30):
            place(colophon.pointer, manifest(f"m{number}"))
            wait_until(lambda: colophon.get().one("X-Model-Version") == f"m{number}", "the activation")
        colophon.process.kill()
        colophon.process.wait()
        do("rm -f")
        shown = json.loads(run_quietly("history", "--json", "--data-dir", str(data)).stdout)["activations"]
        assert [entry["model_version"] for entry in shown] == ["m1"], shown


def test_dead_letters_are_posted_again_as_it_is_told():
    with Upstream(ok) as upstream, tempfile.TemporaryDirectory(prefix="colophon-docs-") as directory:
        out = Path(directory, "out")
        with Colophon(upstream.address, "--logs-to", f"file:{out}") as colophon:
            letters = colophon.path / "dead-letters.jsonl"
            line = "2025-03-04T18:21:03Z,{},recommendation request /recommend/7, status 200, result: \u00e9 \"a\", 4 ms"
            rows = [{"line": line.format(number), "origin": f"o{number}", "reason": "r"} for number in range(20_000)]
            rows[5:5] = [{"line_hex": "fffe", "origin": "x", "reason": "r"},
                          {"line": "the beginning", "piece": 0, "last": False, "origin": "y", "reason": "r"}]
            letters.write_text("".join(json.dumps(row) + "\n" for row in rows))
            text = shell_block("operating.md", "dead-letters.jsonl").replace("127.0.0.1:9464", colophon.admin)
            subprocess.run(["bash", "-euo", "pipefail", "-c", text], check=True, cwd=colophon.path, timeout=PATIENCE)
            wait_until(lambda: out.exists() and out.read_text().count("\n") == 20_000, "the lines")
        written = out.read_text().splitlines()
        assert all(text.startswith(line.format(number)) for number, text in enumerate(written)), written[:3]


def python_block(page, needle):
    return next(text for _, text in blocks(ROOT / "docs" / page, "python") if needle in text)


def test_the_plain_python_server_is_stamped():
    with tempfile.TemporaryDirectory(prefix="colophon-docs-") as directory:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        Path(directory, "server.py").write_text(python_block("in-front-of-your-server.md", "class Recommender").replace("8082", str(port)))
        server = subprocess.Popen([sys.executable, f"{directory}/server.py"], stderr=subprocess.DEVNULL)
        try:
            with Colophon(f"127.0.0.1:{port}") as colophon:
                wait_until(lambda: colophon.ask("/readyz")[0] == 200, "the server")
                response = colophon.get("/recommend/7")
                response.assert_stamped("m1")
                traced = subprocess.run([BINARY, "trace", "-", "--data-dir", str(colophon.path / "data")], input=response.raw,
                                        capture_output=True, timeout=PATIENCE)
                assert b"m1" in traced.stdout and traced.returncode == 0, traced
        finally:
            server.kill()
            server.wait()


def test_consumers_read_what_was_published():
    with tempfile.TemporaryDirectory(prefix="colophon-docs-") as directory:
        broker = subprocess.Popen([BINARY, "dev-broker"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            address = broker.stdout.readline().strip()
            Path(directory, "m.json").write_text(manifest("m1", trained_at="2025-01-01T00:00:00Z"))
            when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            lines = "".join(f"{when},{n},recommendation request /recommend/{n}, status 200, result: a,b, 42 ms\n" for n in range(5))
            published = run_quietly("enrich", "--to", f"kafka://{address}/recommendations", "--manifest", f"{directory}/m.json", "--data-dir",
                                    f"{directory}/data", input=lines)
            assert published.returncode == 0, published.stderr
            Path(directory, "consumer.py").write_text(python_block("consuming.md", "confluent_kafka"))
            counted = subprocess.run([sys.executable, f"{directory}/consumer.py"], capture_output=True, text=True, timeout=2 * PATIENCE,
                                     env={**os.environ, "BROKERS": address})
            assert counted.stdout.strip() == "{'m1': 5}", counted
            for _, text in blocks(ROOT / "docs/consuming.md", "sh"):
                for line in text.splitlines():
                    if not line.startswith("kcat"):
                        continue
                    line = line.replace("127.0.0.1:9092", address).replace("| colophon", f"| {BINARY}").replace("--json", f"--json --manifest {directory}/m.json")
                    shown = subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, timeout=PATIENCE)
                    assert shown.returncode == 0 and shown.stdout.count("m1") >= 5, (line, shown)
        finally:
            broker.send_signal(signal.SIGTERM)
            broker.wait(PATIENCE)


def test_what_is_to_be_looked_at_first_is_there():
    with Upstream(ok) as upstream, Colophon(upstream.address) as colophon:
        block = next(text for _, text in blocks(ROOT / "docs/in-front-of-your-server.md", "sh") if "grep -i x-model" in text)
        host, port = colophon.address
        script = block.replace("127.0.0.1:8080", f"{host}:{port}").replace("127.0.0.1:9464", colophon.admin).replace("| colophon", f"| {BINARY}")
        shown = subprocess.run(["bash", "-e", "-o", "pipefail", "-c", script], capture_output=True, text=True, timeout=PATIENCE,
                               env={**os.environ, "COLOPHON_DATA_DIR": str(colophon.path / "data")})
        assert shown.returncode == 0, shown
        assert "X-Model-Version: m1" in shown.stdout and '"ready": true' in shown.stdout and "manifest" in shown.stdout, shown.stdout


def test_a_promotion_is_what_the_page_says():
    with Upstream(ok) as upstream, Colophon(upstream.address, "--attribution-settle", "none") as colophon:
        (colophon.path / "old.json").write_text(manifest("als-20250304"))
        run_quietly("index", "add", str(colophon.path / "old.json"), "--data-dir", str(colophon.path / "data"))
        block = next(text for _, text in blocks(ROOT / "docs/operating.md", "sh") if "/v1/activations" in text)
        script = block.replace("127.0.0.1:9464", colophon.admin).replace("colophon history", f"{BINARY} history")
        shown = subprocess.run(["bash", "-e", "-c", script], capture_output=True, text=True, timeout=PATIENCE,
                               env={**os.environ, "COLOPHON_DATA_DIR": str(colophon.path / "data")})
        assert shown.returncode == 0 and "api by alice" in shown.stdout, shown
        colophon.get().assert_stamped("als-20250304")


def words_of_the_program():
    """Its source, where a text that goes on in the next line is one text."""
    return re.sub(r'"\s*\+\s*"', "", "".join(path.read_text() for path in (ROOT / "Sources").rglob("*.swift")))


def test_tracing_answers_what_its_page_says():
    """Each row of the page: what is held, and how surely it is answered."""
    page = (ROOT / "docs/tracing.md").read_text()
    with Upstream(ok) as upstream, Colophon(upstream.address, "--attribution-settle", "none", "--exchanges-bytes", "32MiB", "--poll", "500ms",
                                            version="als-1") as colophon:
        data = str(colophon.path / "data")
        began = time.time()
        wait_until(lambda: time.time() > began + 1.3, "a time that is far enough from the activation")
        plain, own = colophon.get("/recommend/7"), colophon.get("/recommend/7", "X-Request-Id: mine\r\n")
        digest, minted = plain.one("X-Model-Manifest"), plain.one("X-Request-Id")
        line = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 1)) + ",7,recommendation request /recommend/7, status 200, result: a,b, 4 ms"

        def answer(held, **more):
            result = run_quietly("trace", held, "--json", "--data-dir", data, **more)
            assert result.returncode == 0, (held, result.returncode, result.stdout, result.stderr)
            return json.loads(result.stdout)["attribution"]
        block = "HTTP/1.1 200 OK\r\n" + "".join(f"{name}: {value}\r\n" for name, value in plain.fields) + "\r\n"
        rows = {
            "the headers of a response": (answer("-", input=block), plain.one("X-Model-Attribution")),
            "an enriched log line": (answer(f"{line}, model_version=als-1, manifest_sha256={digest}"), "exact"),
            "a log line that nothing was added to": (answer(line), "inferred"),
            "a request id that Colophon minted": (answer(minted), "inferred"),
            "a digest, or its first digits": (answer(digest[:12]), "exact"),
            "a version, commit": (answer("als-1"), "exact"),
        }
        for held, (said, expected) in rows.items():
            [row] = [row for row in page.splitlines() if row.startswith(f"| {held}")]
            assert said == expected and (f"`{said}`" in row or "as the response said" in row), (row, said, expected)
        # The record of an exchange is on the disk a moment later.
        wait_until(lambda: run_quietly("trace", "mine", "--data-dir", data).returncode == 0, "the record")
        assert own.one("X-Request-Id") == "mine"
        early = run_quietly("trace", line.replace(line[:4], "2001", 1), "--data-dir", data)
        assert early.returncode == 4 and "has no activation of the variant" in early.stdout, early
    # What is said where it is less sure is what the page explains.
    notes = re.findall(r'"((?:nobody|has no) [a-z ]+[a-z])', page)
    source = words_of_the_program() + early.stdout
    assert len(notes) == 3 and all(note in source for note in notes), [note for note in notes if note not in source]
    # Files that are not what they were.
    with tempfile.TemporaryDirectory(prefix="colophon-docs-") as directory:
        Path(directory, "w.bin").write_text("weights")
        Path(directory, "d.csv").write_text("user_id,movie_id\n1,2\n")
        subprocess.run([BINARY, "manifest", "create", "--model-family", "als", "--data", "d.csv", "--artifact", "w=w.bin"], cwd=directory, check=True,
                       capture_output=True, timeout=PATIENCE)
        digest = json.loads(Path(directory, "model_manifest.json").read_text())["manifest_sha256"]
        assert run_quietly("trace", digest, "--verify", "--manifests", ".", cwd=directory).returncode == 0
        Path(directory, "w.bin").write_text("others!")
        assert run_quietly("trace", digest, "--verify", "--manifests", ".", cwd=directory).returncode == 1


def test_messages_that_are_explained_are_those_that_are_written():
    """What stands under "When something is wrong" can be found by whoever has the message before them."""
    source = words_of_the_program()
    part = (ROOT / "README.md").read_text().split("## When something is wrong")[1].split("\n## ")[0]
    entries = re.findall(r"^- \*\*(.+?)\*\*", part, re.MULTILINE | re.DOTALL)
    messages = [quoted for entry in entries for quoted in re.findall(r"`([^`]+)`", entry)]
    assert len(entries) >= 12 and len(messages) >= 9, entries
    # What is put together of several words is asked for.
    with socket.create_server(("127.0.0.1", 0)) as taken, tempfile.TemporaryDirectory(prefix="colophon-docs-") as directory:
        place(Path(directory, "m.json"), manifest("m1"))
        for port, file in ((taken.getsockname()[1], "m.json"), (0, "none.json")):
            source += run_quietly("serve", "--listen", f"127.0.0.1:{port}", "--upstream", "127.0.0.1:1", "--manifest", f"{directory}/{file}",
                                  "--data-dir", f"{directory}/data").stderr.lower()
    others = {"/v1/logs", "fault", "reason"}
    for message in messages:
        pieces = [piece.strip(' "').removeprefix("--") for piece in re.split(r"…|, |: |[=:\" ](?=\w+=)|[=\"]+", " ".join(message.split()))]
        for piece in pieces:
            assert piece in source or piece in others, f"nothing says {piece!r} of {message!r}"


if __name__ == "__main__":
    run(globals())
