"""Ways to install: the Debian package in a system of its own, the unit, `make install`, what shells and readers get, and what the
container's files say."""

import contextlib
import gzip
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parent / "proxy"))

from harness import COLOPHON, PATIENCE, Upstream, manifest, ok, run, wait_until  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
BINARY = os.path.abspath(COLOPHON)


def shell(*command, check=True, **more):
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120, **more)
    assert not check or result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
    return result


def package(version=None):
    return ROOT / shell(ROOT / "Tools/make-deb", BINARY, *([version] if version else [])).stdout.strip()


class System:
    """An empty system that dpkg installs into: nothing of this machine is touched."""

    def __init__(self, directory):
        self.root = Path(directory, "root")
        for name in ("var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers", "var/log"):
            (self.root / name).mkdir(parents=True)
        (self.root / "var/lib/dpkg/status").touch()

    def dpkg(self, *args):
        # What it depends on is not there, and needs not be: this machine's libraries are used.
        return shell("fakeroot", "dpkg", f"--root={self.root}", "--force-script-chrootless", "--force-depends", "--force-not-root",
                     "--force-confold", "--force-bad-path", "--no-triggers", f"--log={self.root}/var/log/dpkg.log", *args)

    def files(self):
        return {str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file()}


def starts(log):
    """The events that say that it serves."""
    found = []
    for line in log.read_text().splitlines():
        with contextlib.suppress(ValueError):
            event = json.loads(line)
            if event["event"] == "start":
                found.append(event)
    return found


def command_line(unit, key):
    lines = [line.split("=", 1)[1] for line in unit.read_text().splitlines() if line.startswith(key + "=")]
    assert len(lines) == 1, (key, lines)
    return shlex.split(lines[0])


@contextlib.contextmanager
def serving(system, upstream):
    """What the unit would run, in the system that was installed: its own command lines, with other ports."""
    unit = system.root / "lib/systemd/system/colophon.service"
    environment = {**os.environ, "COLOPHON_LISTEN": "127.0.0.1:0", "COLOPHON_ADMIN_LISTEN": "127.0.0.1:0", "COLOPHON_UPSTREAM": upstream,
                   "COLOPHON_DATA_DIR": str(system.root / "var/lib/colophon"), "COLOPHON_LOG_FORMAT": "json",
                   "COLOPHON_MANIFEST": str(system.root / "srv/model_manifest.json")}

    def words(key):
        return [str(system.root) + word if word.startswith("/") else word for word in command_line(unit, key)]

    log = system.root / "log"
    with open(log, "w") as errors:
        process = subprocess.Popen(words("ExecStart"), stderr=errors, stdin=subprocess.DEVNULL, env=environment)
    try:
        def started():
            assert process.poll() is None, log.read_text()
            return starts(log)
        yield wait_until(started, "the start")[0]
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0, log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_the_package_installs_serves_upgrades_and_goes():
    first, second = package(), package("0.1.1~test")
    with tempfile.TemporaryDirectory(prefix="colophon-deb-") as directory, Upstream(ok) as upstream:
        system = System(directory)
        system.dpkg("-i", first)
        (system.root / "srv").mkdir()
        (system.root / "srv/model_manifest.json").write_text(manifest("m1"))
        (system.root / "var/lib/colophon").mkdir(parents=True)
        with serving(system, upstream.address) as start:
            with urllib.request.urlopen(f"http://{start['listen']}/", timeout=PATIENCE) as answer:
                assert answer.headers["X-Model-Version"] == "m1"
        # Where Debian's zsh looks for what packages bring.
        assert (system.root / "usr/share/zsh/vendor-completions/_colophon").exists()
        config = system.root / "etc/colophon/colophon.yaml"
        config.write_text(config.read_text() + "poll: 3s\n")
        system.dpkg("-i", second)
        assert "poll: 3s" in config.read_text(), "an upgrade has overwritten the configuration"
        assert "0.1.1~test" in (system.root / "var/lib/dpkg/status").read_text()
        with serving(system, upstream.address):
            pass
        history = shell(system.root / "usr/bin/colophon", "history", "--json", "--data-dir", system.root / "var/lib/colophon")
        assert len(json.loads(history.stdout)["activations"]) == 1, "the ledger did not survive the upgrade"
        system.dpkg("-r", "colophon")
        assert not (system.root / "usr/bin/colophon").exists() and config.exists()
        assert (system.root / "var/lib/colophon/ledger.sqlite").exists(), "removing the package must keep the ledger"
        system.dpkg("-P", "colophon")
        left = {name for name in system.files() if not name.startswith(("var/lib/dpkg", "var/log", "srv", "log"))}
        assert not left, left
    for path in (first, second):
        path.unlink()


