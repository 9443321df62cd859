"""Lines from another topic: each is published exactly once, whatever is killed, stopped or shared."""

from confluent_kafka import Producer

from cluster import *
from harness import Colophon, Upstream, ok  # noqa: E402

skip_without_broker()


def publish(kafka, topic, numbers, **record):
    producer = Producer(kafka.settings(**{"queue.buffering.max.messages": 1_000_000}))
    for number in numbers:
        producer.produce(topic, line(number).encode(), key=str(number % 7), **record)
        producer.poll(0)
    assert producer.flush(PATIENCE) == 0


def topics(kafka, partitions=3, **config):
    return kafka.create(partitions=partitions), kafka.create(partitions=partitions, **config)


def flags(kafka, source, target, *more):
    return ["--from-kafka-topic", source, "--from-kafka-group", source, "--to", f"kafka://{kafka.address}/{target}", *more]


def assert_once(records, numbers):
    """Each number exactly once, each origin once, and in order within each partition of the source."""
    found = sorted(number_of(record) for record in records)
    wanted = sorted(numbers)
    assert found == wanted, f"{len(found)} records of {len(wanted)}; twice: {len(found) - len(set(found))}"
    last = {}
    for record in records:
        source, position = record.origin.rsplit(":", 1)
        where = (record.partition, source.split("/", 1)[1])
        assert last.get(where, -1) < int(position), f"{record.origin} comes after {last[where]}"
        last[where] = int(position)


def test_records_keep_what_they_brought_and_get_what_they_lack(kafka):
    source, target = topics(kafka)
    producer = Producer(kafka.settings())
    producer.produce(source, line(1), key="7", headers=[("traceparent", b"00-1"), ("traceparent", b"00-2"), ("empty", None)])
    producer.produce(source, line(2), headers=[("attribution", b"mixed"), ("manifest_sha256", b"forged"), ("origin", b"x")])
    producer.produce(source, "something else", key="kept", headers=[("request_id", b"r-1")])
    producer.produce(source, None, key="gone")
    assert producer.flush(PATIENCE) == 0
    with Place() as at:
        _, err = at.run(*flags(kafka, source, target, "--once"))
        assert "4 delivered" in err, err
        digest = digest_of(at.pointer)
    records = {(record.text + "|" + (record.key or b"").decode()): record for record in kafka.read(target, 4)}
    first = next(r for r in records.values() if "result: n1," in r.text)
    assert first.all_headers[-3:] == [("traceparent", b"00-1"), ("traceparent", b"00-2"), ("empty", None)], first.all_headers
    assert first.key == b"1" and first.headers["manifest_sha256"] == digest, (first.key, first.headers)
    assert re.fullmatch(rf"[0-9A-Z]{{26}}/{source}/\d+:\d+", first.origin), first.origin
    second = next(r for r in records.values() if "result: n2," in r.text)
    assert second.headers["attribution"] == "mixed" and second.headers["manifest_sha256"] == digest, second.headers
    assert [name for name, _ in second.all_headers].count("origin") == 1, second.all_headers
    other = records["something else|kept"]
    assert other.headers["request_id"] == "r-1" and other.headers["attribution"] == "unknown", other.headers
    assert records["|gone"].value in (b"", None)


def test_what_is_killed_again_and_again_publishes_each_line_once(kafka):
    source, target = topics(kafka)
    count, rounds = 0, 8
    with Place() as at:
        for _ in range(rounds):
            before = committed(kafka, source)
            publish(kafka, source, range(count, count + 10_000))
            count += 10_000
            process = at.enrich(*flags(kafka, source, target, "--kafka-in-flight", "100"), stderr=subprocess.DEVNULL)
            # Somewhere within its work: as soon as something of it is there.
            wait_until(lambda: committed(kafka, source) > before, "a transaction")
            process.kill()
            process.wait(PATIENCE)
        assert committed(kafka, source) < count, "it was never killed within its work"
        at.run(*flags(kafka, source, target, "--once"))
    assert_once(kafka.read(target, count), range(count))


