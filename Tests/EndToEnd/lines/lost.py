"""What can be lost is counted, by its reason, and told: each counter is as high as what is missing, and no higher."""

import socket
import urllib.error
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from cluster import *
from harness import Colophon, Upstream, ok  # noqa: E402

skip_without_broker()

LOST, BYTES = "colophon_lines_lost_total", "colophon_bytes_lost_total"


def metric(colophon, name, reason=None):
    with urllib.request.urlopen(f"http://{colophon.admin}/metrics", timeout=PATIENCE) as page:
        families = text_string_to_metric_families(page.read().decode())
        return sum(s.value for f in families for s in f.samples if s.name == name and s.labels.get("reason") == reason)


def post(colophon, lines):
    body = "".join(text + "\n" for text in lines).encode()
    request = urllib.request.Request(f"http://{colophon.admin}/v1/logs", data=body, headers={"Content-Type": "application/x-ndjson"})
    try:
        return urllib.request.urlopen(request, timeout=PATIENCE).status == 204
    except urllib.error.HTTPError as error:
        assert error.code == 503, error.code
        return False


def fill(colophon):
    """Posts until the spool takes no more; the numbers that it took."""
    taken = 0
    for size in (10_000, 100):
        while post(colophon, (line(n) for n in range(taken, taken + size))):
            taken += size
    return taken


def test_what_the_proxy_sheds_is_counted_and_responses_do_not_wait(kafka):
    topic = kafka.create()
    big = b"r" * 2000
    with Upstream(lambda *args: ok(*args, body=big, fields="Content-Type: text/plain\r\n")) as upstream:
        kafka.act("stop", "--kill")
        with Colophon(upstream.address, "--kafka-brokers", kafka.address, "--kafka-topic", topic, "--spool-bytes", "16MiB",
                      "--recommendation-line", "true") as colophon:
            posted, asked = fill(colophon), 0
            with colophon.connect() as connection:
                # There is room kept for those who cannot wait; it has an end.
                while metric(colophon, LOST, "no_room_for_exchange") < 50:
                    for _ in range(200):
                        connection.sendall(b"GET /recommend/7 HTTP/1.1\r\nHost: m\r\n\r\n")
                        said = b""
                        while not said.endswith(big):
                            said += connection.recv(65536)
                        assert said.startswith(b"HTTP/1.1 200 "), said[:100]
                        asked += 1
                    assert asked < 100_000, "nothing was shed"
                status, ready = colophon.ask("/readyz")
                assert status == 503 and not ready["checks"]["lines"]["ok"] and "spool.bytes" in ready["checks"]["lines"]["detail"], ready
                assert metric(colophon, "colophon_spool_full") == 1
            event = colophon.event("lines-shed")
            assert event["source"] == "proxy" and 0 < event["lines"] <= metric(colophon, LOST, "no_room_for_exchange"), event
            kafka.act("resume")
            deliver_all(lambda: colophon.ask("/v1/status")[1]["lines"])
            shed = metric(colophon, LOST, "no_room_for_exchange")
            # Those with which the spool was found full.
            assert metric(colophon, "colophon_posted_bodies_refused_total") == 2
            records = kafka.read(topic, posted + asked - shed)
            assert len(records) == posted + asked - shed, (len(records), posted, asked, shed)


def test_datagrams_that_find_no_room_are_counted_and_told_of(kafka):
    topic = kafka.create()
    with Upstream(ok) as upstream, Place() as at:
        path = at.path / "datagrams"
        kafka.act("stop", "--kill")
        with Colophon(upstream.address, "--kafka-brokers", kafka.address, "--kafka-topic", topic, "--spool-bytes", "16MiB",
                      "--logs-unix", f"datagram:{path}") as colophon:
            posted, sent = fill(colophon), 0
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
                datagrams.connect(str(path))
                while metric(colophon, LOST, "no_room_for_datagram") < 50:
                    for _ in range(200):
                        datagrams.send((line(sent) + " " + "d" * 4000).encode())
                        sent += 1
                    assert sent < 100_000, "nothing was shed"
                assert colophon.event("lines-shed")["advice"].startswith("the spool is full"), colophon.events("lines-shed")
            wait_until(lambda: colophon.ask("/v1/status")[1]["lines"]["lines"]
                       + metric(colophon, LOST, "no_room_for_datagram") == posted + sent, "all to be taken or counted")
            kafka.act("resume")
            deliver_all(lambda: colophon.ask("/v1/status")[1]["lines"])
            shed = metric(colophon, LOST, "no_room_for_datagram")
            assert len(kafka.read(topic, posted + sent - shed)) == posted + sent - shed