def test_the_unit_is_sound_and_hardened():
    with tempfile.TemporaryDirectory(prefix="colophon-unit-") as directory:
        path = Path(directory, "colophon.service")
        # Its paths are those of a system that has it installed.
        path.write_text((ROOT / "Packaging/colophon.service").read_text().replace("/usr/bin/colophon", BINARY)
                        .replace("Documentation=man:colophon(1)\n", ""))
        verified = shell("systemd-analyze", "verify", path, check=False)
        ours = [line for line in (verified.stdout + verified.stderr).splitlines() if "colophon" in line]
        assert not ours, ours
        shell("systemd-analyze", "security", "--offline=true", "--threshold=20", path)


def allowed_calls(unit):
    """The system calls that the unit's filter lets through."""
    def expand(name):
        if not name.startswith("@"):
            return {name}
        listed = shell("systemd-analyze", "syscall-filter", name).stdout.splitlines()
        return set().union(*(expand(line.strip()) for line in listed[1:] if line.strip() and not line.strip().startswith("#")))

    allowed = set()
    for line in unit.read_text().splitlines():
        if line.startswith("SystemCallFilter=~"):
            for name in line.split("=~", 1)[1].split():
                allowed -= expand(name)
        elif line.startswith("SystemCallFilter="):
            for name in line.split("=", 1)[1].split():
                allowed |= expand(name)
    return allowed


def test_the_units_filter_lets_everything_through_that_is_called():
    allowed = allowed_calls(ROOT / "Packaging/colophon.service")
    assert "epoll_wait" in allowed and "mount" not in allowed
    with tempfile.TemporaryDirectory(prefix="colophon-calls-") as directory, Upstream(ok) as upstream:
        here = Path(directory)
        (here / "m.json").write_text(manifest("m1"))
        calls = here / "calls"
        with open(here / "errors", "w") as errors:
            process = subprocess.Popen(
                ["strace", "-f", "-qq", "-o", str(calls), BINARY, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
                 "--upstream", upstream.address, "--manifest", str(here / "m.json"), "--data-dir", str(here / "data"), "--log-format", "json",
                 "--kafka-brokers", "127.0.0.1:1", "--logs-unix", f"datagram:{here}/lines", "--recommendation-line", "true",
                 "--exchanges-bytes", "32MiB", "--log-access", str(here / "access")], stderr=errors, stdin=subprocess.DEVNULL)
        try:
            def started():
                assert process.poll() is None, (here / "errors").read_text()
                return starts(here / "errors")
            start = wait_until(started, "the start")[0]
            for path in ("/recommend/1", "/2"):
                urllib.request.urlopen(f"http://{start['listen']}{path}", timeout=PATIENCE).read()
            for path in ("/readyz", "/metrics", "/v1/manifests", "/v1/trace?input=m1"):
                urllib.request.urlopen(f"http://{start['admin']}{path}", timeout=PATIENCE).read()
            (here / "m.json").write_text(manifest("m2"))
            wait_until(lambda: '"m2"' in (here / "errors").read_text(), "the activation")
            # The tracer passes signals to nobody: what it traces is its child.
            child = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
            os.kill(child, signal.SIGTERM)
            process.wait(PATIENCE)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        called = set(re.findall(r"^\d+\s+(\w+)\(", calls.read_text(), re.MULTILINE))
        assert len(called) > 40, called
        # SQLite gives its files to the owner of their directory, where it is root, which the unit is not.
        only_root = {"fchown"} if os.geteuid() == 0 else set()
        assert called - only_root <= allowed, called - allowed


