"""Lines over Unix stream sockets: whoever sends waits while there is no room, and what was sent before an orderly end, or taken before a kill,
is neither lost nor torn, nor out of order."""

import contextlib
import json
import os
import re
import select
import signal
import socket
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(HERE, "..", "proxy"))
from harness import COLOPHON, PATIENCE, Colophon, Upstream, ok, run, stopped, wait_until  # noqa: E402

USUAL = "status 200, result: " + ",".join(["the+lord+of+the+rings+2001"] * 8)


def line(n):
    return f"2025-03-04T18:21:03.{n % 1_000_000:06}Z,{n % 97},recommendation request /recommend/{n}, {USUAL}, 4 ms"


def numbers(text, cut=()):
    """The number of each line, every one of which is whole, with what was added behind it; but for those that may have been cut."""
    found = []
    for each in text.splitlines():
        match = re.match(r".*?/recommend/(\d+), ", each)
        if match and each.startswith(line(int(match[1]))):
            found.append(int(match[1]))
            continue
        own = re.split(", (?:attribution|model_version)=", each)[0]
        assert any(one.startswith(own) for one in cut), each
    return found


class Sender(threading.Thread):
    """Sends numbered lines until it cannot, and knows how many of them were sent whole."""

    def __init__(self, path, first=0, most=None):
        super().__init__(daemon=True)
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.connect(str(path))
        self.first, self.most = first, most
        self.sent = first
        self.start()

    def run(self):
        try:
            while self.most is None or self.sent < self.most:
                self.connection.sendall((line(self.sent) + "\n").encode())
                self.sent += 1
        except OSError:
            return

    def end(self):
        self.join(PATIENCE)
        assert not self.is_alive(), "it still sends"
        self.connection.close()
        return self.sent


def serving(at, upstream, *args):
    return Colophon(upstream.address, "--logs-unix", str(at / "lines.sock"), "--logs-to", f"file:{at / 'out'}", *args, directory=str(at))


def written(at):
    """Its whole lines: the last one may just be written."""
    text = (at / "out").read_text() if (at / "out").exists() else ""
    return text[:text.rfind("\n") + 1]


def metrics_of(colophon):
    return urllib.request.urlopen(f"http://{colophon.admin}/metrics", timeout=PATIENCE).read().decode()


def is_full(colophon, sender, limit=16 << 20):
    """Whether nothing more is taken, and not only for a moment: those who can wait leave an eighth of the spool to those who cannot, and there
    must be room for all that may be read at once."""
    sent = sender.sent
    status = colophon.ask("/v1/status")[1]["lines"]
    [unix] = [one for one in status["sources"] if one["source"] == "unix"]
    is_stuck = not select.select([], [sender.connection], [], 0)[1]
    return unix["held_up"] and status["spool_bytes"] > limit * 7 // 8 - (3 << 20) and is_stuck and sent == sender.sent


LAST = 990_000_000


