"""The loss test: numbered lines at full speed, while everything is killed, stopped, paused and filled up by lot.

`loss.py COLOPHON [SECONDS [SEED [BROKERS [topic]]]]`. Every number that was accepted must be in the topic at least once, and per key in order once
repetitions are dropped by their origin. A file's line is accepted when it is written, a body's with its 204, a response's line when the
client has the response. With `topic` lines come from another topic too, and all go through transactions: those of the topic must be there exactly
once. What runs by lot follows the seed, which every failure names.
"""

import http.client
import random
import sys
import threading
import urllib.error
import urllib.request

from confluent_kafka import Producer

from cluster import *
from harness import Colophon, Upstream, ok  # noqa: E402

SECONDS = float(sys.argv[2]) if len(sys.argv) > 2 else 20
SEED = int(sys.argv[3]) if len(sys.argv) > 3 and sys.argv[3] else random.randrange(1 << 32)
BROKERS = int(sys.argv[4]) if len(sys.argv) > 4 else 1
FROM_TOPIC = sys.argv[5:] == ["topic"]
FILE_BURST, BODY_LINES, TOPIC_BURST = 400, 100, 200
FIRST_OF_TOPIC = 300_000_000


class Sidecar:
    """The one that is killed and started again, with the same data."""

    def __init__(self, at, upstream, kafka, topic, file, source):
        self.args = (upstream.address, "--kafka-brokers", kafka.address, "--kafka-topic", topic, "--logs-files", str(file),
                     "--spool-bytes", "192MiB", "--recommendation-line", "true",
                     *(["--logs-from-kafka-topic", source] if source else []))
        self.at = at
        self.lock = threading.Lock()
        self.current = None
        self.starts = 0
        self.said = []
        self.start()

    def start(self):
        # A full disk can keep it from starting; then it is tried again.
        while True:
            colophon = Colophon(*self.args, directory=str(self.at))
            try:
                colophon.__enter__()
            except AssertionError:
                colophon.process.wait()
                self.said.append(colophon.said())
                time.sleep(0.05)
                continue
            self.starts += 1
            with self.lock:
                self.current = colophon
            return

    def end(self, number):
        colophon = self.current
        with self.lock:
            self.current = None
        colophon.process.send_signal(number)
        colophon.process.wait(PATIENCE * 2)
        self.said.append(colophon.said())

    def ask(self):
        with self.lock:
            colophon = self.current
        if colophon is None:
            return None
        try:
            with urllib.request.urlopen(f"http://{colophon.admin}/v1/status", timeout=1) as answer:
                return json.load(answer)["lines"]
        except (OSError, ValueError):
            return None


class FileWriter(threading.Thread):
    """Writes to a file that is rotated in both ways. Truncates only what was read: what is truncated unread nobody can save."""

    def __init__(self, sidecar, file, stop, chance):
        super().__init__(daemon=True)
        self.sidecar, self.file, self.stop_event, self.chance = sidecar, file, stop, chance
        self.accepted = []
        self.rotations = [0, 0]

    def run(self):
        number = 0
        out = open(self.file, "a")
        while not self.stop_event.is_set():
            out.writelines(line(n) + "\n" for n in range(number, number + FILE_BURST))
            out.flush()
            self.accepted += range(number, number + FILE_BURST)
            number += FILE_BURST
            if self.chance.random() < 0.02:
                if self.chance.random() < 0.5:
                    self.file.rename(self.file.with_name(f"old-{number}"))
                    # Until it reopens, a server goes on writing to the old one.
                    out.writelines(line(n) + "\n" for n in range(number, number + 50))
                    out.flush()
                    self.accepted += range(number, number + 50)
                    number += 50
                    out.close()
                    out = open(self.file, "a")
                    self.rotations[0] += 1
                elif self.is_read(os.path.getsize(self.file)):
                    os.truncate(self.file, 0)
                    self.rotations[1] += 1
            self.stop_event.wait(0.02)
        out.close()

    def is_read(self, size):
        """Whether colophon has taken in the whole file, as far as it can be asked within a second."""
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            lines = self.sidecar.ask()
            if lines and any(f["file"] == str(self.file) and f["position"] == size for f in lines["files"]):
                return True
            time.sleep(0.02)
        return False


