"""The configuration: a file, the environment and flags together; loaded anew while it serves; checked, shown, and described."""

import contextlib
import json
import re
import os
import signal
import socket
import subprocess
import tempfile
from datetime import datetime
from pathlib import Path

import jsonschema
import yaml

from harness import COLOPHON, PATIENCE, Colophon, Upstream, manifest, notes, ok, place, run, wait_until

ROOT = Path(__file__).resolve().parents[3]


class Configured(Colophon):
    """A `colophon serve` that is told everything by a file, in its own directory."""

    def __init__(self, upstream, text="", *args, environment=None):
        self.directory = tempfile.TemporaryDirectory(prefix="colophon-e2e-")
        self.path = Path(self.directory.name)
        self.upstream = upstream
        self.pointer = self.path / "model_manifest.json"
        place(self.pointer, manifest("m1"))
        self.write(text)
        self.errors = open(self.path / "errors", "w+")
        # From another directory: paths of the file are relative to the file.
        self.process = subprocess.Popen(
            [os.path.abspath(COLOPHON), "serve", "--config", str(self.path / "colophon.yaml"), *args], stderr=self.errors,
            stdin=subprocess.DEVNULL, cwd="/", env={**os.environ, **(environment or {})})

    def write(self, text):
        place(self.path / "colophon.yaml", f"""
listen: 127.0.0.1:0
upstream: {self.upstream}
data_dir: data
workers: 1
{"" if "manifest:" in text else "manifest: model_manifest.json"}
{"" if "admin:" in text else "admin: {listen: '127.0.0.1:0'}"}
{"" if "log:" in text else "log: {format: json}"}
{text}""")

    def reload(self, text, event="reload"):
        """Writes another file, has it loaded, and returns what was said of it."""
        before = len(self.events(event))
        self.write(text)
        self.process.send_signal(signal.SIGHUP)
        return self.event(event, before + 1)


def colophon(*args, environment=None, cwd=None):
    return subprocess.run([os.path.abspath(COLOPHON), *args], capture_output=True, text=True, timeout=PATIENCE, cwd=cwd,
                          env={**os.environ, **(environment or {})})


def test_a_file_says_everything_and_flags_and_variables_win():
    with Upstream(ok) as upstream:
        with Configured(upstream.address, "stamp: {version: X-Of-File, commit: X-Of-File-Too}\n", "--stamp-commit", "X-Of-Flag",
                        environment={"COLOPHON_STAMP_VERSION": "X-Of-Variable"}) as served:
            response = served.get()
            assert response.one("X-Of-Variable") == "m1" and response.one("X-Of-Flag") == "80d8e56", response.fields
            assert not response.all("X-Of-File") and not response.all("X-Of-File-Too")
            assert (served.path / "data" / "ledger.sqlite").exists()


def test_what_can_change_changes_and_what_cannot_is_named():
    with Upstream(ok) as upstream, Configured(upstream.address, "attribution: {settle: none}\n") as served:
        served.get().assert_stamped("m1")
        place(served.path / "other.json", manifest("m2"))
        said = served.reload(
            "attribution: {settle: none}\nmanifest: other.json\nlog: {format: text, level: debug}\n"
            "instance: other\ntimeouts: {idle: 50ms}\n")
        assert sorted(said["changed"]) == ["log.level", "manifest", "timeouts.idle"], said
        needed = served.event("restart-needed")
        assert sorted(needed["keys"]) == ["instance", "log.format"], needed
        wait_until(lambda: served.get().one("X-Model-Version") == "m2", "the other manifest")
        with served.connect() as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: m\r\n\r\n")
            # The new patience with idle connections: ours is closed, soon and without another word.
            connection.settimeout(PATIENCE)
            data = b""
            while chunk := connection.recv(1 << 16):
                data += chunk
            assert data.startswith(b"HTTP/1.1 200"), data
        status = served.ask("/v1/status")[1]
        assert sorted(status["configuration"]["need_restart"]) == ["instance", "log.format"], status
        # On record with who sent the signal.
        latest = served.ask("/v1/history")[1]["activations"][0]
        assert latest["model_version"] == "m2" and latest["cause"] == "signal", latest
        assert latest["actor"] == f"process {os.getpid()} of user {os.getuid()}", latest
        assert served.reload("attribution: {settle: none}\nmanifest: other.json\n")["changed"] == ["timeouts.idle", "log.level"]
        assert served.ask("/v1/status")[1]["configuration"]["need_restart"] == []


