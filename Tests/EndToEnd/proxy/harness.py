"""What the end-to-end tests of the proxy share: a colophon that serves, upstreams that do as they are told, raw clients.

Every wait is for a condition and has an end; every process and thread that is started here is stopped here.
"""

import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

COLOPHON = sys.argv[1] if len(sys.argv) > 1 else ".build/release/colophon"
PATIENCE = 30

# Where this runs in the background, or by nohup, signals may be ignored, and whoever is started here would ignore them too.
for one in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(one) is signal.SIG_IGN:
        signal.signal(one, signal.default_int_handler if one is signal.SIGINT else signal.SIG_DFL)
MODEL_HEADERS = ["x-model-version", "x-pipeline-commit", "x-data-version", "x-model-manifest", "x-model-attribution"]


def wait_until(condition, what, patience=PATIENCE):
    """Waits until `condition()` is true, and returns what it returned."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        result = condition()
        if result:
            return result
        time.sleep(0.01)
    raise AssertionError(f"never happened: {what}")


def manifest(version, **more):
    document = {
        "model_version": version,
        "pipeline": {"git_commit": "80d8e56f5c1b4a7e9d3c2b1a0f9e8d7c6b5a4f3e"},
        "data": {"dataset_version": "ds-" + version},
    }
    document.update(more)
    return json.dumps(document)


def notes(data, variant="default"):
    """What says until when somebody watched the pointers of a variant; what is being written is none yet."""
    return sorted(note for note in (data / "watched" / variant).glob("*") if note.suffix != ".new")


def place(path, text):
    """Swaps a file's contents in one step, as a trainer does."""
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "w") as file:
        file.write(text)
    os.rename(temporary, path)


def all_stand_still(process):
    """Whether a process that was told to stop has done so, with all of its threads."""
    stands = []
    for thread in Path(f"/proc/{process.pid}/task").iterdir():
        with contextlib.suppress(OSError):
            stands.append(" T " in (thread / "stat").read_text())
    return all(stands)


@contextlib.contextmanager
def stopped(process):
    """While it stands still."""
    process.send_signal(signal.SIGSTOP)
    try:
        wait_until(lambda: all_stand_still(process), "all of its threads to stand still")
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def large(path, seconds=4):
    """Makes a file that takes about as long to be hashed, however fast this machine is: its size and digest."""
    piece, began, count = b"\0" * (1 << 20), time.monotonic(), 0
    digest = hashlib.sha256()
    while count < 64 or time.monotonic() < began + seconds:
        digest.update(piece)
        count += 1
    with open(path, "wb") as out:
        out.truncate(count << 20)
    return count << 20, digest.hexdigest()


# So large that nobody is ever done with hashing it.
ENDLESS = 1 << 40