def committed(kafka, group):
    """How far the group has read."""
    consumer = Consumer(kafka.settings(**{"group.id": group}))
    with contextlib.closing(consumer):
        try:
            partitions = consumer.list_topics(group, timeout=10).topics[group].partitions
            places = consumer.committed([TopicPartition(group, p) for p in partitions], timeout=10)
        except KafkaException:
            # A group that is new has no coordinator for a moment.
            return 0
        return sum(max(0, place.offset) for place in places)


def test_members_of_one_group_share_the_work_and_one_may_leave(kafka):
    source, target = topics(kafka, partitions=4)
    count = 40_000
    with Place() as at, Place() as other:
        first = at.enrich(*flags(kafka, source, target))
        wait_for(first, "topic-assigned")
        publish(kafka, source, range(count // 2))
        second = other.enrich(*flags(kafka, source, target, "--kafka-properties", "session.timeout.ms=6000"))
        wait_for(second, "topic-assigned")
        publish(kafka, source, range(count // 2, count))
        wait_until(lambda: len({record.origin.split("/")[0] for record in kafka.read(target)}) == 2, "a part of each")
        second.terminate()
        second.communicate(timeout=PATIENCE)
        publish(kafka, source, range(count, count + 1000))
        assert_once(kafka.read(target, count + 1000), range(count + 1000))
        first.terminate()
        _, err = first.communicate(timeout=PATIENCE)
        assert first.returncode == 0, err
        shares = {record.origin.split("/")[0] for record in kafka.read(target)}
        assert len(shares) == 2, shares


def wait_for(process, word):
    """Reads what it says until it says `word`."""
    said = ""
    while word not in said:
        text = process.stderr.readline()
        assert text, said
        said += text
    return said


def test_who_is_fenced_off_ends_and_says_why(kafka):
    source, target = topics(kafka)
    publish(kafka, source, range(100))
    with Place() as at, Place() as copy:
        first = at.enrich(*flags(kafka, source, target))
        wait_for(first, "topic-assigned")
        kafka.read(target, 100)
        shutil.copytree(at.data, copy.data)
        second = copy.enrich(*flags(kafka, source, target))
        publish(kafka, source, range(100, 200))
        _, err = first.communicate(timeout=4 * PATIENCE)
        assert first.returncode == 1, (first.returncode, err)
        assert "under this instance's identity" in err and "--data-dir" in err, err
        assert_once(kafka.read(target, 200), range(200))
        second.terminate()
        second.communicate(timeout=PATIENCE)


def test_serve_drains_and_fails_when_it_is_fenced_off(kafka):
    source, target = topics(kafka)
    publish(kafka, source, range(10))
    with Place() as copy, Upstream(ok) as upstream:
        with Colophon(upstream.address, "--kafka-brokers", kafka.address, "--kafka-topic", target,
                      "--logs-from-kafka-topic", source, "--logs-from-kafka-group", source) as sidecar:
            kafka.read(target, 10)
            shutil.copytree(sidecar.path / "data" / "instances" / "default", copy.instance("enrich"))
            second = copy.enrich(*flags(kafka, source, target))
            publish(kafka, source, range(10, 20))
            wait_until(lambda: sidecar.process.poll() is not None, "its end", 4 * PATIENCE)
            assert sidecar.process.returncode == 1
            assert "under this instance's identity" in sidecar.said(), sidecar.said()
            assert_once(kafka.read(target, 20), range(20))
            second.terminate()
            second.communicate(timeout=PATIENCE)


def test_a_line_that_nobody_takes_is_dead_and_the_others_are_published_once(kafka):
    source = kafka.create(partitions=1)
    target = kafka.create(partitions=1)
    producer = Producer(kafka.settings())
    old = int(time.time() * 1000) - 7_200_000
    with Place() as at:
        process = at.enrich(*flags(kafka, source, target, "--limits-line-bytes", "4KiB"))
        wait_for(process, "topic-assigned")
        # What the topic refuses from now on is found out by trying.
        limit(kafka, target, "message.timestamp.before.max.ms", 3_600_000)
        for number in range(400):
            producer.produce(source, line(number, milliseconds=old if number == 150 else None))
        producer.produce(source, "x" * 5000)
        assert producer.flush(PATIENCE) == 0
        # What is refused for its time alone goes with that of now.
        records = kafka.read(target, 400)
        assert_once(records, range(400))
        [late] = [record for record in records if number_of(record) == 150]
        assert late.time > old + 3_600_000, late.time
        wait_until(lambda: committed(kafka, source) == 401, "the end")
        process.terminate()
        process.communicate(timeout=PATIENCE)
        letters = [json.loads(text) for text in
                   (at.instance() / "dead-letters" / "dead-letters.jsonl").read_text().splitlines()]
        origins = [letter["origin"].split("/", 1)[1] for letter in letters]
        assert origins == [f"{source}/0:400"] and "limits.line_bytes" in letters[0]["reason"], letters


def limit(kafka, topic, name, value):
    """Sets one of a topic's settings while it is in use."""
    admin = AdminClient(kafka.settings())
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, set_config={name: str(value)})
    for future in admin.alter_configs([resource]).values():
        future.result(PATIENCE)


def test_it_ends_when_it_is_asked_to_with_much_left_to_read(kafka):
    source, target = topics(kafka)
    publish(kafka, source, range(100_000))
    with Place() as at:
        for _ in range(3):
            before = committed(kafka, source)
            process = at.enrich(*flags(kafka, source, target, "--kafka-in-flight", "500"))
            wait_until(lambda: committed(kafka, source) > before, "a transaction")
            process.terminate()
            _, err = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0, err
        assert committed(kafka, source) < 100_000, "nothing was left to read"
        at.run(*flags(kafka, source, target, "--once", "--kafka-in-flight", "50000"))
    assert_once(kafka.read(target, 100_000), range(100_000))


def test_records_that_were_deleted_unread_are_told_of(kafka):
    source, target = kafka.create(partitions=1), kafka.create(partitions=1)
    with Place() as at:
        publish(kafka, source, range(100))
        at.run(*flags(kafka, source, target, "--once"))
        publish(kafka, source, range(100, 200))
        admin = AdminClient(kafka.settings())
        for future in admin.delete_records([TopicPartition(source, 0, 150)]).values():
            future.result(PATIENCE)
        _, err = at.run(*flags(kafka, source, target, "--once"))
        assert "records-lost" in err and "at_most=50" in err and "retention.ms" in err, err
    assert_once(kafka.read(target, 150), [*range(100), *range(150, 200)])


def test_a_topic_that_is_deleted_keeps_nobody_from_ending(kafka):
    source, target = topics(kafka)
    publish(kafka, source, range(500))
    with Place() as at:
        process = at.enrich(*flags(kafka, source, target, "--kafka-properties", "topic.metadata.refresh.interval.ms=500"))
        kafka.read(target, 500)
        admin = AdminClient(kafka.settings())
        for future in admin.delete_topics([source]).values():
            future.result(PATIENCE)
        wait_for(process, "does not exist")
        process.terminate()
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err


def test_a_topic_that_is_created_anew_and_shorter_is_read_from_its_beginning(kafka):
    """While it is read, and while nobody reads it."""
    for is_read in (True, False):
        source, target = kafka.create(partitions=1), kafka.create(partitions=1)
        publish(kafka, source, range(500))
        with Place() as at:
            arguments = flags(kafka, source, target, "--kafka-properties", "topic.metadata.refresh.interval.ms=60000")
            process = at.enrich(*arguments)
            kafka.read(target, 500)
            wait_until(lambda: committed(kafka, source) == 500, "the group to stand at the end")
            if not is_read:
                process.terminate()
                process.communicate(timeout=PATIENCE)
            create_anew(kafka, source)
            publish(kafka, source, range(500, 800))
            if not is_read:
                process = at.enrich(*arguments)
            assert sorted(number_of(record) for record in kafka.read(target, 800)) == list(range(800))
            process.terminate()
            _, err = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0, err
            # With the topic the broker forgets how far its groups were: whoever starts then is new to it.
            assert ("topic-began-anew" in err) == is_read, err


def create_anew(kafka, topic):
    admin = AdminClient(kafka.settings())
    for future in admin.delete_topics([topic]).values():
        future.result(PATIENCE)

    def created():
        with contextlib.suppress(KafkaException):
            admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(PATIENCE)
            return True
    wait_until(created, "the topic again")


def test_a_record_that_is_too_large_around_its_line_is_dead(kafka):
    source, target = kafka.create(partitions=1, max_message_bytes=40_000_000), kafka.create(partitions=1)
    producer = Producer(kafka.settings(**{"message.max.bytes": 40_000_000}))
    producer.produce(source, line(1))
    producer.produce(source, line(2), headers=[("large", b"x" * (17 << 20))])
    producer.produce(source, line(3), headers=[("h", b"x")] * 70_000)
    producer.produce(source, line(4))
    assert producer.flush(PATIENCE) == 0
    with Place() as at:
        _, err = at.run(*flags(kafka, source, target, "--once"), status=1)
        assert "2 delivered" in err and "2 dead" in err, err
        letters = [json.loads(text) for text in
                   (at.instance() / "dead-letters" / "dead-letters.jsonl").read_text().splitlines()]
        assert all("more room than any record may have" in letter["reason"] for letter in letters), letters
    assert [number_of(record) for record in kafka.read(target, 2)] == [1, 4]


def test_cloud_events_of_the_source_give_way(kafka):
    source, target = topics(kafka)
    publish(kafka, source, [1], headers=[("ce_id", b"theirs"), ("content-type", b"x/y"), ("other", b"kept")])
    with Place() as at:
        at.run(*flags(kafka, source, target, "--once", "--kafka-cloudevents"))
    names = [name for name, _ in kafka.read(target, 1)[0].all_headers]
    assert names.count("ce_id") == names.count("content-type") == names.count("other") == 1, names
    with Place() as at:
        at.run("--from-kafka-topic", source, "--from-kafka-group", "plain", "--to", f"kafka://{kafka.address}/{target}", "--once")
    assert any(("ce_id", b"theirs") in record.all_headers for record in kafka.read(target, 2))


def test_brokers_may_stop_in_the_middle(kafka):
    with Kafka() as own, Place() as at:
        source, target = topics(own)
        publish(own, source, range(20_000))
        process = at.enrich(*flags(own, source, target))
        wait_for(process, "topic-assigned")
        wait_until(lambda: committed(own, source) > 0, "a transaction")
        own.act("stop", "--kill")
        own.act("resume")
        publish(own, source, range(20_000, 21_000))
        assert_once(own.read(target, 21_000), range(21_000))
        process.terminate()
        process.communicate(timeout=PATIENCE)


def test_what_cannot_be_is_refused_by_name(kafka):
    source, target = topics(kafka)
    with Place() as at:
        for arguments, words in [
                (flags(kafka, source, source), "come back for ever"),
                (["--from-kafka-topic", source], "--kafka-brokers"),
                (["--from-kafka-topic", "a/b", "--to", f"kafka://{kafka.address}/x"], "letters, digits"),
                (flags(kafka, source, target, "--kafka-properties", "group.id=x"), "logs.from_kafka.group"),
                (flags(kafka, source, target, "--kafka-properties", "isolation.level=read_uncommitted"), "taken back"),
                (flags(kafka, source, target, "--kafka-properties", "enable.auto.commit=true"), "is refused"),
                (flags(kafka, source, target, "--kafka-properties", "partition.assignment.strategy=cooperative-sticky"), "all at once"),
                (flags(kafka, source, target, "--kafka-properties", "message.max.bytes=2000"), "limits.line_bytes"),
                (flags(kafka, source, target, "--kafka-properties", "transactional.id=x"), "is set by instance")]:
            _, err = at.run(*arguments, status=2)
            assert words in err and err.count("\n") == 1, (arguments, err)
    with Kafka("--set", "auto.create.topics.enable=false") as closed, Place() as at:
        closed.create("there")
        _, err = at.run("--from-kafka-topic", "nowhere", "--to", f"kafka://{closed.address}/there", status=1)
        assert "the topic nowhere does not exist" in err and "--logs-from-kafka-topic" in err, err


if __name__ == "__main__":
    with Kafka() as broker:
        run({name: (lambda test=test: test(broker)) for name, test in list(globals().items()) if name.startswith("test_")})