def test_what_is_noted_of_the_pointer_promises_what_the_new_poll_keeps():
    with Upstream(ok) as upstream, Configured(upstream.address, "poll: 100ms\n") as served:
        def promised():
            """For how many seconds the last note vouches."""
            found = notes(served.path / "data")
            if len(found) != 1:
                return float("nan")
            [note] = found
            noted, due = (datetime.fromisoformat(text) for text in note.read_text().split("\n")[:2])
            return (due - noted).total_seconds()
        wait_until(lambda: promised() < 11, "the note")
        served.reload("poll: 10m\n")
        wait_until(lambda: promised() > 1200, "a note that lasts until the next look")


def test_the_token_changes_without_a_restart():
    with Upstream(ok) as upstream, Configured(upstream.address) as served:
        assert served.ask("/v1/status")[0] == 200
        served.reload("admin: {listen: '127.0.0.1:0', token: one}\n")
        assert served.ask("/v1/status")[0] == 401
        served.reload("admin: {listen: '127.0.0.1:0'}\n")
        assert served.ask("/v1/status")[0] == 200


def test_a_bad_file_changes_nothing_and_is_told_of():
    with Upstream(ok) as upstream, Configured(upstream.address, "attribution: {settle: none}\n") as served:
        bad = [
            ("poll: 1s\nkafka: {broker: x}\n", "there is no key kafka.broker; did you mean kafka.brokers?"),
            ("poll: 1s\na: [\n", "did not find expected node content"),
            ("poll: 1s\nroute: {default: nobody}\n", "route.default names nobody, which is no variant"),
            ("poll: 1s\nadmin: {listen: '0.0.0.0:0'}\n", "can be reached from elsewhere"),
        ]
        for text, words in bad:
            said = served.reload("attribution: {settle: none}\n" + text, "reload-refused")
            assert words in said["problems"][0] and "colophon.yaml:" in said["problems"][0], said
        (served.path / "colophon.yaml").unlink()
        served.process.send_signal(signal.SIGHUP)
        assert "cannot be read" in served.event("reload-refused", len(bad) + 1)["problems"][0]
        status = served.ask("/v1/status")[1]["configuration"]
        assert status["failed_reloads"] == len(bad) + 1 and "cannot be read" in status["problem"], status
        served.get().assert_stamped("m1")
        # The pointer is looked at all the same.
        place(served.pointer, manifest("m2"))
        served.process.send_signal(signal.SIGHUP)
        wait_until(lambda: served.get().one("X-Model-Version") == "m2", "the other manifest")
        said = served.reload("attribution: {settle: none}\npoll: 1s\n")
        assert said["changed"] == ["poll"] and served.ask("/v1/status")[1]["configuration"]["problem"] is None


def test_what_serve_refuses_check_refuses_by_the_same_words():
    with tempfile.TemporaryDirectory(prefix="colophon-e2e-") as directory:
        file = Path(directory, "c.yaml")
        for text, words in [
            ("workers: 0\n", "c.yaml:1: workers takes a number from 1 to 256"),
            ("upstream: nowhere\n", "c.yaml:1: upstream nowhere: it has no port"),
            ("limits: {connections: 1}\nworkers: 2\n", "c.yaml:1: limits.connections 1 is less than --workers 2"),
            ("kafka: {brokers: 'b:1', properties: {acks: '1'}}\n", "acks"),
            ("kafka: {brokers: 'b:1', properties: {sasl.pasword: hunter2}}\n", "sasl.pasword"),
            ("logs: {files: [x]}\n", "c.yaml:1: logs.files has nowhere to go"),
        ]:
            file.write_text(text)
            check = colophon("config", "check", "c.yaml", cwd=directory)
            serve = colophon("serve", "--config", "c.yaml", cwd=directory)
            assert check.returncode == serve.returncode == 2, (text, check, serve)
            assert words in check.stderr and check.stderr.splitlines()[0] == serve.stderr.splitlines()[0], (check, serve)
            assert "hunter2" not in check.stderr
            document = json.loads(colophon("config", "check", "c.yaml", "--json", cwd=directory).stdout)
            assert not document["ok"] and words in document["problems"][0], document
        file.write_text("upstream: model.invalid:80\n")
        check = colophon("config", "check", "c.yaml", cwd=directory)
        assert check.returncode == 0 and "does not resolve" in check.stderr and "1 key is set" in check.stdout, check


