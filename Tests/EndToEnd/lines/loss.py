"""The loss test: numbered lines at full speed, while everything is killed, stopped, paused and filled up by lot.

`loss.py COLOPHON [SECONDS [SEED [BROKERS [topic]]]]`. Every number that was accepted must be in the topic at least once, and per key in order once
repetitions are dropped by their origin. A file's line is accepted when it is written, a body's with its 204, a response's line when the
client has the response. Lines that are too long must be among the dead letters, whole. Meanwhile manifests are promoted, also while nobody
watches: no record may say more of where it came from than the pointer bears out. Seeds that three divides have a spool that fills up, and no proxy,
which would shed. With `topic` lines come from another topic too, and all go through transactions: those of the topic must be there exactly
once. What runs by lot follows the seed, which every failure names.
"""

import errno
import http.client
import random
import sys
import threading
import urllib.error
import urllib.request

from confluent_kafka import KafkaError, Producer

from cluster import *
from harness import Colophon, Upstream, ok  # noqa: E402
from truth import Claims, Promotions, dead_letters, overlong  # noqa: E402

SECONDS = float(sys.argv[2]) if len(sys.argv) > 2 else 20
SEED = int(sys.argv[3]) if len(sys.argv) > 3 and sys.argv[3] else random.randrange(1 << 32)
BROKERS = int(sys.argv[4]) if len(sys.argv) > 4 else 1
FROM_TOPIC = sys.argv[5:] == ["topic"]
IS_SMALL = SEED % 3 == 0
# Whether rotated files are called after their log; else nobody can tell that they come before it.
IS_KIN = SEED % 2 == 0
FILE_BURST, BODY_LINES, TOPIC_BURST = 400, 2000 if IS_SMALL else 100, 200
FIRST_OF_TOPIC = 300_000_000
FIRST_TOO_LONG = 400_000_000
LINE_LIMIT = 4096


class Sidecar:
    """The one that is killed and started again, with the same data."""

    def __init__(self, at, upstream, kafka, topic, file, source):
        self.args = (upstream.address, "--kafka-brokers", kafka.address, "--kafka-topic", topic, "--logs-files", str(file),
                     "--spool-bytes", "16MiB" if IS_SMALL else "192MiB", "--recommendation-line", "true", "--attribution-settle", "none",
                     "--limits-line-bytes", str(LINE_LIMIT),
                     *(["--logs-from-kafka-topic", source] if source else []))
        self.at = at
        self.lock = threading.Lock()
        # While a file is truncated that it has read: if it is killed before it has seen that, what was on its way of it nobody can save.
        self.truncating = threading.Lock()
        self.current = None
        self.starts = 0
        self.said = []
        self.start()

    def start(self):
        # A full disk can keep it from starting; then it is tried again.
        while True:
            colophon = Colophon(*self.args, version=None, directory=str(self.at))
            try:
                colophon.__enter__()
            except AssertionError:
                has_ended = colophon.process.poll() is not None
                colophon.process.kill()
                assert colophon.process.wait() != 2 and has_ended, colophon.said()
                self.said.append(colophon.said())
                time.sleep(0.05)
                continue
            self.starts += 1
            with self.lock:
                self.current = colophon
            return

    def end(self, number):
        colophon = self.current
        with self.truncating:
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
        self.number = 0
        self.accepted, self.too_long = [], []
        self.rotations = [0, 0]

    def run(self):
        out = open(self.file, "a")
        while not self.stop_event.is_set():
            self.write(out, FILE_BURST)
            if self.chance.random() < 0.05:
                self.write_in_two(out, line(self.number))
                self.accepted.append(self.number)
                self.number += 1
            if self.chance.random() < 0.02:
                self.too_long.append(overlong(FIRST_TOO_LONG + self.number, LINE_LIMIT))
                self.write_in_two(out, self.too_long[-1])
            if self.chance.random() < 0.02:
                if self.chance.random() < 0.5:
                    self.file.rename(self.file.with_name(f"{self.file.name if IS_KIN else 'old'}-{self.number}"))
                    # Until it reopens, a server goes on writing to the old one.
                    self.write(out, 50)
                    out.close()
                    out = open(self.file, "a")
                    self.rotations[0] += 1
                else:
                    self.truncate()
            self.stop_event.wait(0.02)
        out.close()

    def write(self, out, count):
        numbers = range(self.number, self.number + count)
        out.writelines(line(n) + "\n" for n in numbers)
        out.flush()
        self.accepted += numbers
        self.number += count

    def write_in_two(self, out, text):
        """A line that is begun, and ended a while later: whatever happens comes in between."""
        middle = self.chance.randrange(1, len(text))
        for part in (text[:middle], text[middle:] + "\n"):
            out.write(part)
            out.flush()
            self.stop_event.wait(self.chance.random() * 0.3)

    def truncate(self):
        size = os.path.getsize(self.file)
        with self.sidecar.truncating:
            if size == 0 or not self.is_read(size):
                return
            os.truncate(self.file, 0)
            self.rotations[1] += 1
            # Until that is seen, and what was on its way is in the spool. For some seconds it may not answer.
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:
                lines = self.sidecar.ask()
                if lines and any(f["file"] == str(self.file) and f["position"] < size for f in lines["files"]):
                    return
                time.sleep(0.02)

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

    def __init__(self, sidecar, stop, chance):
        super().__init__(daemon=True)
        self.sidecar, self.stop_event, self.chance = sidecar, stop, chance
        self.accepted, self.too_long = [], []
        self.refused = self.full = 0

    def run(self):
        number = 100_000_000
        while not self.stop_event.is_set():
            with self.sidecar.lock:
                colophon = self.sidecar.current
            if colophon is None:
                time.sleep(0.01)
                continue
            texts = [line(n) for n in range(number, number + BODY_LINES)]
            too_long = [overlong(FIRST_TOO_LONG + number, LINE_LIMIT)] if self.chance.random() < 0.005 else []
            body = "".join(text + "\n" for text in texts[:50] + too_long + texts[50:]).encode()
            request = urllib.request.Request(
                f"http://{colophon.admin}/v1/logs", data=body, headers={"Content-Type": "application/x-ndjson"})
            try:
                if urllib.request.urlopen(request, timeout=10).status == 204:
                    self.accepted += range(number, number + BODY_LINES)
                    self.too_long += too_long
            except urllib.error.HTTPError as error:
                assert error.code == 503, (error.code, error.read())
                self.full += 1
                self.stop_event.wait(0.01)
            except (OSError, ValueError, http.client.HTTPException):
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


