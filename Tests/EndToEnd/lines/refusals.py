"""What users get wrong, and what fails under them: each has its message, and nothing is lost."""

import urllib.error
import urllib.request

from cluster import *
from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType
from harness import Colophon, Upstream, ok  # noqa: E402

skip_without_broker()


def is_spooled(at, lines):
    """Whether so many lines of ours lie in the spool: each takes more than 300 bytes there."""
    return sum(p.stat().st_size for p in (at.instance() / "spool").glob("*.segment")) > 300 * lines


def dead_letters(at, name="enrich"):
    path = at.instance(name) / "dead-letters" / "dead-letters.jsonl"
    return [json.loads(text) for text in path.read_text().splitlines()]


def test_a_broker_that_does_not_answer_is_named_and_lines_wait(kafka):
    topic = kafka.create()
    with Place() as at:
        process = at.enrich("--to", f"kafka://127.0.0.1:1/{topic}")
        process.stdin.write("".join(line(n) + "\n" for n in range(100)))
        process.stdin.close()
        said = []
        while "advice" not in "".join(said):
            said.append(process.stderr.readline())
        wait_until(lambda: is_spooled(at, 100), "the lines in the spool")
        process.terminate()
        said += process.stderr.readlines()
        assert process.wait(PATIENCE) == 1
        text = "".join(said)
        assert "no broker at 127.0.0.1:1 answers (kafka.brokers)" in text, text
        assert "100 are not delivered" in text, text
        _, err = at.run("--to", f"kafka://{kafka.address}/{topic}")
        assert "spool-recovered lines=100" in err, err
    assert check_all(kafka.read(topic, 100), range(100)) == 0


def test_a_missing_topic_is_an_error_that_names_the_setting(kafka):
    with Kafka("--set", "auto.create.topics.enable=false") as closed, Place() as at:
        _, err = at.run("--to", f"kafka://{closed.address}/nowhere", text=line(1) + "\n", status=1)
        assert "the topic nowhere does not exist" in err and "--kafka-create-topic" in err, err
        at.run("--to", f"kafka://{closed.address}/nowhere", "--kafka-create-topic", text=line(1) + "\n")
        assert len(closed.read("nowhere", 1)) == 1


