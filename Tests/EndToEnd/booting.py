"""The Debian package and the image in systems of their own: a Debian that is made from its archive, with systemd as its first process, where
apt installs, upgrades and removes the package, and systemd runs its unit; and the steps of the Dockerfile, run one by one.

Needs root, and the archive that apt uses here. Elsewhere it is skipped, and says so.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "proxy"))

from harness import PATIENCE, Upstream, manifest, ok, run, wait_until  # noqa: E402
from installing import BINARY, ROOT, instructions, package, shell, starts  # noqa: E402


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


if os.geteuid() != 0:
    skip("making systems needs root")
for program in ("debootstrap", "systemd-nspawn", "nsenter"):
    if not shutil.which(program):
        skip(f"{program} is missing: make deps-test")


def archive():
    """Where apt gets Debian from on this machine, and its release."""
    release = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', Path("/etc/os-release").read_text(), re.MULTILINE))["VERSION_CODENAME"]
    for row in shell("apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)").stdout.splitlines():
        address, name = row.split()
        if name == release:
            return address, release
    skip("apt has no archive of this release (apt-get update)")


class Debian:
    """A minimal Debian, made once and copied for each test."""

    made = None

    def __init__(self):
        self.directory = Path(tempfile.mkdtemp(prefix="colophon-debian-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
        self.root = self.directory / "root"
        self.process = None

    def __enter__(self):
        if not Debian.made:
            Debian.made = Path(tempfile.mkdtemp(prefix="colophon-debian-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
            address, release = archive()
            # What it mounts goes with it, even when it is killed.
            made = subprocess.run(["unshare", "--mount", "--propagation", "private", "debootstrap", "--variant=minbase", "--include=systemd,dbus,ca-certificates", release, str(Debian.made / "root"),
                                   address], capture_output=True, text=True)
            assert made.returncode == 0, made.stdout[-3000:] + made.stderr
        shell("cp", "-a", Debian.made / "root", self.root)
        return self

    def __exit__(self, *_):
        if self.process and self.process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.inside("systemctl", "poweroff", "--force", check=False)
                self.process.wait(20)
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def boot(self):
        """Starts it with systemd, on this machine's network."""
        # No name of the directory's: those may end in what a machine's may not.
        self.process = subprocess.Popen(
            ["systemd-nspawn", "--quiet", "-D", str(self.root), "-M", f"colophon-{uuid.uuid4().hex}", "--boot", "--register=no", "--keep-unit", "--console=pipe"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open(self.directory / "nspawn.log", "w"), start_new_session=True)

        def leader():
            """The child that is the first process in there: another one prepares its place, and goes."""
            assert self.process.poll() is None, "systemd-nspawn has ended: " + (self.directory / "nspawn.log").read_text()
            for child in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
                with contextlib.suppress(OSError):
                    if re.search(r"^NSpid:\s+\d+\s+1$", Path(f"/proc/{child}/status").read_text(), re.MULTILINE):
                        return child
        self.leader = wait_until(leader, "the first process")

        def is_up():
            self.state = self.inside("systemctl", "is-system-running", check=False)
            return self.state.stdout.strip() in ("running", "degraded")
        try:
            # As long as it takes on a machine that does other things too.
            for _ in range(4):
                with contextlib.suppress(AssertionError):
                    wait_until(is_up, "the boot")
                    return
            raise AssertionError
        except AssertionError:
            jobs = self.inside("systemctl", "list-jobs", "--no-pager", check=False)
            raise AssertionError(f"it did not come up: {self.state.stdout}{self.state.stderr}{jobs.stdout}{jobs.stderr}") from None

    def inside(self, *command, check=True):
        return shell("nsenter", "-t", self.leader, "-m", "-u", "-i", "-p", "--", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                     "DEBIAN_FRONTEND=noninteractive", *command, check=check)

    def command(self, words, user=None):
        """What runs `words` in the system without its first process, as a container has them: with /proc, in mounts of its own."""
        as_user = [] if user is None else [f"--userspec={user}"]
        return ["unshare", "--mount", "/bin/sh", "-c", f'mount -t proc proc {self.root}/proc && exec chroot "$@"', "sh", *as_user, str(self.root), *words]

    def chroot(self, script, *, environment=(), user=None):
        return shell(*self.command(["/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *environment, "/bin/sh", "-c", script], user))

    def property(self, name):
        return self.inside("systemctl", "show", "-P", name, "colophon.service").stdout.strip()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def stamped(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=PATIENCE) as answer:
            return answer.headers["X-Model-Version"]
    except OSError:
        return None


def test_apt_installs_it_and_systemd_runs_it_hardened_through_crashes_and_upgrades():
    first, second = package(), package("0.1.1~test")
    listen, admin = free_port(), free_port()
    try:
        with Debian() as system, Upstream(ok) as upstream:
            for path in (first, second):
                shutil.copy(path, system.root / "root")
            system.boot()
            system.inside("apt-get", "update", "-qq")
            # With all that it depends on, from the archive.
            system.inside("apt-get", "install", "-y", "-qq", "--no-install-recommends", f"/root/{first.name}")
            assert system.inside("colophon", "version").stdout.startswith("colophon ")
            assert system.inside("systemctl", "is-active", "colophon", check=False).stdout.strip() == "inactive", "it must not start by itself"
            config = system.root / "etc/colophon/colophon.yaml"
            status = config.stat()
            group = system.inside("getent", "group", "colophon").stdout.split(":")[2]
            assert status.st_mode & 0o777 == 0o640 and status.st_gid == int(group) and status.st_uid == 0
            config.write_text(f"listen: 127.0.0.1:{listen}\nupstream: {upstream.address}\nmanifest: /srv/model/model_manifest.json\n"
                              f"data_dir: /var/lib/colophon\nadmin: {{listen: \"127.0.0.1:{admin}\"}}\n"
                              "log: {access: /var/log/colophon/access.log}\nlogs: {unix: /run/colophon/lines, to: \"file:/var/log/colophon/lines\"}\n")
            # A manifest that comes late is waited for, for as long as it takes.
            system.inside("systemctl", "enable", "--now", "colophon", check=False)
            wait_until(lambda: int(system.property("NRestarts") or 0) >= 6, "more starts than systemd allows by itself")
            (system.root / "srv/model").mkdir(parents=True)
            (system.root / "srv/model/model_manifest.json").write_text(manifest("m1"))
            wait_until(lambda: stamped(listen) == "m1", "the late manifest")
            process = system.property("MainPID")
            shown = system.inside("cat", f"/proc/{process}/status").stdout
            user = system.inside("id", "-u", "colophon").stdout.strip()
            assert re.search(rf"^Uid:\s+{user}\s", shown, re.MULTILINE) and user != "0", shown
            assert re.search(r"^CapEff:\s+0+$", shown, re.MULTILINE) and re.search(r"^NoNewPrivs:\s+1$", shown, re.MULTILINE), shown
            assert re.search(r"^Seccomp:\s+2$", shown, re.MULTILINE), shown
            # What it may write is what its keys name there.
            assert (system.root / "var/lib/colophon/ledger.sqlite").exists()
            wait_until(lambda: (system.root / "var/log/colophon/access.log").stat().st_size > 0, "the access log")
            assert (system.root / "var/lib/colophon").stat().st_mode & 0o777 == 0o750
            # The way of an operator: reload, crash, look.
            (system.root / "srv/model/model_manifest.json").write_text(manifest("m2"))
            wait_until(lambda: stamped(listen) == "m2", "the promotion")
            system.inside("systemctl", "reload", "colophon")
            wait_until(lambda: "reload" in system.inside("journalctl", "-u", "colophon", "--no-pager").stdout, "the reload in the journal")
            system.inside("kill", "-9", process)
            wait_until(lambda: system.property("MainPID") not in ("0", process) and stamped(listen) == "m2", "the restart after a crash")
            assert "m1" in system.inside("colophon", "history", "--json").stdout
            # An upgrade restarts it, and keeps what was written.
            process = system.property("MainPID")
            system.inside("apt-get", "install", "-y", "-qq", "--no-install-recommends", f"/root/{second.name}")
            wait_until(lambda: system.property("MainPID") not in ("0", process) and stamped(listen) == "m2", "the restart after the upgrade")
            assert f"127.0.0.1:{listen}" in config.read_text(), "an upgrade has overwritten the configuration"
            assert "0.1.1~test" in system.inside("dpkg-query", "-W", "colophon").stdout
            # Wrong is wrong, however often it is tried: it says so and stays down.
            config.write_text(config.read_text() + "pol: 2s\n")
            system.inside("systemctl", "restart", "colophon", check=False)
            wait_until(lambda: system.inside("systemctl", "is-failed", "colophon", check=False).stdout.strip() == "failed", "the refusal")
            assert "did you mean poll?" in system.inside("journalctl", "-u", "colophon", "--no-pager").stdout
            system.inside("apt-get", "remove", "-y", "-qq", "colophon")
            assert not (system.root / "usr/bin/colophon").exists() and (system.root / "var/lib/colophon/ledger.sqlite").exists()
            assert stamped(listen) is None
            system.inside("apt-get", "purge", "-y", "-qq", "colophon")
            left = [name for name in ("var/lib/colophon", "var/log/colophon", "etc/colophon") if (system.root / name).exists()]
            assert not left, left
    finally:
        for path in (first, second):
            path.unlink(missing_ok=True)


def test_the_steps_of_the_dockerfile_make_an_image_that_serves():
    """The last stage from an empty Debian on, with the program as it is built here in the place of the first stage's."""
    steps = instructions((ROOT / "Dockerfile").read_text())
    last = steps[max(index for index, step in enumerate(steps) if step[0] == "FROM"):]
    with Debian() as system, Upstream(ok) as upstream:
        environment, user, words = [], None, []
        for name, rest in last[1:]:
            match name:
                case "RUN":
                    system.chroot(rest)
                case "COPY":
                    source, target = rest.split()[-2:]
                    (system.root / target.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
                    if rest.startswith("--from=build"):
                        assert source == "/colophon", rest
                        shell("strip", "-o", system.root / target.lstrip("/"), BINARY)
                    else:
                        shutil.copy(ROOT / source, system.root / target.lstrip("/"))
                case "USER":
                    user = rest
                case "ENV":
                    environment += re.findall(r"(\w+=\S+)", rest)
                case "ENTRYPOINT" | "CMD":
                    words += json.loads(rest)
                case "VOLUME" | "EXPOSE" | "STOPSIGNAL":
                    pass
                case _:
                    raise AssertionError(f"{name} is not known here")
        assert words == ["/usr/bin/colophon", "serve", "--config", "/etc/colophon/colophon.yaml"] and user == "10001:10001"
        (system.root / "srv/model").mkdir(parents=True)
        (system.root / "srv/model/model_manifest.json").write_text(manifest("m1"))
        settings = [*environment, "COLOPHON_LISTEN=127.0.0.1:0", "COLOPHON_ADMIN_LISTEN=127.0.0.1:0", f"COLOPHON_UPSTREAM={upstream.address}"]
        log = system.directory / "log"
        with open(log, "w") as errors:
            process = subprocess.Popen(system.command(["/usr/bin/env", "-i", *settings, *words], user), stderr=errors, stdin=subprocess.DEVNULL)
        try:
            def started():
                assert process.poll() is None, log.read_text()
                return starts(log)
            port = wait_until(started, "the start")[0]["listen"].rsplit(":", 1)[1]
            assert stamped(port) == "m1"
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0, log.read_text()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        # A file that is mounted over it is what counts: no variable of the image stands against it.
        other = system.root / "etc/colophon/colophon.yaml"
        other.write_text("manifest: /srv/manifest\n")
        shown = system.chroot("colophon config show /etc/colophon/colophon.yaml", environment=environment, user=user).stdout
        assert re.search(r"^manifest: /srv/manifest", shown, re.MULTILINE), shown


if __name__ == "__main__":
    try:
        run(globals())
    finally:
        if Debian.made:
            shutil.rmtree(Debian.made, ignore_errors=True)