def test_make_install_puts_everything_in_its_place():
    with tempfile.TemporaryDirectory(prefix="colophon-install-") as directory:
        shell(ROOT / "Tools/install", BINARY, "/opt/colophon", env={**os.environ, "DESTDIR": directory})
        prefix = Path(directory, "opt/colophon")
        assert shell(prefix / "bin/colophon", "--version").stdout.startswith("colophon ")
        page = Path(directory, "page")
        page.write_bytes(gzip.decompress((prefix / "share/man/man1/colophon.1.gz").read_bytes()))
        said = shell("groff", "-man", "-Tutf8", "-ww", "-z", page)
        assert not said.stderr, said.stderr
        shown = shell("groff", "-man", "-Tascii", "-P-cbou", page).stdout
        overview = shell(BINARY, "--help").stdout
        for command in re.findall(r"^  ([a-z][a-z -]*[a-z])  ", overview, re.MULTILINE):
            assert f"colophon {command}" in re.sub(r"\s+", " ", shown), f"the manual page has no {command}"
        for name in ("share/bash-completion/completions/colophon", "share/zsh/site-functions/_colophon",
                     "share/fish/vendor_completions.d/colophon.fish", "share/doc/colophon/colophon.yaml"):
            assert (prefix / name).stat().st_size > 1000, name


def test_shells_complete_commands_options_and_words():
    with tempfile.TemporaryDirectory(prefix="colophon-shell-") as directory:
        for name in ("bash", "zsh", "fish"):
            Path(directory, name).write_text(shell(BINARY, "completions", name).stdout)

        def bash(*words):
            script = f"source {directory}/bash; COMP_WORDS=({' '.join(shlex.quote(w) for w in words)}); COMP_CWORD={len(words) - 1}; _colophon; " \
                     'printf "%s\\n" "${COMPREPLY[@]}"'
            return shell("bash", "-c", script).stdout.split()

        def fish(line):
            answers = shell("fish", "--no-config", "-c", f"source {directory}/fish; complete -C {shlex.quote(line)}").stdout
            return [answer.split("\t")[0] for answer in answers.splitlines()]

        for complete in (bash, lambda *words: fish(" ".join(words))):
            assert "serve" in complete("colophon", "se") and "manifest" in complete("colophon", "ma")
            assert set(complete("colophon", "manifest", "")) >= {"create", "verify", "show", "diff"}
            assert "--kafka-brokers" in complete("colophon", "serve", "--kafka-b")
            assert set(complete("colophon", "serve", "--verify", "")) == {"strict", "warn", "off"}
            assert "--data-version" in complete("colophon", "manifest", "create", "--data-v")
        # zsh completes only at a prompt: so its functions are stood in for, which say what they were given.
        script = f"""
            compdef() {{ }}; compadd() {{ shift; print -l -- "$@" }}; _files() {{ print FILES }}
            _describe() {{ print -l -- "${{(@P)2}}" }}
            source {directory}/zsh
            complete() {{ words=("$@"); CURRENT=$#; _colophon }}
            complete colophon ''; print -- '=='; complete colophon config ''; print -- '=='; complete colophon serve --verify ''; print -- '=='
            complete colophon serve --; print -- '=='; complete colophon trace ''
        """
        parts = shell("zsh", "-f", "-c", script).stdout.split("==\n")
        assert any(line.startswith("serve:Stand in front") for line in parts[0].splitlines()), parts[0]
        assert [line.split(":")[0] for line in parts[1].splitlines()] == ["check", "show", "schema"], parts[1]
        assert parts[2].split() == ["strict", "warn", "off"]
        assert any(line.startswith("--kafka-brokers:") for line in parts[3].splitlines())
        assert parts[4].strip() == "FILES"


def instructions(text):
    """The instructions of a Dockerfile, continuation lines joined."""
    joined = re.sub(r"\\\n", " ", "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#")))
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]