def test_rights_that_are_missing_are_named_and_lines_wait_for_them(kafka):
    users = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_admin="a" user_user="u";'
    with Kafka("--sasl", "user:u", "--set", "listener.name.client.plain.sasl.jaas.config=" + users, "--set", "super.users=User:ANONYMOUS;User:admin",
               "--set", "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "--set", "auto.create.topics.enable=false") as closed, Place() as at:
        def security(user, password):
            return {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": user, "sasl.password": password}
        admin = AdminClient(closed.settings(**security("admin", "a")))
        admin.create_topics([NewTopic("closed", 1, 1)])["closed"].result(PATIENCE)
        properties = [word for name, value in security("user", "u").items() for word in ("--kafka-properties", f"{name}={value}")]
        to = ["--to", f"kafka://{closed.address}/closed", *properties]

        def allow(operation, topic="closed"):
            acl = AclBinding(ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, "User:user", "*", operation, AclPermissionType.ALLOW)
            for future in admin.create_acls([acl]).values():
                future.result(PATIENCE)
        _, err = at.run(*to, text=line(0) + "\n", status=1)
        assert "the topic closed (kafka.topic) cannot be used" in err and "Describe the topic, to Write" in err, err
        allow(AclOperation.DESCRIBE)
        # One that is not there, and may be looked at, but not created.
        allow(AclOperation.DESCRIBE, "new")

        def is_missed():
            _, said = at.run("--to", f"kafka://{closed.address}/new", *properties, "--kafka-create-topic", text=line(0) + "\n", status=1)
            return "cannot be used" not in said and said
        err = wait_until(is_missed, "what was allowed to be known")
        assert "the topic new (kafka.topic) does not exist, and cannot be created" in err and "to Create it with kafka.create_topic" in err, err

        def refused():
            # What was allowed is known to the broker a moment later.
            process = at.enrich(*to)
            process.stdin.write(line(1) + "\n")
            process.stdin.close()
            process.stdin = None
            said = ""
            while text := process.stderr.readline():
                said += text
                if "kafka-failed" in said:
                    return process, said
            assert process.wait(PATIENCE) == 1 and "cannot be used" in said, said
        process, said = wait_until(refused, "the topic to be seen")
        assert "CLUSTER_AUTHORIZATION_FAILED" in said and "needs the right to Write" in said, said
        allow(AclOperation.WRITE)
        _, err = process.communicate(timeout=4 * PATIENCE)
        assert process.returncode == 0, err
        records = closed.read("closed", 1, settings=closed.settings(**security("admin", "a")))
        assert 1 in {number_of(record) for record in records}


def test_passwords_are_needed_and_never_shown(kafka):
    with Kafka("--sasl", "user:right-Secret-1", "--tls") as closed, Place() as at:
        ca = closed.directory / "k" / "ca.pem"
        security = ["--kafka-properties", "security.protocol=SASL_SSL", "--kafka-properties", "sasl.mechanism=PLAIN",
                    "--kafka-properties", f"ssl.ca.location={ca}", "--kafka-properties", "sasl.username=user"]
        settings = closed.settings(**{
            "security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", "ssl.ca.location": str(ca), "sasl.username": "user",
            "sasl.password": "right-Secret-1"})
        admin = AdminClient(settings)
        admin.create_topics([NewTopic("closed", 1, 1)])["closed"].result(PATIENCE)
        process = at.enrich(
            "--to", f"kafka://{closed.address}/closed", *security, "--kafka-properties", "sasl.password=wrong-Secret-2")
        process.stdin.write(line(1) + "\n")
        process.stdin.close()
        said = ""
        while "kafka-unreachable" not in said:
            text = process.stderr.readline()
            assert text, said
            said += text
        assert "_AUTHENTICATION" in said and "refuse us" in said and "kafka.properties" in said, said
        assert "no broker at" not in said and "kafka.brokers" not in said, said
        wait_until(lambda: is_spooled(at, 1), "the line in the spool")
        process.terminate()
        said += process.stderr.read()
        process.wait(PATIENCE)
        assert "Secret" not in said, said
        _, err = at.run("--to", f"kafka://{closed.address}/closed", *security, "--kafka-properties", "sasl.password=right-Secret-1")
        assert "1 delivered" in err and "Secret" not in err, err
        assert len(closed.read("closed", 1, settings)) == 1


def test_what_waits_for_one_topic_never_goes_to_another(kafka):
    topic, other = kafka.create(), kafka.create()
    with Place() as at:
        process = at.enrich("--to", f"kafka://127.0.0.1:1/{topic}")
        process.stdin.write("".join(line(n) + "\n" for n in range(5)))
        process.stdin.flush()
        wait_until(lambda: is_spooled(at, 5), "the lines in the spool")
        process.terminate()
        process.communicate()
        for to in [f"kafka://{kafka.address}/{other}", f"file:{at.path}/out"]:
            _, err = at.run("--to", to, "--unix", str(at.path / "socket"), status=3)
            assert f"5 lines wait in the spool for the topic {topic}" in err and "--instance" in err, err
        _, err = at.run("--to", f"kafka://{kafka.address}/{topic}")
        assert "5 delivered" in err, err
        # Once nothing waits, it may go anywhere.
        _, err = at.run("--to", f"kafka://{kafka.address}/{other}", text=line(9) + "\n")
        assert "1 delivered" in err, err
    assert check_all(kafka.read(topic, 5), range(5)) == 0
    assert len(kafka.read(other, 1)) == 1


def test_what_is_written_here_is_not_read_here(_):
    with Place() as at:
        log, out = at.path / "a.log", at.path / "b.log"
        log.write_text("".join(line(n) + "\n" for n in range(100)))
        for _ in range(2):
            _, err = at.run("--files", str(at.path / "*.log"), "--once", "--to", f"file:{out}")
        assert "own-output" in err and "leave it out" in err, err
        assert out.read_text().count("\n") == 100
        # Standard output may be such a file too.
        with open(at.path / "c.log", "w") as file:
            process = at.enrich("--files", str(at.path / "[ac].log"), "--once", "--instance", "c", stdout=file)
            _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0 and "own-output" in err, err
        assert (at.path / "c.log").read_text().count("\n") == 100


def test_lines_without_anywhere_to_go_are_refused(_):
    for arguments in [["--logs-files", "x.log"], ["--logs-unix", "s"], ["--kafka-topic", "t"], ["--kafka-create-topic"],
                      ["--recommendation-line", "true"], ["--logs-from-kafka-topic", "t"]]:
        result = subprocess.run([COLOPHON, "serve", *arguments], capture_output=True, text=True, timeout=PATIENCE)
        assert result.returncode == 2 and f"{arguments[0]} has nowhere to go" in result.stderr, (arguments, result.stderr)


def test_properties_that_cannot_be_are_refused_by_name(kafka):
    with Place() as at:
        to = ["--to", f"kafka://{kafka.address}/x", "--kafka-properties"]
        for given, words in [
                ("acks=1", ["acks=1 is refused", "could be lost", "all"]), ("request.required.acks=0", ["is refused"]),
                ("enable.idempotence=false", ["is refused", "order"]), ("message.timeout.ms=1000", ["is refused", "given up"]),
                ("bootstrap.servers=x:1", ["is set by kafka.brokers"]), ("no.such.thing=1", ["no.such.thing"]),
                ("linger.ms=soon", ["linger.ms"]), ("max.in.flight=10", ["max.in.flight"]),
                ("ssl.key.password", ["NAME=VALUE"])]:
            _, err = at.run(*to, given, text="x\n", status=2)
            assert all(word in err for word in words) and err.count("\n") == 1, (given, err)
        for arguments, words in [
                (["--to", "kafka:///t"], "names no broker"), (["--to", "nope://x"], "kafka://HOST:PORT/TOPIC"),
                (["--to", "kafka://h:99999/t"], "HOST:PORT"), (["--match", "x", "--to", "stdout"], "FIELD=VALUE"),
                (["--timezone", "Europe/Berlin"], "+02:00"), (["--once"], "--files"),
                (["--once", "--files", "x", "--unix", "s"], "never ends"), (["--unix", "udp:x", "--to", "stdout"], "datagram:PATH"),
                (["--kafka-topic", "t"], "--to kafka://HOST:PORT/TOPIC"), (["--unmatched", "x"], "--unmatched takes"),
                (["--to", "file:"], "file:PATH"),
                (["--kafka-headers", "nope"], "model_version"), (["--spool-bytes", "1KiB"], "16MiB")]:
            _, err = at.run(*arguments, text="x\n", status=2)
            assert words in err and err.count("\n") == 1, (arguments, err)


def test_records_that_nobody_takes_are_dead_alone_and_the_others_keep_their_order(kafka):
    # Every hundredth line has no user, and so no key, without which this topic takes none.
    topic = kafka.create(**{"cleanup.policy": "compact"})
    old = int(time.time() * 1000) - 7_200_000
    with Place() as at:
        process = at.enrich("--to", f"kafka://127.0.0.1:1/{topic}")
        process.stdin.write("".join((f"result: n{n}, without a key" if n % 100 == 50 else line(n)) + "\n" for n in range(300)))
        process.stdin.flush()
        wait_until(lambda: is_spooled(at, 300), "the lines in the spool")
        process.terminate()
        process.communicate()
        _, err = at.run("--to", f"kafka://{kafka.address}/{topic}", text=line(300) + "\n", status=1)
        assert "3 dead" in err, err
        letters = dead_letters(at)
        assert sorted(int(re.search(r"result: n(\d+)", letter["line"])[1]) for letter in letters) == [50, 150, 250]
        assert all("INVALID_RECORD" in letter["reason"] and "/stdin/" in letter["origin"] for letter in letters), letters
        assert (at.instance() / "dead-letters" / "dead-letters.jsonl").stat().st_mode & 0o777 == 0o600
        check_all(kafka.read(topic, 298), set(range(301)) - {50, 150, 250})
        # What is known beforehand is not tried: a line of too old a time gets the time of reading.
        topic = kafka.create(**{"message.timestamp.before.max.ms": 3_600_000})
        _, err = at.run("--to", f"kafka://{kafka.address}/{topic}", text=line(301, milliseconds=old) + "\n")
        assert "records of older lines get the time of reading" in err, err


def test_lines_that_are_too_long_are_dead_in_pieces_and_whole(kafka):
    topic = kafka.create(**{"max.message.bytes": 5000})
    with Place() as at:
        long = "x" * 3000 + "\u00e9" * 40_000
        _, err = at.run("--to", f"kafka://{kafka.address}/{topic}", "--limits-line-bytes", "64KiB",
                        text=f"{line(1)}\n{long}\n{line(2)}{'y' * 9000}\n{line(3)}\n", status=1)
        assert "1 too long" in err, err
        letters = dead_letters(at)
        pieces = [letter for letter in letters if "limits.line_bytes" in letter["reason"]]
        whole = b"".join(bytes.fromhex(p["line_hex"]) if "line_hex" in p else p["line"].encode() for p in pieces)
        assert whole == long.encode() and pieces[-1]["last"] and len({p["origin"] for p in pieces}) == 1
        refused = [letter for letter in letters if letter not in pieces]
        assert len(refused) == 1 and "n2" in refused[0]["line"] and "MSG_SIZE_TOO_LARGE" in refused[0]["reason"], refused
        assert [number_of(record) for record in kafka.read(topic, 2)] == [1, 3]


def test_a_topic_that_is_deleted_while_lines_flow_stops_nobody(kafka):
    topic = kafka.create()
    with Place() as at:
        process = at.enrich("--to", f"kafka://{kafka.address}/{topic}", "--kafka-properties",
                            "topic.metadata.propagation.max.ms=500", "--kafka-properties", "topic.metadata.refresh.interval.ms=500")
        process.stdin.write(line(0) + "\n")
        process.stdin.flush()
        kafka.read(topic, 1)
        admin = AdminClient(kafka.settings())
        admin.delete_topics([topic])[topic].result(PATIENCE)
        for n in range(1, 2000):
            process.stdin.write(line(n) + "\n")
            process.stdin.flush()
        wait_until(lambda: process.poll() is not None or has_topic(admin, topic),
                   "the topic comes back, for these brokers create it")
        assert process.poll() is None, process.stderr.read()
        _, err = process.communicate(timeout=2 * PATIENCE)
        assert process.returncode == 0, err
    assert check_all(kafka.read(topic, 1), range(1990, 2000)) >= 0


def test_it_ends_well_when_it_is_asked_to_under_load(kafka):
    topic = kafka.create()
    with Place() as at:
        file = at.path / "a.log"
        file.write_text("".join(line(n) + "\n" for n in range(300_000)))
        # Few enough to arrive within the second that it waits for them.
        to = ["--to", f"kafka://{kafka.address}/{topic}", "--files", str(file), "--kafka-in-flight", "100"]
        for round in range(4):
            process = at.enrich(*to)
            seen = kafka.read(topic, 1 + round * 20_000)
            process.terminate()
            _, err = process.communicate(timeout=PATIENCE)
            assert process.returncode in (0, 1) and "delivered" in err, (process.returncode, err)
        _, err = at.run(*to, "--once")
        # What was on its way when it was asked to end arrived first: nothing is sent twice.
        assert check_all(kafka.read(topic, 300_000), range(300_000)) == 0


def test_one_instance_has_one_user(kafka):
    with Place() as at:
        process = at.enrich("--to", "kafka://127.0.0.1:1/x")
        wait_until(lambda: (at.instance() / "spool" / "cursor").exists(), "the instance")
        _, err = at.run("--to", "kafka://127.0.0.1:1/x", status=3)
        assert "the instance enrich is in use" in err and "--instance" in err, err
        process.terminate()
        process.communicate()


def test_files_that_come_later_go_or_are_from_elsewhere(kafka):
    topic = kafka.create()
    with Place() as at:
        logs = at.path / "logs"
        process = at.enrich("--to", f"kafka://{kafka.address}/{topic}", "--files", str(logs / "*.log"))
        said = ""
        while "no-file" not in said:
            said += process.stderr.readline()
        logs.mkdir()
        (logs / "a.log").write_text("".join(line(n) + "\n" for n in range(10)))
        kafka.read(topic, 10)
        # The whole directory goes, and comes back with a line more.
        logs.rename(at.path / "gone")
        with open(at.path / "gone" / "a.log", "a") as out:
            out.write(line(10) + "\n")
        (at.path / "gone").rename(logs)
        assert check_all(kafka.read(topic, 11), range(11)) == 0
        process.terminate()
        process.communicate()
        # A checkpoint that was made on another machine says nothing here.
        mark = next((at.instance() / "checkpoints").glob("*.json"))
        document = json.loads(mark.read_text())
        mark.write_text(json.dumps({**document, "host": "another"}))
        _, err = at.run("--to", f"kafka://{kafka.address}/{topic}", "--files", str(logs / "*.log"), "--once")
        assert "checkpoint-set-aside" in err and "another host" in err, err
        assert list((at.instance() / "checkpoints").glob("*.json.set-aside")), "it is kept"
        # Whoever has the inode of a file of ours now, under a name that nobody asked for, is left alone.
        (logs / "a.log").rename(logs / "private")
        (logs / "private").write_text("secret\n")
        (logs / "a.log").write_text(line(11) + "\n")
        _, err = at.run("--to", f"kafka://{kafka.address}/{topic}", "--files", str(logs / "*.log"), "--once")
    records = kafka.read(topic, 23)
    check_all(records, range(12))
    assert not any("secret" in record.text for record in records)


def test_once_reads_everything_and_its_last_line(kafka):
    with Place() as at:
        file = at.path / "a.log"
        file.write_text("".join(f"{n}\n" for n in range(100_000)) + "last")
        out, err = at.run("--files", str(file), "--once")
        assert out.splitlines() == [str(n) for n in range(100_000)] + ["last"], (len(out.splitlines()), err)
        out, err = at.run("--files", str(file), "--once")
        assert out == "", out
        with open(file, "a") as more:
            more.write("\nmore\n")
        out, err = at.run("--files", str(file), "--once")
        assert out == "more\n" and not dead_letters(at), out
        torn = at.path / "torn"
        torn.write_text("half a li")
        at.run("--files", str(file), "--once", "--instance", "third", "--to", f"file:{torn}")
        assert torn.read_text().startswith("half a li\n0\n1\n")
        slow = at.enrich("--files", str(file), "--once", "--instance", "fourth", stdout=subprocess.PIPE)
        assert len(slow.communicate(timeout=PATIENCE)[0].splitlines()) == 100_002
        process = at.enrich("--files", str(file), "--once", "--instance", "other", stdout=open("/dev/full", "w"))
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 1 and "standard output" in err, err


def test_bodies_are_answered_whatever_is_in_them(kafka):
    topic = kafka.create()
    with Upstream(ok) as upstream:
        with Colophon(upstream.address, "--kafka-brokers", kafka.address, "--kafka-topic", topic, "--logs-unmatched", "drop",
                      "--limits-line-bytes", "64KiB", "--dead-letters-bytes", "16MiB") as colophon:
            def post(body):
                request = urllib.request.Request(
                    f"http://{colophon.admin}/v1/logs", data=body, headers={"Content-Type": "application/x-ndjson"})
                try:
                    return urllib.request.urlopen(request, timeout=PATIENCE).status
                except urllib.error.HTTPError as error:
                    return error.code
            assert post(b"") == 204
            assert post(b"nothing that is meant\n") == 204
            assert post(b"z" * 100_000) == 204
            path = colophon.path / "data" / "instances" / "default" / "dead-letters" / "dead-letters.jsonl"
            letters = [json.loads(text) for text in path.read_text().splitlines()]
            assert "".join(letter["line"] for letter in letters) == "z" * 100_000 and letters[-1]["last"], len(letters)
            # Until the dead letters are full: then bodies with such lines are refused, and whoever moves the file away is believed.
            answers = []
            while len(answers) < 12 and 503 not in answers:
                answers.append(post((b"z" * 100_000 + b"\n") * 20))
            assert answers[-1] == 503, answers
            path.rename(path.with_suffix(".old"))
            assert wait_until(lambda: post(b"z" * 100_000 + b"\n" + line(1).encode()) == 204, "room again")
            assert len(kafka.read(topic, 1)) == 1


def test_the_broker_in_the_box_serves_and_says_that_it_keeps_nothing(_):
    process = subprocess.Popen([COLOPHON, "dev-broker", "--topic", "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        address = process.stdout.readline().strip()
        assert "keeps nothing" in process.stderr.readline()
        with Place() as at:
            _, err = at.run("--to", f"kafka://{address}/demo", text="".join(line(n) + "\n" for n in range(50)))
            assert "50 delivered" in err, err
        shown = subprocess.run(["kcat", "-C", "-b", address, "-t", "demo", "-c", "50", "-q", "-o", "beginning"],
                               capture_output=True, text=True, timeout=PATIENCE).stdout
        assert shown.count("manifest_sha256=") == 50, shown[:300]
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0


if __name__ == "__main__":
    with Kafka() as broker:
        run({name: (lambda test=test: test(broker)) for name, test in list(globals().items()) if name.startswith("test_")})
