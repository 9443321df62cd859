"""What the end-to-end tests of lines share: a Kafka, a colophon that enriches, and consumers that look at every record.

A real broker is looked for in this order: COLOPHON_TEST_KAFKA (an address: it is used, and never stopped), KAFKA_HOME (an unpacked
Apache Kafka), ../shared/kafka beside the repository. With none of them these tests are skipped, by name.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "proxy"))
from harness import COLOPHON, PATIENCE, manifest, place, run, wait_until  # noqa: E402,F401

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition  # noqa: E402
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "Tests" / "Support" / "kafka"
FIELDS = ["model_version", "pipeline_commit", "data_version", "manifest_sha256"]


def kafka_home():
    """Where the jars are; nil where there are none."""
    for home in [os.environ.get("KAFKA_HOME"), ROOT.parent / "shared" / "kafka"]:
        if home and (Path(home) / "libs").is_dir():
            return str(home)
    return None


def skip_without_broker():
    if not os.environ.get("COLOPHON_TEST_KAFKA") and not kafka_home():
        print("skipped: no Kafka is found (COLOPHON_TEST_KAFKA, KAFKA_HOME, ../shared/kafka)")
        sys.exit(77)


class Kafka:
    """A broker, or several, of its own; stopped and removed at the end."""

    def __init__(self, *args):
        self.directory = Path(tempfile.mkdtemp(prefix="colophon-kafka-", dir=memory()))
        self.args = args
        self.given = os.environ.get("COLOPHON_TEST_KAFKA") if not args else None

    def __enter__(self):
        if self.given:
            self.address = self.given
            print(f"using the Kafka at {self.given}", file=sys.stderr)
        elif not kafka_home():
            print("skipped: this test stops and sets brokers, and no Kafka of its own is found (KAFKA_HOME)")
            sys.exit(77)
        else:
            self.address = self.act("start", *self.args).strip()
            if "--sasl" not in self.args:
                # The first answer of a cold broker takes long.
                AdminClient(self.settings()).list_topics(timeout=2 * PATIENCE)
        return self

    def __exit__(self, *_):
        if not self.given:
            self.act("stop", "--kill")
        shutil.rmtree(self.directory, ignore_errors=True)

    def act(self, verb, *args):
        result = subprocess.run(
            [str(SCRIPT), verb, str(self.directory / "k"), *args], capture_output=True, text=True, timeout=180,
            env={**os.environ, "KAFKA_HOME": kafka_home()})
        assert result.returncode == 0, result.stderr
        return result.stdout

    def settings(self, **more):
        return {"bootstrap.servers": self.address, **more}

    def create(self, topic=None, partitions=1, **config):
        topic = topic or "t" + uuid.uuid4().hex[:12]
        admin = AdminClient(self.settings())
        future = admin.create_topics(
            [NewTopic(topic, partitions, -1, config={k.replace("_", "."): str(v) for k, v in config.items()})])
        future[topic].result(PATIENCE)
        wait_until(lambda: has_topic(admin, topic), f"topic {topic}")
        return topic

    def read(self, topic, count=None, settings=None):
        """All records of a topic, in the order of each partition; waits until there are `count`."""
        consumer = Consumer({
            **(settings or self.settings()), "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest",
            "enable.auto.commit": False, "enable.partition.eof": True})
        records, ended = [], set()
        try:
            deadline = time.monotonic() + 4 * PATIENCE
            partitions = consumer.list_topics(topic, timeout=PATIENCE).topics[topic].partitions
            consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions])
            while len(ended) < len(partitions) or len(records) < (count or 0):
                assert time.monotonic() < deadline, f"only {len(records)} of {count} records came"
                for message in consumer.consume(10_000, timeout=0.2):
                    if not message.error():
                        records.append(Record(message))
                        ended.discard(message.partition())
                    elif message.error().code() == KafkaError._PARTITION_EOF:
                        ended.add(message.partition())
                    else:
                        raise KafkaException(message.error())
        finally:
            consumer.close()
        return records


class Box(Kafka):
    """The broker in the box, `colophon dev-broker`: what needs nothing of a broker but to take and give records holds with it too."""

    def __init__(self):
        pass

    def __enter__(self):
        self.process = subprocess.Popen([COLOPHON, "dev-broker"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.address = self.process.stdout.readline().strip()
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def create(self, topic=None, partitions=1, **config):
        # It makes any topic that is asked for.
        return topic or "t" + uuid.uuid4().hex[:12]


class Record:
    def __init__(self, message):
        self.value = message.value()
        self.key = message.key()
        self.partition = message.partition()
        self.offset = message.offset()
        self.time = message.timestamp()[1]
        self.all_headers = message.headers() or []
        self.headers = {name: value.decode() for name, value in self.all_headers if value is not None}

    @property
    def text(self):
        return self.value.decode("utf-8", "replace")

    @property
    def origin(self):
        return self.headers["origin"]


def has_topic(admin, topic):
    with contextlib.suppress(KafkaException):
        return topic in admin.list_topics(timeout=10).topics


def deliver_all(lines):
    """Waits until nothing waits any more: for as long as something arrives. `lines` tells what the status says of them."""
    reached, since = -1, time.monotonic()
    while True:
        now = lines()
        if now and now["waiting"] == 0:
            return
        if now and now["delivered"] != reached:
            reached, since = now["delivered"], time.monotonic()
        assert time.monotonic() < since + 2 * PATIENCE, f"nothing arrives any more: {now}"
        time.sleep(0.05)


def memory():
    return "/dev/shm" if os.path.isdir("/dev/shm") else None


def digest_of(pointer):
    """The digest of a manifest that declares none: of its canonical form, which Python writes like this for plain ASCII."""
    document = json.loads(Path(pointer).read_text())
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class Place:
    """A directory with a manifest in it, for one colophon after the other."""

    def __init__(self, version="m1"):
        self.path = Path(tempfile.mkdtemp(prefix="colophon-lines-", dir=memory()))
        self.pointer = self.path / "model_manifest.json"
        place(self.pointer, manifest(version))
        self.data = self.path / "data"
        self.processes = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        shutil.rmtree(self.path, ignore_errors=True)

    def instance(self, name="enrich"):
        return self.data / "instances" / name

    def enrich(self, *args, **options):
        self.processes.append(subprocess.Popen(
            [COLOPHON, "enrich", "--manifest", str(self.pointer), "--data-dir", str(self.data), *args],
            **{"stderr": subprocess.PIPE, "stdin": subprocess.PIPE, "text": True, **options}))
        return self.processes[-1]

    def run(self, *args, text="", status=0):
        process = self.enrich(*args, stdout=subprocess.PIPE)
        out, err = process.communicate(text, timeout=2 * PATIENCE)
        assert process.returncode == status, f"{process.returncode}: {err}"
        return out, err


def line(number, user=None, milliseconds=None):
    """A line that carries its number, of a user whose lines keep their order."""
    now = time.time() if milliseconds is None else milliseconds / 1000
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1e6) % 1_000_000:06d}Z"
    user = number % 7 if user is None else user
    return (f"{stamp},{user},recommendation request /recommend/{user}, status 200, variant=als_model, bucket=0.5, "
            f"result: n{number},b, 4 ms")


def number_of(record):
    return int(re.search(r"result: n(\d+),", record.text)[1])


def check_all(records, numbers, one_log=False):
    """Every number is there; order per key holds once repetitions are dropped by origin: in each generation of a source, and where all of them
    are of one log, in all together. How many were repetitions."""
    seen, firsts = set(), []
    for record in records:
        if record.origin not in seen:
            seen.add(record.origin)
            firsts.append(record)
    missing = set(numbers) - {number_of(record) for record in records}
    assert not missing, f"{len(missing)} are missing, such as {sorted(missing)[:5]}"
    last = {}
    for record in firsts:
        where = (record.partition, record.key, record.origin.rsplit(":", 1)[0])
        position = int(record.origin.rsplit(":", 1)[1])
        assert last.get(where, -1) < position, f"{record.origin} comes after {last[where]}"
        last[where] = position
        if one_log:
            number, before = number_of(record), last.get(record.key, -1)
            assert before < number, f"of {record.key}, {number} comes after {before}"
            last[record.key] = number
    return len(records) - len(firsts)