def pass_a_last_one(at):
    """Whatever was spooled before it has arrived once it has."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(at / "lines.sock"))
        connection.sendall((line(LAST) + "\n").encode())
    wait_until(lambda: f"/recommend/{LAST}," in written(at), "the last line")


def place():
    return tempfile.TemporaryDirectory(prefix="colophon-sockets-")


def test_what_was_sent_before_an_orderly_end_is_there():
    with Upstream(ok) as upstream, place() as name:
        at = Path(name)
        sent = []
        for turn in range(3):
            with serving(at, upstream) as colophon:
                senders = [Sender(at / "lines.sock", first=10_000_000 * (3 * turn + n)) for n in range(3)]
                before = written(at).count("\n")
                wait_until(lambda: written(at).count("\n") > before + 2000, "lines to pass")
                colophon.terminate()
                assert colophon.process.wait(PATIENCE) == 0, colophon.said()
                sent += [range(sender.first, sender.end()) for sender in senders]
                assert not colophon.events("bytes-lost"), colophon.said()
        # What waited in the spool goes out with the next start.
        with serving(at, upstream) as colophon:
            pass_a_last_one(at)
        # The last of each may have been sent in part, or whole but for its end.
        got = list(dict.fromkeys(numbers(written(at), [line(one.stop) for one in sent])))
        for one in sent:
            own = [n for n in got if one.start <= n < one.start + 10_000_000]
            assert own[:len(one)] == list(one) and len(own) <= len(one) + 1, (one, len(own))


def test_after_a_kill_what_arrives_is_whole_and_without_holes():
    with Upstream(ok) as upstream, place() as name:
        at = Path(name)
        with serving(at, upstream) as colophon:
            sender = Sender(at / "lines.sock")
            wait_until(lambda: len(numbers(written(at))) > 2000, "lines to pass")
            colophon.process.send_signal(signal.SIGKILL)
            colophon.process.wait(PATIENCE)
            sent = sender.end()
        # The file may end with half a line: the next process ends that, and writes it anew.
        count = len(numbers(written(at)))
        with serving(at, upstream) as colophon:
            pass_a_last_one(at)
        got = numbers(written(at), [line(count), line(sent)])
        got.remove(LAST)
        # Some twice, none before another that it followed, and none left out.
        distinct = list(dict.fromkeys(got))
        assert distinct == list(range(len(distinct))) and count <= len(distinct) <= sent + 1, (count, len(distinct), sent)


@contextlib.contextmanager
def full(most=None):
    """Nobody reads: what can be written is soon full, then the spool, then the socket. The sidecar, who sends, and where to read."""
    with Upstream(ok) as upstream, place() as name:
        at = Path(name)
        os.mkfifo(at / "out")
        reader = os.open(at / "out", os.O_RDONLY | os.O_NONBLOCK)
        try:
            with serving(at, upstream, "--spool-bytes", "16MiB", "--kafka-in-flight", "100") as colophon:
                sender = Sender(at / "lines.sock", most=most)
                wait_until(lambda: is_full(colophon, sender), "everything to be full")
                yield colophon, sender, reader
        finally:
            os.close(reader)


def test_whoever_sends_waits_while_there_is_no_room_and_all_goes_out_when_there_is():
    """Only a hundred lines are on their way at once: if each hundred waited a second for something else, these would take half an hour."""
    with full(most=150_000) as (colophon, sender, reader):
        assert sender.is_alive() and sender.sent < 150_000
        os.set_blocking(reader, True)
        pieces, count = [], 0
        deadline = time.monotonic() + 10 * PATIENCE
        while count < 150_000:
            assert time.monotonic() < deadline, count
            assert select.select([reader], [], [], PATIENCE)[0], count
            pieces.append(os.read(reader, 1 << 20))
            count += pieces[-1].count(b"\n")
        text = b"".join(pieces)
        assert sender.end() == 150_000
        assert numbers(text.decode()) == list(range(150_000))
        metrics = metrics_of(colophon)
        assert not re.search(r'colophon_lines_lost_total\{[^}]*\} [1-9]', metrics), metrics


def test_what_there_is_no_room_for_at_the_end_is_told_of():
    with full() as (colophon, sender, _):
        colophon.terminate()
        assert colophon.process.wait(PATIENCE) == 0, colophon.said()
        sender.end()
        # What the last turns took is not lost: so much, and no more, the kernel still held.
        [lost] = colophon.events("bytes-lost")
        assert lost["source"] == "unix" and lost["reason"] == "full" and 0 < lost["bytes"] < 1 << 20, lost


@contextlib.contextmanager
def without_dead_letters(at):
    """A directory stands where they belong."""
    file = at / "data" / "instances" / "default" / "dead-letters" / "dead-letters.jsonl"
    file.unlink()
    file.mkdir()
    try:
        yield
    finally:
        file.rmdir()


def test_a_line_that_nobody_takes_is_told_of_at_the_end():
    with Upstream(ok) as upstream, place() as name:
        at = Path(name)
        with serving(at, upstream, "--limits-line-bytes", "4KiB") as colophon, without_dead_letters(at):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(at / "lines.sock"))
                connection.sendall((line(1) + "\n" + "x" * 10_000 + "\n" + "y" * 10_000 + "\n").encode())
                wait_until(lambda: "dead-letters.jsonl" in json.dumps(colophon.ask("/readyz")[1]), "it to be told of")
            colophon.terminate()
            assert colophon.process.wait(PATIENCE) == 0, colophon.said()
            [lost] = colophon.events("lines-lost")
            assert lost["lines"] == 2, lost
        # What was taken before is there, then or after the next start.
        with serving(at, upstream, "--limits-line-bytes", "4KiB"):
            wait_until(lambda: numbers(written(at)) == [1], "the line")


def test_nothing_is_taken_of_a_body_whose_lines_that_are_too_long_find_no_place():
    with Upstream(ok) as upstream, place() as name:
        at = Path(name)
        with serving(at, upstream, "--limits-line-bytes", "4KiB", "--logs-http", "true") as colophon:
            body = (line(1) + "\n" + "x" * 10_000 + "\n" + line(2) + "\n" + "y" * 5_000).encode()
            request = urllib.request.Request(f"http://{colophon.admin}/v1/logs", data=body, headers={"Content-Type": "application/x-ndjson"})
            with without_dead_letters(at):
                for _ in range(2):
                    try:
                        urllib.request.urlopen(request, timeout=PATIENCE)
                        raise AssertionError("it was taken")
                    except urllib.error.HTTPError as error:
                        assert error.code == 503 and error.headers["Retry-After"] == "5", (error.headers, error.read())
            assert urllib.request.urlopen(request, timeout=PATIENCE).status == 204
            wait_until(lambda: numbers(written(at)) == [1, 2], "both lines, once")
            letters = [json.loads(text) for text in (at / "data/instances/default/dead-letters/dead-letters.jsonl").read_text().splitlines()]
            lines = {}
            for one in letters:
                lines[one["origin"]] = lines.get(one["origin"], "") + one["line"]
            assert list(lines.values()) == ["x" * 10_000, "y" * 5_000], letters
            # What is written is counted at the end of the turn.
            wait_until(lambda: '\ncolophon_lines_total{outcome="overlong"} 2\n' in metrics_of(colophon), "both to be counted")


def test_datagrams_that_came_together_are_all_taken_also_at_the_end():
    """Empty ones, too long ones and those behind them: whether it goes on, or is told to end meanwhile."""
    for signals in ([], [signal.SIGTERM]):
        with Upstream(ok) as upstream, place() as at:
            at = Path(at)
            with serving(at, upstream, "--logs-unix", f"datagram:{at}/datagrams", "--limits-line-bytes", "64KiB") as colophon, \
                    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
                datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
                datagrams.connect(f"{at}/datagrams")
                with stopped(colophon.process):
                    for data in (b"", line(1).encode(), b"", b"x" * (300 << 10), line(2).encode() + b"\n" + line(3).encode(), b"", b"", line(4).encode()):
                        datagrams.send(data)
                    for one in signals:
                        colophon.process.send_signal(one)
                if signals:
                    assert colophon.process.wait(PATIENCE) == 0, colophon.said()
                    [event] = colophon.events("lines-wait") or [{"lines": 0}]
                    assert len(numbers(written(at))) + event["lines"] == 4, (written(at), colophon.said())
                else:
                    wait_until(lambda: numbers(written(at)) == [1, 2, 3, 4], "all of them")
                    wait_until(lambda: 'colophon_lines_lost_total{reason="overlong_datagram"} 1' in metrics_of(colophon), "the long one to be counted")


def test_lines_of_exchanges_that_end_with_the_process_are_kept():
    """Also those that end right after others, when the next look was due a moment later."""
    for _ in range(5):
        with Upstream(ok) as upstream, place() as at:
            at = Path(at)
            with serving(at, upstream, "--recommendation-line", "true") as colophon:
                with colophon.connect() as connection:
                    for number in range(20):
                        connection.sendall(f"GET /recommend/{number} HTTP/1.1\r\nHost: m\r\n\r\n".encode())
                        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
                    colophon.terminate()
                assert colophon.process.wait(PATIENCE) == 0, colophon.said()
                [event] = colophon.events("lines-wait") or [{"lines": 0}]
                assert written(at).count("recommendation request") + event["lines"] == 20, (written(at), colophon.said())


def test_connections_beyond_what_is_read_at_once_are_refused_and_counted():
    with Upstream(ok) as upstream, place() as name:
        at = Path(name)
        with serving(at, upstream) as colophon:
            connections = []

            def connect():
                one = socket.socket(socket.AF_UNIX)
                one.connect(str(at / "lines.sock"))
                connections.append(one)
            for _ in range(256):
                connect()
            wait_until(lambda: "colophon_socket_connections 256" in metrics_of(colophon), "all to be taken")
            connect()
            connections[-1].settimeout(PATIENCE)
            assert connections[-1].recv(1) == b"", "it was taken"
            wait_until(lambda: "colophon_socket_connections_refused_total 1" in metrics_of(colophon), "it to be counted")
            # Those that are there go on, and when one goes there is room for another.
            connections[0].sendall((line(1) + "\n").encode())
            connections[1].close()
            wait_until(lambda: "colophon_socket_connections 255" in metrics_of(colophon), "one to go")
            connect()
            connections[-1].sendall((line(2) + "\n").encode())
            wait_until(lambda: sorted(numbers(written(at))) == [1, 2], "both lines")
            for one in connections:
                one.close()


if __name__ == "__main__":
    run(globals())