def disturb(chance, sidecar, kafka, at, promotions, events):
    """One thing that goes wrong, and is put right again."""
    kinds = ["kill", "kill", "kill", "restart", "away", "promote", "promote", "freeze", "broker-kill", "broker-stop", "broker-pause", "disk"]
    kind = chance.choice(kinds)
    node = ["--node", str(chance.randint(1, BROKERS))] if BROKERS > 1 else []
    events.append(kind)
    if kind == "kill":
        sidecar.end(signal.SIGKILL)
        sidecar.start()
    elif kind == "restart":
        sidecar.end(signal.SIGTERM)
        sidecar.start()
    elif kind == "away":
        sidecar.end(signal.SIGKILL)
        for _ in range(chance.randrange(3)):
            time.sleep(chance.random())
            promotions.promote()
        time.sleep(chance.random())
        sidecar.start()
    elif kind == "promote":
        promotions.promote()
    elif kind == "freeze":
        sidecar.current.process.send_signal(signal.SIGSTOP)
        if chance.random() < 0.5:
            promotions.promote()
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
        time.sleep((3 if IS_SMALL else 0.5) + chance.random() * 3)
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
            # The pointer lies on that disk too: where there is no room for another one, nobody promotes anything.
            try:
                promotions.promote()
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
        if chance.random() < 0.3:
            sidecar.end(signal.SIGKILL)
            ballast.unlink()
            sidecar.start()
        ballast.unlink(missing_ok=True)