def test_datagrams_that_are_too_long_are_counted(kafka):
    topic = kafka.create()
    with Upstream(ok) as upstream, Place() as at:
        path = at.path / "datagrams"
        with Colophon(upstream.address, "--kafka-brokers", kafka.address, "--kafka-topic", topic, "--logs-unix",
                      f"datagram:{path}", "--limits-line-bytes", "280KiB") as colophon:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
                datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
                datagrams.connect(str(path))
                datagrams.send(b"x" * (300 << 10))
                datagrams.send(b"y" * (270 << 10))
                datagrams.send(line(1).encode())
            assert max(len(record.value) for record in kafka.read(topic, 2)) == 270 << 10
            assert metric(colophon, LOST, "overlong_datagram") == 1


def test_bytes_that_were_truncated_unread_are_counted_to_the_last(kafka):
    topic = kafka.create()
    with Upstream(ok) as upstream, Place() as at:
        log = at.path / "app.log"
        log.write_text("".join(line(n) + "\n" for n in range(10)))
        kafka.act("stop", "--kill")
        with Colophon(upstream.address, "--kafka-brokers", kafka.address, "--kafka-topic", topic, "--spool-bytes", "16MiB", "--logs-files",
                      str(log)) as colophon:
            wait_until(lambda: colophon.ask("/v1/status")[1]["lines"]["lines"] == 10, "the first lines")
            fill(colophon)
            # No room: what is appended is seen, and not read.
            written = {n: len(text) + 1 for n, text in enumerate(log.read_text().splitlines())}
            with open(log, "a") as out:
                for n in range(10, 40_000):
                    text = line(n)
                    written[n] = len(text) + 1
                    out.write(text + "\n")

            def is_seen():
                lines = colophon.ask("/v1/status")[1]["lines"]
                position = next(f["position"] for f in lines["files"] if f["file"] == str(log))
                behind = next(s["behind_bytes"] for s in lines["sources"] if s["source"] == "file")
                return position < log.stat().st_size == position + behind
            wait_until(is_seen, "all of it to be seen")
            os.truncate(log, 0)
            event = colophon.event("bytes-lost")
            assert event["reason"] == "truncated" and "renaming" in event["advice"], event
            assert metric(colophon, BYTES, "truncated") == event["bytes"] > 0, event
            kafka.act("resume")
            with open(log, "a") as out:
                out.write(line(50_000) + "\n")
            wait_until(lambda: 50_000 in {number_of(record) for record in kafka.read(topic) if "/file/" in record.origin}, "the line after it")
            deliver_all(lambda: colophon.ask("/v1/status")[1]["lines"])
            arrived = {number_of(record) for record in kafka.read(topic) if "/file/" in record.origin}
            assert 50_000 in arrived
            # What has not arrived is what was counted.
            assert event["bytes"] == sum(size for n, size in written.items() if n not in arrived), (event, len(arrived))


def test_what_happens_to_files_and_directories_is_counted_and_told_of(kafka):
    topic = kafka.create()

    def problems(colophon):
        return {reason: count for reason in ("no_match", "directory_gone", "gone", "checkpoint_set_aside", "unreadable", "too_many")
                if (count := metric(colophon, "colophon_file_problems_total", reason))}

    with Upstream(ok) as upstream, Place() as at:
        logs = at.path / "logs"
        logs.mkdir()

        def serving():
            return Colophon(upstream.address, "--kafka-brokers", kafka.address, "--kafka-topic", topic, "--logs-files", str(logs / "*.log"),
                            directory=str(at.path / "state"), version="m1")
        (at.path / "state").mkdir()
        with serving() as colophon:
            colophon.event("no-file")
            (logs / "app.log").write_text(line(0) + "\n")
            kafka.read(topic, 1)
            logs.rename(at.path / "elsewhere")
            assert colophon.event("directory-gone")["directory"].rstrip("/") == str(logs)
            (at.path / "elsewhere").rename(logs)
            colophon.event("directory-back")
            with open(logs / "app.log", "a") as out:
                out.write(line(1) + "\n")
            kafka.read(topic, 2)
            assert problems(colophon) == {"no_match": 1, "directory_gone": 1}
            # Nothing was rotated, and nothing removed.
            assert metric(colophon, "colophon_file_rotations_total") == 0
            (logs / "other.log").write_text(line(2) + "\n")
            kafka.read(topic, 3)
            deliver_all(lambda: colophon.ask("/v1/status")[1]["lines"])
        checkpoints = at.path / "state" / "data" / "instances" / "default" / "checkpoints"
        [spoilt] = [path for path in checkpoints.iterdir() if b"app.log" in path.read_bytes()]
        spoilt.write_bytes(b"rubbish")
        (logs / "other.log").unlink()
        with serving() as colophon:
            assert "new origins" in colophon.event("checkpoint-set-aside")["effect"]
            assert colophon.event("file-gone")["file"].endswith("other.log")
            assert problems(colophon) == {"checkpoint_set_aside": 1, "gone": 1}
            assert check_all(kafka.read(topic, 5), range(3)) == 0