class Poster(threading.Thread):
    """Posts bodies; those that were answered with 204 are accepted."""

    def __init__(self, sidecar, stop):
        super().__init__(daemon=True)
        self.sidecar, self.stop_event = sidecar, stop
        self.accepted = []
        self.refused = 0

    def run(self):
        number = 100_000_000
        while not self.stop_event.is_set():
            with self.sidecar.lock:
                colophon = self.sidecar.current
            if colophon is None:
                time.sleep(0.01)
                continue
            body = "".join(line(n) + "\n" for n in range(number, number + BODY_LINES)).encode()
            request = urllib.request.Request(
                f"http://{colophon.admin}/v1/logs", data=body, headers={"Content-Type": "application/x-ndjson"})
            try:
                if urllib.request.urlopen(request, timeout=10).status == 204:
                    self.accepted += range(number, number + BODY_LINES)
            except (OSError, ValueError) as error:
                self.refused += 1
            except Exception:
                self.refused += 1
            number += BODY_LINES


class Asker(threading.Thread):
    """Asks for recommendations through the proxy; those whose whole response came are accepted."""

    def __init__(self, sidecar, stop):
        super().__init__(daemon=True)
        self.sidecar, self.stop_event = sidecar, stop
        self.accepted = []
        self.cut = 0

    def run(self):
        number = 200_000_000
        connection = None
        while not self.stop_event.is_set():
            with self.sidecar.lock:
                colophon = self.sidecar.current
            if colophon is None:
                time.sleep(0.01)
                continue
            number += 1
            # What the proxy cannot put anywhere it sheds and counts: so it is not asked more than the spool can hold.
            time.sleep(0.001)
            try:
                if connection is None:
                    connection = http.client.HTTPConnection(*colophon.address, timeout=10)
                connection.request("GET", f"/recommend/{number % 7}?n={number}")
                response = connection.getresponse()
                if response.read() == f"n{number},b".encode() and response.status == 200:
                    self.accepted.append(number)
            except (OSError, http.client.HTTPException):
                self.cut += 1
                connection = None


class Publisher(threading.Thread):
    """Writes to the topic that is read; what the brokers have acknowledged is accepted."""

    def __init__(self, kafka, topic, stop):
        super().__init__(daemon=True)
        self.topic, self.stop_event = topic, stop
        self.producer = Producer(kafka.settings(**{
            "enable.idempotence": True, "message.timeout.ms": 300_000, "queue.buffering.max.messages": 1_000_000}))
        self.accepted = []

    def run(self):
        number = FIRST_OF_TOPIC
        while not self.stop_event.is_set():
            for n in range(number, number + TOPIC_BURST):
                self.producer.produce(self.topic, line(n).encode(), key=str(n % 7), on_delivery=self.delivered(n))
            number += TOPIC_BURST
            self.producer.poll(0.02)
        self.producer.flush(2 * PATIENCE)

    def delivered(self, number):
        def note(error, _):
            if error is None:
                self.accepted.append(number)
        return note


def answer(connection, head, rest):
    """The model server: its answer holds the number that it was asked with."""
    number = re.search(r"n=(\d+)", head)[1]
    return ok(connection, head, rest, body=f"n{number},b".encode(), fields="Content-Type: text/plain\r\n")


def disturb(chance, sidecar, kafka, at, events):
    """One thing that goes wrong, and is put right again."""
    kinds = ["kill", "kill", "kill", "restart", "freeze", "broker-kill", "broker-stop", "broker-pause", "disk"]
    kind = chance.choice(kinds)
    node = ["--node", str(chance.randint(1, BROKERS))] if BROKERS > 1 else []
    events.append(kind)
    if kind == "kill":
        sidecar.end(signal.SIGKILL)
        sidecar.start()
    elif kind == "restart":
        sidecar.end(signal.SIGTERM)
        sidecar.start()
    elif kind == "freeze":
        sidecar.current.process.send_signal(signal.SIGSTOP)
        time.sleep(chance.random() * 1.5)
        sidecar.current.process.send_signal(signal.SIGCONT)
    elif kind in ("broker-kill", "broker-stop"):
        kafka.act("stop", *node, *(["--kill"] if kind == "broker-kill" else []))
        if chance.random() < 0.5:
            sidecar.end(signal.SIGKILL)
            sidecar.start()
        time.sleep(chance.random() * 2)
        kafka.act("resume", *node)
    elif kind == "broker-pause":
        kafka.act("pause", *node)
        time.sleep(0.5 + chance.random() * 3)
        if chance.random() < 0.3:
            sidecar.end(signal.SIGKILL)
            sidecar.start()
        kafka.act("unpause", *node)
    elif kind == "disk":
        ballast = at / "ballast"
        with contextlib.suppress(OSError), open(ballast, "wb") as out:
            while True:
                out.write(b"x" * (1 << 20))
                out.flush()
        time.sleep(0.2 + chance.random())
        if chance.random() < 0.3:
            sidecar.end(signal.SIGKILL)
            ballast.unlink()
            sidecar.start()
        ballast.unlink(missing_ok=True)


