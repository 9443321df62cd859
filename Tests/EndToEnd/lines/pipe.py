"""`colophon enrich` as a filter: nothing else runs. What is written, when, what becomes of it when somebody stops it, and what it says."""

import json
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(HERE, "..", "proxy"))
from harness import COLOPHON, PATIENCE, manifest, run, wait_until  # noqa: E402

CHUNK = 64 << 10


def line(n):
    return f"2025-03-04T18:21:03.{n:06}Z,{n},recommendation request /recommend/{n}, status 200, result: a,b, 4 ms"


class Pipe:
    """The filter between two pipes, with one manifest that is taken for the active one."""

    def __init__(self, *args, version="m1"):
        self.args, self.version = args, version

    def __enter__(self):
        self.directory = tempfile.TemporaryDirectory(prefix="colophon-pipe-")
        self.path = Path(self.directory.name)
        (self.path / "m.json").write_text(manifest(self.version))
        self.process = self.start()
        return self

    def start(self, source=subprocess.PIPE):
        return subprocess.Popen([COLOPHON, "enrich", "--manifest", str(self.path / "m.json"), *self.args], stdin=source,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def give(self, text):
        self.process.stdin.write(text if isinstance(text, bytes) else text.encode())
        self.process.stdin.flush()

    def take(self, count):
        """So many bytes as have come when that many are there."""
        taken = b""
        while len(taken) < count:
            assert select.select([self.process.stdout], [], [], PATIENCE)[0], f"{len(taken)} bytes of {count} have come"
            piece = os.read(self.process.stdout.fileno(), 1 << 20)
            assert piece, f"it ended after {len(taken)} bytes of {count}"
            taken += piece
        return taken

    def __exit__(self, *failure):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        self.directory.cleanup()


def once(text, *args, code=0, version="m1"):
    """What comes of `text`, and what it says."""
    with Pipe(*args, version=version) as pipe:
        out, err = pipe.process.communicate(text if isinstance(text, bytes) else text.encode(), timeout=PATIENCE)
        assert pipe.process.returncode == code, (pipe.process.returncode, err)
        return out, err.decode()


def test_what_was_read_is_written_before_it_waits_for_more():
    """Also where exactly as much comes as is read at once."""
    with Pipe("--match", "all") as pipe:
        for size in (CHUNK, 2 * CHUNK, 100, CHUNK - 1, CHUNK + 1):
            text = (b"x" * 127 + b"\n") * (size // 128)
            text += b"y" * (size - len(text) - 1) + b"\n" if size > len(text) else b""
            assert len(text) == size
            pipe.give(text)
            out = pipe.take(size)
            while out.count(b"\n") < text.count(b"\n"):
                out += pipe.take(1)
            assert b"".join(one.split(b", model_version=")[0] + b"\n" for one in out.splitlines()) == text


def test_whoever_stops_it_loses_nothing_of_what_was_read():
    for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        with Pipe() as pipe:
            text = "".join(line(n) + "\n" for n in range(2000))
            pipe.give(text)
            first = pipe.take(1)
            pipe.process.send_signal(one)
            # Standard input stays open: it ends by itself.
            out = first + pipe.process.stdout.read()
            err = pipe.process.stderr.read().decode()
            assert pipe.process.wait(PATIENCE) == 1, err
            # What it did not read is in the pipe, for whoever reads on.
            written = b"\n".join(one.split(b", model_version=")[0] for one in out.split(b"\n")).decode()
            assert text.startswith(written) and written.endswith("\n") and len(written) >= CHUNK // 2 and "ended by a signal" in err, (written[-100:], err)
            left = os.open(f"/proc/self/fd/{pipe.process.stdin.fileno()}", os.O_RDONLY | os.O_NONBLOCK)
            rest = b""
            try:
                while piece := os.read(left, 1 << 20):
                    rest += piece
            except BlockingIOError:
                pass
            os.close(left)
            assert written + rest.decode() == text, (len(written), len(rest), len(text))


def test_a_second_signal_ends_what_nobody_reads():
    with Pipe() as pipe:
        pipe.process.communicate()
        # More than a pipe holds, and nobody takes it.
        (pipe.path / "lines").write_text("".join(line(n) + "\n" for n in range(40_000)))
        with open(pipe.path / "lines") as source:
            pipe.process = pipe.start(source)
        wait_until(lambda: "pipe_write" in Path(f"/proc/{pipe.process.pid}/wchan").read_text(), "it to wait for a reader")
        pipe.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "SigCgt" in status(pipe) and not int(status(pipe)["SigCgt"], 16) >> (signal.SIGTERM - 1) & 1, "the first signal to be seen")
        assert pipe.process.poll() is None
        pipe.process.send_signal(signal.SIGTERM)
        assert pipe.process.wait(PATIENCE) == -signal.SIGTERM


def status(pipe):
    return dict(row.split(":\t", 1) for row in Path(f"/proc/{pipe.process.pid}/status").read_text().splitlines() if ":\t" in row)


def test_ends_of_lines_are_kept_as_they_are():
    for end in ("\n", "\r\n", ""):
        out, _ = once(line(1) + "\n" + line(2) + end)
        first, second = out.decode().split("\n", 1)
        assert first.startswith(line(1) + ", model_version=m1, ")
        assert second.startswith(line(2) + ", model_version=m1, ") and second.endswith(end)
        assert end or not second.endswith("\n")
    assert once("")[0] == b"" and once("\n\n")[0] == b"\n\n"


def test_any_bytes_come_out_as_they_went_in():
    chance = random.Random(5)
    lines = []
    for n in range(3000):
        one = line(n).encode() if chance.random() < 0.5 else chance.randbytes(chance.randrange(400)).replace(b"\n", b"")
        if chance.random() < 0.01:
            one += b"z" * chance.randrange(1_200_000)
        lines.append(one)
    out, err = once(b"\n".join(lines) + b"\n", "--match", "all")
    written = out.split(b"\n")
    assert len(written) == len(lines) + 1 and not written[-1]
    for before, after in zip(lines, written):
        kept = len(os.path.commonprefix([before, after]))
        kept += len(os.path.commonprefix([before[::-1], after[::-1]]))
        assert kept >= len(before) <= len(after), (before[:200], after[:300])
        if len(before) > 900 << 10:
            assert before == after
    too_long = sum(len(one) > 900 << 10 for one in lines)
    assert too_long and f"{too_long} too long" in err, (too_long, err)


def test_the_summary_counts_every_line():
    text = line(1) + "\nsomething else\n" + line(2) + ", model_version=m1\n" + '{"event":"recommendation"\n' + line(3)
    out, err = once(text, "--json")
    said = json.loads(err)
    assert (said["lines"], said["enriched"], said["kept"], said["forwarded"], said["unreadable"]) == (5, 2, 1, 1, 1), said
    assert said["unknown"] == 1 and said["exact"] == 1 and said["inferred"] == 2, said
    assert sum(said["unknown_by"].values()) == 1, said
    _, err = once('{"path":"/recommend/7","model_version":"a","model_version":"b"}\n{"path":"/recommend/7","time":"soon"}\n{"path":"/recommend/7","time":"late"}\n')
    assert "unknown (2 with a time that was not understood, 1 whose words on their manifest are not whole, or contradict each other)" in err, err
    _, err = once('{"path":"/recommend/7","time":"soon"}\n')
    assert "1 unknown (with a time that was not understood)" in err, err
    out, err = once(text, "--unmatched", "drop")
    assert out.count(b"\n") == 3 and "1 dropped" in err, err


def test_a_file_that_ends_within_a_line_gets_its_end_first():
    with Pipe() as pipe:
        pipe.process.communicate()
        pipe.args = ("--to", f"file:{pipe.path}/out")
        for n in (1, 2):
            pipe.process = pipe.start()
            pipe.process.communicate(line(n).encode(), timeout=PATIENCE)
            assert pipe.process.returncode == 0
        one, two = (pipe.path / "out").read_text().split("\n")
        assert one.startswith(line(1)) and two.startswith(line(2)), (one, two)


def test_a_reader_that_goes_away_ends_it():
    with Pipe() as pipe:
        pipe.process.stdout.close()
        try:
            while True:
                pipe.give("".join(line(n) + "\n" for n in range(1000)))
        except BrokenPipeError:
            pass
        pipe.process.stdin = None
        assert pipe.process.wait(PATIENCE) == -signal.SIGPIPE
        pipe.process.stdout = None


def test_what_it_says_is_written_nowhere_else():
    """Where a descriptor is closed, the next file that is opened would have its number."""
    with Pipe() as pipe:
        pipe.process.communicate()
        for closed in ("2>&-", "1>&- 2>&-", "0<&- 2>&-", "0<&- 1>&- 2>&-"):
            out = pipe.path / "out"
            out.unlink(missing_ok=True)
            (pipe.path / "in").write_text(line(1) + "\n")
            source = "" if closed.startswith("0") else f"<{pipe.path}/in"
            command = f"{COLOPHON} enrich --manifest {pipe.path}/m.json --data-dir {pipe.path}/data --to file:{out} {source} {closed}"
            assert subprocess.run(["sh", "-c", command], timeout=PATIENCE).returncode == (0 if source else 1)
            assert out.read_text().count("\n") == (1 if source else 0) and "colophon:" not in out.read_text(), out.read_text()
            cursor = pipe.path / "data/instances/enrich/spool/cursor"
            assert not cursor.exists() or b"colophon" not in cursor.read_bytes(), cursor.read_bytes()
        # What cannot be written is not taken for written.
        (pipe.path / "log").write_text(line(1) + "\n" + line(2) + "\n")
        enrich = f"{COLOPHON} enrich --manifest {pipe.path}/m.json --data-dir {pipe.path}/d --files {pipe.path}/log --once"
        for redirection, code, count in (("1>&-", 1, 0), ("", 0, 2)):
            result = subprocess.run(["sh", "-c", f"{enrich} {redirection}"], capture_output=True, text=True, timeout=PATIENCE)
            assert (result.returncode, result.stdout.count("\n")) == (code, count), result


def test_a_manifest_that_cannot_be_active_is_refused():
    _, err = once("", code=1, version="v" * 300)
    assert "cannot have been active" in err and "shorter version" in err, err


run(globals())
