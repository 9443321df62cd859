"""Order and time: what one user did comes in the order in which it was done, whoever handled it and however long it waited."""

import os
import signal
import socket
import threading

from cluster import *
from harness import Colophon, Upstream, ok

skip_without_broker()


def in_order(records):
    """Numbers of each key never go back, for the first copy of each origin."""
    seen, last = set(), {}
    for record in records:
        if record.origin in seen:
            continue
        seen.add(record.origin)
        number = number_of(record)
        assert last.get(record.key, -1) < number, f"after {last[record.key]} of {record.key} comes {number}"
        last[record.key] = number


def test_a_users_requests_keep_their_order_over_all_workers(kafka):
    topic = kafka.create()
    served = iter(range(1, 1_000_000))
    lock = threading.Lock()

    def numbered(connection, head, rest):
        with lock:
            number = next(served)
        body = f"n{number},b".encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        return True

    with Upstream(numbered) as upstream, Colophon(
            upstream.address, "--workers", "4", "--kafka-brokers", kafka.address, "--kafka-topic", topic) as colophon:
        connections = [colophon.connect() for _ in range(12)]
        for number in range(1200):
            connection = connections[number % 12]
            connection.sendall(b"GET /recommend/7 HTTP/1.1\r\nHost: model\r\n\r\n")
            data = b""
            while b"n%d,b" % (number + 1) not in data:
                part = connection.recv(65536)
                assert part, data
                data += part
        for connection in connections:
            connection.close()
        records = kafka.read(topic, 1200)
    assert len({record.origin.rsplit(":", 1)[0] for record in records}) > 1, "one worker had all of them: this has shown nothing"
    in_order(records)
    assert {number_of(record) for record in records} == set(range(1, 1201))


def test_what_a_rotated_file_still_has_comes_before_its_successor(kafka):
    topic = kafka.create()
    with Place() as at:
        logs = at.path / "logs"
        logs.mkdir()
        file = logs / "app.log"
        file.write_text("".join(line(n, user=1) + "\n" for n in range(2000)))
        to = ["--to", f"kafka://{kafka.address}/{topic}", "--files", str(file), "--once"]
        at.run(*to)
        # While nobody looks: more of the old one, a rotation, and a new one.
        with open(file, "a") as out:
            out.writelines(line(n, user=1) + "\n" for n in range(2000, 12_000))
        file.rename(logs / "app.log.1")
        file.write_text("".join(line(n, user=1) + "\n" for n in range(12_000, 13_000)))
        at.run(*to)
        records = kafka.read(topic, 13_000)
        in_order(records)
        assert {number_of(record) for record in records} == set(range(13_000))


def test_a_log_and_its_rotated_files_are_read_oldest_first(kafka):
    topic = kafka.create()
    with Place() as at:
        logs = at.path / "logs"
        logs.mkdir()
        for index, name in enumerate(["app.log.2", "app.log.1", "app.log"]):
            (logs / name).write_text("".join(line(n, user=1) + "\n" for n in range(index * 8000, (index + 1) * 8000)))
        # Others do not wait for them.
        (logs / "other.log").write_text("".join(line(n, user=2) + "\n" for n in range(100)))
        at.run("--to", f"kafka://{kafka.address}/{topic}", "--files", str(logs / "*"), "--once")
        records = kafka.read(topic, 24_100)
        in_order(records)


def test_what_was_read_from_a_pipe_before_the_end_is_kept_though_the_spool_is_full(kafka):
    topic = kafka.create()
    with Place() as at:
        reading, writing = os.pipe()
        process = at.enrich("--to", f"kafka://127.0.0.1:1/{topic}", "--spool-bytes", "16MiB", stdin=reading)
        written = 0
        os.set_blocking(writing, False)
        # Until nothing more fits, neither into the spool nor into the pipe.
        full = 0
        left = b""
        while full < 20:
            if not left:
                left = (line(written, user=1) + "\n").encode()
                written += 1
            try:
                left = left[os.write(writing, left):]
                full = 0
            except BlockingIOError:
                full += 1
                time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)
        os.set_blocking(writing, True)
        rest = at.enrich("--to", f"kafka://{kafka.address}/{topic}", stdin=reading)
        os.close(reading)
        os.write(writing, left)
        os.close(writing)
        _, err = rest.communicate(timeout=4 * PATIENCE)
        assert rest.returncode == 0, err
        records = kafka.read(topic, written)
        assert sorted(number_of(record) for record in records) == list(range(written))
        in_order(records)