def test_container_files_say_what_is_so():
    steps = instructions((ROOT / "Dockerfile").read_text())
    known = {"ARG", "FROM", "SHELL", "RUN", "WORKDIR", "COPY", "USER", "VOLUME", "ENV", "EXPOSE", "STOPSIGNAL", "ENTRYPOINT", "CMD"}
    assert {step[0] for step in steps} <= known
    for name, rest in steps:
        if name == "RUN":
            shell("bash", "-n", "-c", rest)
        if name == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
        if name in ("ENTRYPOINT", "CMD", "SHELL"):
            assert isinstance(json.loads(rest), list)
    # What the image installs is what the program is linked with.
    runtime = [rest for name, rest in steps if name == "RUN"][-1]
    needed = {line.split("=>")[0].strip() for line in shell("ldd", BINARY).stdout.splitlines() if "=>" in line}
    direct = set(re.findall(r"NEEDED\s+(\S+)", shell("objdump", "-p", BINARY).stdout))
    packages = {"libsqlite3.so.0": "libsqlite3-0", "libcrypto.so.3": "libssl3", "librdkafka.so.1": "librdkafka1",
                "libxxhash.so.0": "libxxhash0", "libyaml-0.so.2": "libyaml-0-2", "libstdc++.so.6": "libstdc++6"}
    base = {"libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
    assert direct - base <= set(packages), direct - base - set(packages)
    for library in direct - base:
        assert packages[library] in runtime.split(), f"the image lacks {packages[library]}"
        assert library in needed
    build = [rest for name, rest in steps if name == "RUN"][0].split()
    development = set(re.findall(r'apt\(\["([^"]+)"\]\)', (ROOT / "Package.swift").read_text()))
    development |= set(re.findall(r'"(lib\w+-dev)"', (ROOT / "Package.swift").read_text()))
    assert development <= set(build), development - set(build)
    # No variable, which would win over every file that is mounted; and its own file is sound.
    assert not [step for step in steps if step[0] == "ENV"]
    assert "is fine" in shell(BINARY, "config", "check", ROOT / "Packaging/container.yaml").stdout
    shell(Path(sys.executable).with_name("hadolint"), ROOT / "Dockerfile", cwd=ROOT)


def test_kubernetes_examples_fit_together():
    documents = list(yaml.safe_load_all((ROOT / "Examples/kubernetes/sidecar.yaml").read_text()))
    kinds = {(d["kind"], d["metadata"]["name"]): d for d in documents}
    pod = kinds["Deployment", "recommender"]["spec"]["template"]["spec"]
    server, sidecar = pod["containers"]
    config = kinds["ConfigMap", "colophon"]["data"]["colophon.yaml"]
    with tempfile.TemporaryDirectory(prefix="colophon-k8s-") as directory:
        Path(directory, "colophon.yaml").write_text(config)
        variables = {entry["name"]: "value" for entry in sidecar["env"]}
        checked = shell(BINARY, "config", "check", f"{directory}/colophon.yaml", env={"PATH": os.environ["PATH"], **variables})
        assert not checked.stderr, checked.stderr
        Path(directory, "m.json").write_text(kinds["ConfigMap", "model-manifest"]["data"]["model_manifest.json"])
        shell(BINARY, "manifest", "show", f"{directory}/m.json")
    settings = yaml.safe_load(config)
    ports = {port["name"]: port["containerPort"] for port in sidecar["ports"]}
    assert settings["listen"].endswith(f":{ports['http']}") and settings["admin"]["listen"].endswith(f":{ports['admin']}")
    assert server["args"][-1] == settings["upstream"]
    mounts = {mount["name"]: mount["mountPath"] for mount in sidecar["volumeMounts"]}
    assert mounts == {"manifest": settings["manifest"], "config": "/etc/colophon", "data": settings["data_dir"]}
    assert {volume["name"] for volume in pod["volumes"]} == set(mounts)
    # Whatever it refers to is in the file, or its README says how to make it.
    readme = (ROOT / "Examples/kubernetes/README.md").read_text()
    for entry in sidecar["env"]:
        if secret := entry["valueFrom"].get("secretKeyRef"):
            assert f"kubectl create secret generic {secret['name']} --from-literal={secret['key']}=" in readme, secret
    for volume in pod["volumes"]:
        assert "configMap" not in volume or ("ConfigMap", volume["configMap"]["name"]) in kinds, volume
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        # They bear no token.
        assert sidecar[probe]["httpGet"]["path"] in ("/healthz", "/readyz"), probe
    assert kinds["Service", "recommender"]["spec"]["ports"][0]["targetPort"] == "http"
    drain = int(settings["timeouts"]["drain"].removesuffix("s"))
    wait = int(sidecar["lifecycle"]["preStop"]["exec"]["command"][-1])
    assert pod["terminationGracePeriodSeconds"] > drain + wait


if __name__ == "__main__":
    run(globals())