def verify(kafka, topic, accepted):
    """Reads the whole topic, again and again, until every accepted number is there; the figures, or what is wrong."""
    deadline = time.monotonic() + 4 * PATIENCE
    consumer = Consumer({**kafka.settings(), "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest",
                         "enable.auto.commit": False, "fetch.message.max.bytes": 4 << 20})
    missing = set(accepted)
    positions, last = {}, {}
    total = repeated = 0
    wrong, once = [], set()
    pattern = re.compile(rb"result: n(\d+),")
    try:
        partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
        consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
        while missing and time.monotonic() < deadline:
            for message in consumer.consume(20_000, timeout=1):
                if message.error():
                    continue
                total += 1
                value = message.value()
                found = pattern.search(value)
                if not found or b"manifest_sha256=" not in value:
                    wrong.append(value[:200])
                    continue
                number = int(found[1])
                missing.discard(number)
                if number >= FIRST_OF_TOPIC:
                    if number in once:
                        wrong.append(f"{number} of the topic is there twice")
                    once.add(number)
                origin = dict(message.headers())["origin"].decode()
                generation, position = origin.rsplit(":", 1)
                position = int(position)
                seen = positions.setdefault(generation, set())
                if position in seen:
                    repeated += 1
                    continue
                seen.add(position)
                key = (generation, message.key())
                if last.get(key, -1) >= position:
                    wrong.append(f"{origin} of {message.key()} comes after {last[key]}")
                last[key] = position
    finally:
        consumer.close()
    return total, repeated, missing, wrong


def main():
    chance = random.Random(SEED)
    print(f"loss: seed {SEED}, {SECONDS:.0f} s, {BROKERS} broker(s)", flush=True)
    with Kafka(*(["--brokers", str(BROKERS)] if BROKERS > 1 else [])) as kafka, Upstream(answer) as upstream:
        at = Path(tempfile.mkdtemp(prefix="colophon-loss-", dir=memory()))
        small = at / "small"
        small.mkdir()
        is_mounted = os.geteuid() == 0 and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", str(small)], capture_output=True).returncode == 0
        assert is_mounted, "a small file system cannot be mounted: run under unshare --mount as root"
        logs = at / "logs"
        logs.mkdir()
        topic = kafka.create(partitions=3, min_insync_replicas=min(2, BROKERS))
        # Rotated names match too: a file may come and go while nobody follows it.
        source = kafka.create(partitions=3, min_insync_replicas=min(2, BROKERS)) if FROM_TOPIC else None
        sidecar = Sidecar(small, upstream, kafka, topic, logs / "*", source)
        stop = threading.Event()
        sources = [FileWriter(sidecar, logs / "app.log", stop, random.Random(SEED + 1)), Poster(sidecar, stop), Asker(sidecar, stop)]
        if FROM_TOPIC:
            sources.append(Publisher(kafka, source, stop))
        events = []
        try:
            for one in sources:
                one.start()
            deadline = time.monotonic() + SECONDS
            while time.monotonic() < deadline:
                time.sleep(chance.random() * 1.5)
                disturb(chance, sidecar, kafka, small, events)
            stop.set()
            for one in sources:
                one.join(3 * PATIENCE)
                assert not one.is_alive()
            accepted = [n for one in sources for n in one.accepted]
            total, repeated, missing, wrong = verify(kafka, topic, accepted)
            kinds = {kind: events.count(kind) for kind in sorted(set(events))}
            print(f"loss: {len(accepted)} accepted, {total} records, {repeated} repeated, {len(missing)} missing; "
                  f"{sidecar.starts} starts, rotations {sources[0].rotations}, refused bodies {sources[1].refused}, "
                  f"responses {len(sources[2].accepted)} and {sources[2].cut} cut; {kinds}", flush=True)
            last = sidecar.ask()
            if missing or wrong:
                for text in sidecar.said[-3:] + [sidecar.current.said()]:
                    events = [text for text in text.splitlines() if '"follow"' not in text]
                    print("--- colophon said:\n" + "\n".join(events[-6:]), file=sys.stderr)
            assert not wrong, f"seed {SEED}: {len(wrong)} wrong, such as {wrong[:3]}"
            assert not missing, f"seed {SEED}: {len(missing)} of {len(accepted)} are missing, such as {sorted(missing)[:10]}; {last}"
        finally:
            stop.set()
            if sidecar.current:
                sidecar.end(signal.SIGKILL)
            subprocess.run(["umount", "-l", str(small)], capture_output=True)
            shutil.rmtree(at, ignore_errors=True)
    print("ok")


if __name__ == "__main__":
    skip_without_broker()
    main()