def test_lines_that_waited_for_longer_than_the_topic_takes_are_published_with_the_time_of_now(kafka):
    topic = kafka.create(**{"message.timestamp.before.max.ms": 3_600_000})
    old = int(time.time() * 1000) - 7_200_000
    with Place() as at:
        # Spooled while nothing was known of the topic, with times that nobody takes there.
        process = at.enrich("--to", f"kafka://127.0.0.1:1/{topic}")
        process.stdin.write("".join(line(n, user=1, milliseconds=old + n if n % 3 else None) + "\n" for n in range(300)))
        process.stdin.flush()
        wait_until(lambda: sum(f.stat().st_size for f in (at.instance() / "spool").glob("*")) > 300 * 200, "the spool")
        process.terminate()
        process.communicate()
        _, err = at.run("--to", f"kafka://{kafka.address}/{topic}", "--kafka-headers", "all", text="")
        assert "0 dead" in err or "dead" not in err, err
        records = kafka.read(topic, 300)
        in_order(records)
        for record in records:
            number = number_of(record)
            assert record.time > old + 3_600_000, record.time
            assert ("line_time" in record.headers) == (number % 3 != 0), record.headers
        assert (at.instance() / "dead-letters" / "dead-letters.jsonl").stat().st_size == 0


def test_times_that_the_brokers_refuse_after_all_become_those_of_now(kafka):
    topic = kafka.create()
    with Place() as at:
        process = at.enrich("--to", f"kafka://{kafka.address}/{topic}")
        process.stdin.write(line(0, user=1) + "\n")
        process.stdin.flush()
        kafka.read(topic, 1)
        # Less than what was said at the start.
        admin = AdminClient(kafka.settings())
        change = ConfigResource(ConfigResource.Type.TOPIC, topic, set_config={"message.timestamp.before.max.ms": "3600000"})
        for future in admin.alter_configs([change]).values():
            future.result(PATIENCE)
        old = int(time.time() * 1000) - 7_200_000
        process.stdin.write("".join(line(n, user=1, milliseconds=old if n % 10 == 5 else None) + "\n" for n in range(1, 200)))
        process.stdin.close()
        process.stdin = None
        _, err = process.communicate(timeout=2 * PATIENCE)
        assert process.returncode == 0 and "dead" not in err, err
        records = kafka.read(topic, 200)
        in_order(records)
        assert all(record.time > old + 3_600_000 for record in records)


def test_what_a_removed_file_still_had_is_spooled_or_told(kafka):
    topic = kafka.create()
    with Place() as at:
        file = at.path / "app.log"
        lines = [line(n, user=1) + "\n" for n in range(60_000)]
        file.write_text("".join(lines))
        process = at.enrich("--to", f"kafka://127.0.0.1:1/{topic}", "--files", str(file), "--spool-bytes", "16MiB")
        wait_until(lambda: sum(f.stat().st_size for f in (at.instance() / "spool").glob("*")) > 4 << 20, "the spool")
        file.unlink()
        process.terminate()
        _, err = process.communicate(timeout=PATIENCE)
        assert "bytes-lost" in err and "reason=removed" in err, err
        lost = int(re.search(r"bytes=(\d+)", err)[1])
        _, err = at.run("--to", f"kafka://{kafka.address}/{topic}", "--files", str(file), "--once", status=1)
        records = kafka.read(topic)
        # Each line is in the one or in the other.
        assert len(records) > 1000 and sum(map(len, lines[len(records):])) == lost, (len(records), lost)
        in_order(records)


if __name__ == "__main__":
    with Kafka() as broker:
        tests = {name: test for name, test in list(globals().items()) if name.startswith("test_")}
        run({name: (lambda test=test: test(broker)) for name, test in tests.items()})