def test_everything_that_contradicts_itself_is_told_at_once():
    with tempfile.TemporaryDirectory(prefix="colophon-e2e-") as directory:
        Path(directory, "c.yaml").write_text(
            "instance: a/b\nupstream: localhost\nroute: {default: zzz}\nadmin: {listen: 0.0.0.0:9464}\n"
            "stamp: {version: X-A, commit: x-a}\nkafka: {brokers: 'b:1', properties: {security.protocl: ssl}}\n"
            "logs: {from_kafka: {topic: recommendations}}\nlisten: 127.0.0.1:9464\n")
        check = colophon("config", "check", "c.yaml", cwd=directory)
        told = check.stderr.splitlines()
        for words in [':1: instance "a/b" is no name', ":2: upstream localhost: it has no port", ":3: route.default names zzz", ":4: admin.listen 0.0.0.0:9464 can be",
                      ":5: stamp.commit is x-a, as stamp.version is", "security.protocl"]:
            assert sum(words in line for line in told) == 1, (words, told)
        assert check.returncode == 2
        # What cannot be read is told first, and that it was not all.
        Path(directory, "c.yaml").write_text("poll: often\nupstream: localhost\n")
        told = colophon("config", "check", "c.yaml", cwd=directory).stderr.splitlines()
        assert "poll takes" in told[0] and "is looked at when each of them can be read" in told[1], told


def test_a_file_to_begin_with_is_the_same_in_every_shell():
    plain = colophon("config", "show", "--documented").stdout
    assert colophon("config", "show", "--documented", environment={"COLOPHON_DATA_DIR": "/elsewhere"}).stdout == plain
    # Where the ledger is the machine decides, for whoever begins with it.
    assert "\n# data_dir: /var/lib/colophon\n" in plain


def test_enrich_reads_the_same_file():
    with tempfile.TemporaryDirectory(prefix="colophon-e2e-") as directory:
        Path(directory, "m.json").write_text(manifest("m1"))
        Path(directory, "c.yaml").write_text("logs: {match: all, to: 'file:out'}\nworkers: 1\n")
        line = "2025-03-04T18:21:03Z something else\n"
        result = subprocess.run([COLOPHON, "enrich", "--config", f"{directory}/c.yaml", "--manifest", f"{directory}/m.json"],
                                input=line, capture_output=True, text=True, timeout=PATIENCE)
        assert result.returncode == 0, result
        out = Path(directory, "out").read_text()
        assert out.startswith(line.rstrip()) and "model_version=m1" in out, out
        result = subprocess.run([COLOPHON, "enrich", "--config", f"{directory}/c.yaml", "--to", "stdout", "--manifest", f"{directory}/m.json"],
                                input=line, capture_output=True, text=True, timeout=PATIENCE)
        assert "model_version=m1" in result.stdout, result


def test_the_schema_takes_what_the_program_takes():
    schema = json.loads((ROOT / "Config" / "colophon.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    texts = [(ROOT / name).read_text() for name in ("Config/colophon.yaml", "Packaging/colophon.yaml", "Packaging/container.yaml")]
    pod = yaml.safe_load_all((ROOT / "Examples/kubernetes/sidecar.yaml").read_text())
    texts += [data for part in pod if part["kind"] == "ConfigMap" for name, data in part["data"].items() if name.endswith(".yaml")]
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        texts += re.findall(r"^```yaml\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    demo = re.search(r"<<YAML\n(.*?)^YAML$", (ROOT / "Examples/demo").read_text(), re.MULTILINE | re.DOTALL)[1]
    texts.append(re.sub(r"\$\(.*?\)|\$\w+", "127.0.0.1:1", demo))
    assert len(texts) >= 7
    for text in texts:
        validator.validate(yaml.safe_load(text))
    # Both agree on what is right and what is wrong.
    for text, fits in [
        ("listen: [a:1, b:2]", True), ("upstream: {a: 'h:1'}\nmanifest: m", True), ("workers: auto", True), ("workers: 3", True),
        ("workers: 0", False), ("workers: many", False), ("poll: 5", True), ("poll: 5s", True), ("poll: 5 s", False),
        ("spool: {bytes: 16777216}", True), ("spool: {bytes: 1GB}", False), ("kafka:\n", True), ("kafka: x", False),
        ("kafka: {brokers: \"b:1\", properties: {linger.ms: 5}}", True), ("kafka: {properties: [a]}", False), ("log: {access: off}", True),
        ("verify: off", True), ("verify: maybe", False), ("manifest_optional: yes", True), ("manifest_optional: 5", False),
        ("unknown: 1", False), ("kafka: {brokers: [a]}", False), ("attribution: {settle: none}", True),
    ]:
        document = yaml.safe_load(text)
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(text)
            file.flush()
            check = colophon("config", "check", file.name)
        assert validator.is_valid(document) == fits, text
        # The program also knows what contradicts itself.
        assert (check.returncode == 0) == fits, (text, check.stderr)


if __name__ == "__main__":
    run(globals())