def test_more_files_than_can_be_followed_wait_and_are_told_of(kafka):
    topic = kafka.create()
    with Upstream(ok) as upstream, Place() as at:
        logs = at.path / "logs"
        logs.mkdir()
        for number in range(1005):
            (logs / f"{number}.log").write_text(line(number) + "\n")
        with Colophon(upstream.address, "--kafka-brokers", kafka.address, "--kafka-topic", topic, "--logs-files",
                      str(logs / "*.log")) as colophon:
            event = colophon.event("too-many-files")
            assert event["followed"] == 1000 and "narrow the globs" in event["advice"], event
            first = {number_of(record) for record in kafka.read(topic, 1000)}
            assert len(first) == 1000, len(first)
            # When some are done with, the others are read.
            for number in sorted(first)[:10]:
                (logs / f"{number}.log").unlink()
            assert check_all(kafka.read(topic, 1005), range(1005)) == 0
            deliver_all(lambda: colophon.ask("/v1/status")[1]["lines"])


def test_a_checkpoint_that_cannot_be_written_is_told_of_and_written_as_soon_as_it_can(kafka):
    topic = kafka.create()
    with Upstream(ok) as upstream, Place() as at:
        log = at.path / "app.log"
        log.write_text(line(0) + "\n")

        def write(number):
            with open(log, "a") as out:
                out.write(line(number) + "\n")

        def served():
            return Colophon(upstream.address, "--kafka-brokers", kafka.address, "--kafka-topic", topic, "--logs-files", str(log),
                            "--kafka-in-flight", "100", directory=str(at.path))
        with served() as colophon:
            kafka.read(topic, 1)
            checkpoints = at.instance("default") / "checkpoints"
            wait_until(lambda: any(checkpoints.glob("*.json")), "a checkpoint")
            checkpoints.rename(checkpoints.with_name("away"))
            checkpoints.write_text("no directory")
            write(1)
            event = colophon.event("checkpoint-failed")
            assert "checkpoints" in event["reason"] and event["effect"], event
            # It goes on all the same.
            assert check_all(kafka.read(topic, 2), range(2)) == 0
            checkpoints.unlink()
            checkpoints.with_name("away").rename(checkpoints)
            write(2)
            kafka.read(topic, 3)
            colophon.terminate()
            assert colophon.process.wait(PATIENCE) == 0
        write(3)
        with served():
            assert check_all(kafka.read(topic, 4), range(4)) == 0, "something was sent again"


def test_a_file_that_may_not_be_read_is_told_of_and_others_are_read(kafka):
    topic = kafka.create()
    with Place() as at:
        logs = at.path / "logs"
        logs.mkdir()
        (logs / "a.log").write_text(line(1) + "\n")
        secret = logs / "b.log"
        secret.write_text(line(2) + "\n")
        secret.chmod(0)
        # Root reads everything.
        as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
        at.path.chmod(0o777)
        result = subprocess.run(
            [*as_nobody, COLOPHON, "enrich", "--manifest", str(at.pointer), "--data-dir", str(at.path / "mine"), "--to",
             f"kafka://{kafka.address}/{topic}", "--files", str(logs / "*.log"), "--once"],
            capture_output=True, text=True, timeout=2 * PATIENCE)
        assert result.returncode == 1 and "file-unreadable" in result.stderr and str(secret) in result.stderr, result
        assert "ermission denied" in result.stderr, result.stderr
    assert [number_of(record) for record in kafka.read(topic, 1)] == [1]


if __name__ == "__main__":
    # One of its own: it is stopped.
    with Kafka("--brokers", "1") as broker:
        run({name: (lambda test=test: test(broker)) for name, test in list(globals().items()) if name.startswith("test_")})
