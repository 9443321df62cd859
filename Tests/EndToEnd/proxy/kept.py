"""Connections that the admin listener keeps: requests follow one another, nobody waits for those who send without end, and none is cut off."""

import contextlib
import signal
import socket
import threading
import urllib.request
from pathlib import Path

from harness import PATIENCE, Colophon, Upstream, all_stand_still, ok, run, wait_until

GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def connect(colophon, **options):
    host, port = colophon.admin.rsplit(":", 1)
    connection = socket.socket()
    for name, value in options.items():
        connection.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
    connection.settimeout(PATIENCE)
    connection.connect((host, int(port)))
    return connection


def unread(colophon):
    """On how many of the listener's connections something has come that nobody has read."""
    port = f":{int(colophon.admin.rsplit(':', 1)[1]):04X}"
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(1 for row in rows if row[1].endswith(port) and row[3] == "01" and int(row[4].split(":")[1], 16) > 0)


class Answers:
    """The answers of a connection, one after the other: status, fields and body."""

    def __init__(self, connection):
        self.stream = connection.makefile("rb")

    def __iter__(self):
        while status := self.stream.readline():
            fields = {}
            while (line := self.stream.readline().strip()):
                name, value = line.decode().split(": ", 1)
                fields[name] = value
            yield int(status.split()[1]), fields, self.stream.read(int(fields.get("Content-Length", 0)))


@contextlib.contextmanager
def served(*args):
    with Upstream(ok) as upstream, Colophon(upstream.address, *args) as colophon:
        yield colophon


def test_requests_follow_one_another_and_the_last_says_so():
    with served() as colophon, connect(colophon) as connection:
        answers = iter(Answers(connection))
        for _ in range(3):
            connection.sendall(GET)
            status, fields, _ = next(answers)
            assert status == 200 and "Connection" not in fields, fields
        # All at once, with a slower one among them, and then nothing more: each has its answer, in order.
        connection.sendall(GET + b"GET /v1/trace?input=7 HTTP/1.1\r\nHost: localhost\r\n\r\n" + b"GET /none HTTP/1.1\r\nHost: localhost\r\n\r\n" + GET * 500)
        connection.shutdown(socket.SHUT_WR)
        found = [(status, body) for status, _, body in answers]
        assert [status for status, _ in found] == [200, 200, 404] + [200] * 500, (len(found), found[:4])
        assert b"answers" in found[1][1], found[1]


def test_whoever_reads_slowly_gets_everything():
    with served() as colophon, connect(colophon, SO_RCVBUF=4096) as connection:
        page = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
        sender = threading.Thread(target=lambda: (connection.sendall(page * 120 + GET * 400), connection.shutdown(socket.SHUT_WR)))
        sender.start()
        found = [status for status, _, _ in Answers(connection)]
        sender.join()
        assert found == [200] * 520, len(found)


def test_nobody_waits_for_those_who_send_without_end():
    """There is always more to read on these connections: who reads one to its end never comes to another."""
    with served() as colophon:
        stop = threading.Event()

        def send(connection):
            with contextlib.suppress(OSError):
                while not stop.is_set():
                    connection.sendall(GET * 1000)

        def read(connection):
            with contextlib.suppress(OSError):
                while connection.recv(1 << 20):
                    pass
        floods = [connect(colophon) for _ in range(2)]
        threads = [threading.Thread(target=what, args=(one,)) for one in floods for what in (send, read)]
        for one in threads:
            one.start()
        try:
            for _ in range(20):
                assert urllib.request.urlopen(f"http://{colophon.admin}/healthz", timeout=PATIENCE).status == 200
            assert all(one.is_alive() for one in threads)
            colophon.terminate()
            assert colophon.process.wait(PATIENCE) == 0
        finally:
            stop.set()
            for one in floods:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            for one in threads:
                one.join()
            for one in floods:
                one.close()


def test_kept_connections_keep_no_others_out_and_lose_no_request():
    with served() as colophon:
        kept = [connect(colophon) for _ in range(64)]
        streams = [iter(Answers(connection)) for connection in kept]
        for connection, answers in zip(kept, streams):
            connection.sendall(GET)
            assert next(answers)[0] == 200
        # What was sent on them has come when others do, though nobody has read it.
        colophon.process.send_signal(signal.SIGSTOP)
        wait_until(lambda: all_stand_still(colophon.process), "all threads to stand still")
        others = [connect(colophon) for _ in range(8)]
        for connection in kept:
            connection.sendall(GET)
        wait_until(lambda: unread(colophon) >= 64, "all of it to have come")
        colophon.process.send_signal(signal.SIGCONT)
        for answers in streams:
            assert next(answers)[0] == 200
        for connection in others + kept:
            connection.close()
        # Those who have nothing to say make room.
        kept = [connect(colophon) for _ in range(64)]
        for connection in kept:
            connection.sendall(GET)
            assert next(iter(Answers(connection)))[0] == 200
        for _ in range(10):
            assert urllib.request.urlopen(f"http://{colophon.admin}/healthz", timeout=PATIENCE).status == 200
        for connection in kept:
            connection.close()


def test_one_empty_line_before_a_request_is_passed_over_and_no_more():
    with served() as colophon:
        with connect(colophon) as connection:
            answers = iter(Answers(connection))
            for _ in range(3):
                connection.sendall(b"\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert next(answers)[0] == 200
            # Whoever sends nothing but line ends asks for nothing, and is not waited for.
            connection.sendall(b"\r\n" * 100_000)
            assert next(answers)[0] == 400
            assert urllib.request.urlopen(f"http://{colophon.admin}/healthz", timeout=PATIENCE).status == 200


def test_those_who_wait_leave_room_for_probes():
    """The spool is full, so bodies wait for room: whoever asks how things are is answered all the same."""
    with served("--kafka-brokers", "127.0.0.1:1", "--kafka-topic", "t", "--spool-bytes", "16MiB") as colophon:
        line = b"2025-03-04T18:21:03Z,7,recommendation request /recommend/7, status 200, result: a, 5 ms\n"

        def head(body):
            return b"POST /v1/logs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n" % len(body)
        big, small = line * 20_000, line * 2000
        with connect(colophon) as connection:
            answers = iter(Answers(connection))
            statuses = []
            while 503 not in statuses:
                connection.sendall(head(big) + big)
                statuses.append(next(answers)[0])
        waiting = [connect(colophon) for _ in range(60)]
        for connection in waiting:
            connection.sendall(head(small) + small)
        # There is no room for those who can wait; for lines of exchanges there is.
        for path in ["/healthz", "/readyz", "/metrics"] * 3:
            assert urllib.request.urlopen(f"http://{colophon.admin}{path}", timeout=PATIENCE).status == 200
        # Each has an answer, some at once, and some when it is clear that there is no room.
        found = [next(iter(Answers(connection)))[0] for connection in waiting]
        assert set(found) <= {204, 503}, found
        for connection in waiting:
            connection.close()


run({name: test for name, test in list(globals().items()) if name.startswith("test_")})