def verify(kafka, topic, accepted, claims=None):
    """Reads the whole topic, again and again, until every accepted number is there, and then to its end; the figures, or what is wrong."""
    deadline = time.monotonic() + 4 * PATIENCE
    consumer = Consumer({**kafka.settings(), "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest",
                         "enable.auto.commit": False, "fetch.message.max.bytes": 4 << 20, "enable.partition.eof": True})
    missing = set(accepted)
    positions, last, newest = {}, {}, {}
    total = repeated = 0
    wrong, once, ended = [], set(), set()
    pattern = re.compile(rb"result: n(\d+),")
    try:
        partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
        consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
        while (missing or len(ended) < len(partitions)) and time.monotonic() < deadline:
            for message in consumer.consume(20_000, timeout=1):
                # For as long as something comes, however slowly.
                deadline = time.monotonic() + 4 * PATIENCE
                if message.error():
                    if message.error().code() == KafkaError._PARTITION_EOF:
                        ended.add(message.partition())
                    continue
                ended.discard(message.partition())
                total += 1
                value = message.value()
                found = pattern.search(value)
                if not found or not claims and b"manifest_sha256=" not in value:
                    wrong.append(value[:200])
                    continue
                number = int(found[1])
                if number >= FIRST_OF_TOPIC:
                    if number in once:
                        wrong.append(f"{number} of the topic is there twice")
                    once.add(number)
                headers = {name: text.decode() for name, text in message.headers()}
                if claims and (untrue := claims.wrong(number, value, headers)):
                    wrong.append(untrue)
                origin = headers["origin"]
                generation, position = origin.rsplit(":", 1)
                position = int(position)
                seen = positions.setdefault(generation, {})
                if position in seen:
                    # Whoever drops repetitions by their origin drops this one.
                    if seen[position] != number:
                        wrong.append(f"{origin} is that of {seen[position]} and of {number}")
                    repeated += 1
                    continue
                seen[position] = number
                missing.discard(number)
                key = (generation, message.key())
                if last.get(key, -1) >= position:
                    wrong.append(f"{origin} of {message.key()} comes after {last[key]}")
                last[key] = position
                # What one writer wrote comes in its order, through rotations and kills, where names say which file was before.
                if IS_KIN and "/file/" in generation:
                    if newest.get(message.key(), -1) > number:
                        wrong.append(f"{number} of {message.key()} comes for the first time after {newest[message.key()]}")
                    newest[message.key()] = number
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
        promotions = Promotions(small / "model_manifest.json")
        sidecar = Sidecar(small, upstream, kafka, topic, logs / "*", source)
        stop = threading.Event()
        sources = [FileWriter(sidecar, logs / "app.log", stop, random.Random(SEED + 1)), Poster(sidecar, stop, random.Random(SEED + 2))]
        if not IS_SMALL:
            sources.append(Asker(sidecar, stop))
        if FROM_TOPIC:
            sources.append(Publisher(kafka, source, stop))
        events = []
        try:
            for one in sources:
                one.start()
            deadline = time.monotonic() + SECONDS
            while time.monotonic() < deadline:
                time.sleep(chance.random() * 1.5)
                disturb(chance, sidecar, kafka, small, promotions, events)
            stop.set()
            for one in sources:
                one.join(3 * PATIENCE)
                assert not one.is_alive()
            accepted = [n for one in sources for n in one.accepted]
            # What was read twice may still come twice: all of it is to be looked at.
            deliver_all(sidecar.ask)
            claims = Claims(promotions, small / "data" / "ledger.sqlite")
            total, repeated, missing, wrong = verify(kafka, topic, accepted, claims)
            too_long = {text for one in sources for text in getattr(one, "too_long", [])}
            buried = dead_letters(small / "data" / "instances" / "default" / "dead-letters" / "dead-letters.jsonl")
            unburied = sorted(text[:20] for text in too_long - buried)
            kinds = {kind: events.count(kind) for kind in sorted(set(events))}
            asked = [one for one in sources if isinstance(one, Asker)]
            print(f"loss: {len(accepted)} accepted, {total} records, {repeated} repeated, {len(missing)} missing; {claims.words}, "
                  f"{len(promotions.placed)} promotions; {len(too_long)} too long, {len(unburied)} of them not buried; "
                  f"{sidecar.starts} starts, rotations {sources[0].rotations}, refused bodies {sources[1].refused}, {sources[1].full} for want of room, "
                  f"responses {sum(len(a.accepted) for a in asked)} and {sum(a.cut for a in asked)} cut; {kinds}", flush=True)
            last = sidecar.ask()
            if missing or wrong:
                for text in sidecar.said[-3:] + [sidecar.current.said()]:
                    events = [text for text in text.splitlines() if '"follow"' not in text]
                    print("--- colophon said:\n" + "\n".join(events[-6:]), file=sys.stderr)
            assert not wrong, f"seed {SEED}: {len(wrong)} wrong, such as {wrong[:3]}"
            assert not unburied, f"seed {SEED}: {len(unburied)} of {len(too_long)} are not among the dead letters, such as {unburied[:3]}"
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