class Colophon:
    """A `colophon serve` on ports of its own, stopped at the end."""

    def __init__(self, upstream, *args, version="m1", listen="127.0.0.1:0", manifest_args=None, directory=None):
        self.directory = tempfile.TemporaryDirectory(prefix="colophon-e2e-")
        self.path = Path(directory or self.directory.name)
        self.pointer = self.path / "model_manifest.json"
        if version is not None:
            place(self.pointer, manifest(version))
        # Two may share a directory.
        self.errors = tempfile.NamedTemporaryFile("w+", prefix="errors-", dir=self.path, delete=False)
        manifest_args = ["--manifest", str(self.pointer)] if manifest_args is None else manifest_args
        self.process = subprocess.Popen(
            [COLOPHON, "serve", "--listen", listen, "--upstream", upstream, *manifest_args, "--data-dir",
             str(self.path / "data"), "--admin-listen", "127.0.0.1:0", "--log-format", "json",
             *([] if "--workers" in args else ["--workers", "1"]), *args],
            stderr=self.errors, stdin=subprocess.DEVNULL)

    def __enter__(self):
        start = self.event("start")
        self.listen = start["listen"]
        if not self.listen.startswith("unix:"):
            host, port = self.listen.split(",")[0].rsplit(":", 1)
            self.address = (host.strip("[]"), int(port))
        self.admin = start["admin"]
        return self

    def __exit__(self, kind, value, trace):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if kind is not None:
            print("--- what colophon said:\n" + self.said(), file=sys.stderr)
        self.directory.cleanup()

    def said(self):
        with open(self.errors.name) as file:
            return file.read()

    def events(self, name):
        found = []
        for line in self.said().splitlines():
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if event["event"] == name:
                    found.append(event)
        return found

    def event(self, name, count=1):
        def found():
            has_ended = self.process.poll() is not None
            events = self.events(name)
            if len(events) < count and has_ended:
                raise AssertionError(f"colophon ended with {self.process.returncode}:\n{self.said()}")
            return len(events) >= count and events[count - 1]
        return wait_until(found, f"event {name}")

    def ask(self, path):
        """A question to the admin listener: status and document."""
        try:
            with urllib.request.urlopen(f"http://{self.admin}{path}", timeout=PATIENCE) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def totals(self):
        return self.ask("/v1/status")[1]["totals"]

    def memory(self):
        """Resident KiB."""
        return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())[1])

    def connect(self):
        connection = socket.create_connection(self.address, timeout=PATIENCE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def exchange(self, data):
        """Sends bytes and returns everything that comes until the end."""
        with self.connect() as connection:
            connection.sendall(data)
            return read_to_end(connection)

    def get(self, path="/", headers="", method="GET"):
        """One request; the parsed response."""
        data = self.exchange(f"{method} {path} HTTP/1.1\r\nHost: model\r\nConnection: close\r\n{headers}\r\n".encode())
        return Response(data, method)


def read_to_end(connection):
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(1 << 16):
            data += chunk
    return data


class Response:
    """A response that was read to the end of its connection."""

    def __init__(self, data, method="GET"):
        self.raw = data
        head, self.gap, rest = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        assert self.gap, f"no whole head in {data[:300]!r}"
        self.status = int(lines[0].split(" ")[1])
        self.fields = [tuple(line.split(": ", 1)) for line in lines[1:]]
        self.rest = rest

    def all(self, name):
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def one(self, name):
        values = self.all(name)
        assert len(values) == 1, f"{name} stands {len(values)} times in {self.fields}"
        return values[0]

    def assert_stamped(self, version, attribution="inferred"):
        assert self.one("X-Model-Version") == version, self.fields
        assert self.one("X-Pipeline-Commit") == "80d8e56", self.fields
        assert self.one("X-Data-Version") == "ds-" + version, self.fields
        assert re.fullmatch("[0-9a-f]{64}", self.one("X-Model-Manifest")), self.fields
        assert self.one("X-Model-Attribution") == attribution, self.fields

    def assert_ours(self, status, fault):
        assert self.status == status, self.raw[:400]
        for name in MODEL_HEADERS:
            assert not self.all(name), f"{name} on a response of the sidecar's own"
        if self.rest:
            problem = json.loads(self.rest)
            assert problem["status"] == status and problem["fault"] == fault, problem
        assert self.one("Server-Timing") == f'colophon;desc="{fault}"'
        assert self.one("Content-Type") == "application/problem+json"


class Upstream:
    """A server of raw bytes: for each request head that it reads it calls `behave(connection, head, rest)`, which writes what
    it likes; it returns true to keep the connection."""

    def __init__(self, behave, family=socket.AF_INET, path=None):
        self.behave = behave
        self.listener = socket.socket(family, socket.SOCK_STREAM)
        if family != socket.AF_UNIX:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(path or (("::1" if family == socket.AF_INET6 else "127.0.0.1"), 0))
        self.listener.listen(4096)
        name = self.listener.getsockname()
        self.address = f"unix:{path}" if path else (f"[::1]:{name[1]}" if family == socket.AF_INET6 else f"127.0.0.1:{name[1]}")
        self.heads = []
        self.connections = []
        self.lock = threading.Lock()
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.close()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                with self.lock:
                    self.connections.append(connection)
                threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        data = b""
        with contextlib.suppress(OSError), connection:
            connection.settimeout(PATIENCE)
            while True:
                while b"\r\n\r\n" not in data:
                    chunk = connection.recv(1 << 16)
                    if not chunk:
                        return
                    data += chunk
                head, _, data = data.partition(b"\r\n\r\n")
                with self.lock:
                    self.heads.append(head.decode("latin-1"))
                rest = Rest(connection, data)
                if not self.behave(connection, head.decode("latin-1"), rest):
                    return
                data = rest.data


class Rest:
    """What follows a head, read as far as it is wanted."""

    def __init__(self, connection, data):
        self.connection = connection
        self.data = data

    def take(self, count):
        while len(self.data) < count:
            chunk = self.connection.recv(1 << 16)
            if not chunk:
                raise ConnectionResetError
            self.data += chunk
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def until(self, mark):
        while mark not in self.data:
            chunk = self.connection.recv(1 << 16)
            if not chunk:
                raise ConnectionResetError
            self.data += chunk
        taken, _, self.data = self.data.partition(mark)
        return taken


def ok(connection, head, rest, body=b"fine", fields=""):
    """The behaviour of a well-behaved server."""
    match = re.search(r"(?i)^content-length: (\d+)$", head.replace("\r\n", "\n"), re.M)
    if match:
        rest.take(int(match[1]))
    shown = b"" if head.startswith("HEAD ") else body
    connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{fields}\r\n".encode() + shown)
    return True


def run(tests):
    """Runs every test of a module, or those that are named, and says which one failed."""
    for name, test in sorted(tests.items()):
        if name.startswith("test_") and (len(sys.argv) < 3 or name in sys.argv[2:]):
            try:
                test()
            except BaseException:
                print(f"FAILED: {name}", file=sys.stderr)
                raise
            print(f"ok {name}")
