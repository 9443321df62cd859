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
        for link in re.findall(r"\]\(([^)#:]+)\)", text):
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


if __name__ == "__main__":
    run(globals())
