"""Lines that reach a real Kafka: every record is looked at, by a Python client and by kcat."""

import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from cluster import *
from harness import Colophon, Upstream, ok

skip_without_broker()


def test_every_record_says_what_its_line_says(kafka):
    topic = kafka.create(partitions=3)
    lines = [line(n) for n in range(500)] + ["2025-03-04T18:21:03,1,GET /data/m/am\u00e9lie+2001/3.mpg", ""]
    with Place() as at:
        _, err = at.run("--to", f"kafka://{kafka.address}/{topic}", text="\n".join(lines) + "\n")
        assert "502 lines; 500 enriched, 2 forwarded" in err and "502 delivered" in err, err
        digest = digest_of(at.pointer)
    records = kafka.read(topic, 502)
    enriched = [record for record in records if record.headers["attribution"] == "inferred"]
    assert len(enriched) == 500 and len(records) == 502
    for record in enriched:
        original = lines[number_of(record)]
        assert record.text == (f"{original}, model_version=m1, pipeline_commit=80d8e56, data_version=ds-m1, "
                               f"manifest_sha256={digest}"), record.text
        assert record.key.decode() == original.split(",")[1]
        assert record.headers["model_version"] == "m1" and record.headers["manifest_sha256"] == digest
        assert set(record.headers) == {"model_version", "manifest_sha256", "attribution", "origin"}
        written = time.strptime(original[:19], "%Y-%m-%dT%H:%M:%S")
        assert record.time // 1000 == __import__("calendar").timegm(written), (record.time, original)
    others = [record for record in records if record not in enriched]
    assert sorted(record.value for record in others) == sorted(text.encode() for text in lines[500:])
    # Of the same users, and in the same order.
    assert sorted((record.key or b"").decode() for record in others) == ["", "1"], others
    assert all(record.headers["attribution"] == "unknown" for record in others)
    assert check_all(enriched, range(500)) == 0
    # The same by kcat, which shares no code with us but the client library.
    shown = subprocess.run(
        ["kcat", "-C", "-b", kafka.address, "-t", topic, "-e", "-q", "-f", "%k|%h|%s\\n"], capture_output=True, text=True,
        timeout=PATIENCE).stdout
    assert shown.count(f"manifest_sha256={digest},attribution=inferred,origin=") == 500, shown[:500]


def test_headers_are_chosen_and_cloudevents_are_added(kafka):
    topic = kafka.create()
    with Place() as at:
        to = ["--to", f"kafka://{kafka.address}/{topic}"]
        at.run(*to, "--kafka-headers", "none", text=line(1) + "\n")
        at.run(*to, "--kafka-headers", "all", "--kafka-timestamp-window", "1s", text=line(2, milliseconds=1_700_000_000_000) + "\n")
        at.run(*to, "--kafka-headers", "origin", "--kafka-cloudevents", "--kafka-key", "variant", text=line(3) + "\n")
    first, second, third = kafka.read(topic, 3)
    assert first.headers == {}
    assert second.headers["line_time"] == "2023-11-14T22:13:20Z" and second.time > 1_750_000_000_000
    assert second.headers["pipeline_commit"] == "80d8e56" and second.headers["data_version"] == "ds-m1"
    assert third.key == b"als_model"
    assert third.headers["ce_specversion"] == "1.0" and third.headers["ce_id"] == third.origin
    assert third.headers["ce_type"] == "colophon.line" and third.headers["ce_source"].startswith("/colophon/01")


def test_keys_go_where_the_producer_of_java_sends_them(kafka):
    """Whoever joins the topic with one that is written by Java finds a key in the same partition of both."""
    ours, theirs = kafka.create(partitions=7), kafka.create(partitions=7)
    users = range(500)
    with Place() as at:
        at.run("--to", f"kafka://{kafka.address}/{ours}", text="".join(line(n, user=n) + "\n" for n in users))
    result = subprocess.run(
        ["java", "-Xmx128m", "-cp", f"{kafka_home()}/libs/*", "org.apache.kafka.tools.ConsoleProducer", "--bootstrap-server",
         kafka.address, "--topic", theirs, "--property", "parse.key=true", "--property", "key.separator=|"],
        input="".join(f"{n}|value\n" for n in users), capture_output=True, text=True, timeout=2 * PATIENCE)
    assert result.returncode == 0, result.stderr
    def places(topic):
        return {record.key: record.partition for record in kafka.read(topic, len(users))}
    assert len(set(places(theirs).values())) == 7
    assert places(ours) == places(theirs)


def test_a_user_has_one_key_however_it_is_spelled(kafka):
    topic = kafka.create(partitions=5)
    texts = [
        '{"event":"recommendation","user_id":"J\\u00fcrgen"}', '{"event":"recommendation","user_id":"J\u00fcrgen"}',
        'event=recommendation user_id="J\\u00fcrgen"', "2025-03-04T18:21:03Z, J\u00fcrgen ,recommendation request /r, status 200, result: a, 4 ms",
        "2025-03-04T18:21:03Z,,recommendation request /r, status 200, user_id=J%C3%BCrgen, result: a, 4 ms",
        "2025-03-04T18:21:03Z,,recommendation request /r, status 200, result: a, 4 ms", '{"event":"recommendation","user_id":""}']
    with Place() as at:
        at.run("--to", f"kafka://{kafka.address}/{topic}", text="\n".join(texts) + "\n")
    keys = {record.text.split(", model_version")[0].split(',"model_version')[0].split(" model_version")[0]: record
            for record in kafka.read(topic, len(texts))}
    assert len(keys) == len(texts), list(keys)
    named = [record for text, record in keys.items() if "rgen" in text]
    assert len(named) == 5 and {record.key.decode() for record in named} == {"J\u00fcrgen"}, named
    assert len({record.partition for record in named}) == 1
    assert [record.key for text, record in keys.items() if "rgen" not in text] == [None, None]


def test_what_compresses_is_compressed_as_it_is_told(kafka):
    """The topic keeps what the producer sends (compression.type=producer): so the log of the broker tells how it was."""
    if kafka.given:
        return
    for codec in (None, "lz4", "gzip", "none"):
        topic = kafka.create()
        with Place() as at:
            at.run("--to", f"kafka://{kafka.address}/{topic}", *(["--kafka-properties", f"compression.codec={codec}"] if codec else []),
                   text="".join(line(n) + "\n" for n in range(1000)))
        log = next(Path(kafka.directory).rglob(f"{topic}-0/*.log"))
        # The attributes of a batch (KIP-98), whose lowest three bits name the codec.
        attributes = int.from_bytes(log.read_bytes()[21:23], "big")
        assert ["none", "gzip", "snappy", "lz4", "zstd"][attributes & 7] == (codec or "zstd"), (codec, attributes)
        assert len(kafka.read(topic, 1000)) == 1000


def test_files_are_followed_through_both_rotations(kafka):
    topic = kafka.create(partitions=2)
    with Place() as at:
        logs = at.path / "logs"
        logs.mkdir()
        file = logs / "app.log"
        process = at.enrich("--to", f"kafka://{kafka.address}/{topic}", "--files", str(logs / "*.log"))
        try:
            def write(first, count, mode="a"):
                with open(file, mode) as out:
                    out.writelines(line(n) + "\n" for n in range(first, first + count))
            write(0, 300)
            kafka.read(topic, 300)
            # Renamed away, and written to a little longer, as servers do until they reopen.
            file.rename(logs / "app.log.1")
            with open(logs / "app.log.1", "a") as out:
                out.writelines(line(n) + "\n" for n in range(300, 320))
            write(320, 300)
            kafka.read(topic, 620)
            # Copied and truncated.
            (logs / "app.log.2").write_bytes(file.read_bytes())
            write(620, 5, mode="w")
            kafka.read(topic, 625)
            write(625, 200)
            # A line without its end is none yet.
            with open(file, "a") as out:
                out.write(line(825)[:40])
            records = kafka.read(topic, 825)
            assert check_all(records, range(825), one_log=True) == 0
            assert len({record.origin.rsplit(":", 1)[0] for record in records}) == 3
            with open(file, "a") as out:
                out.write(line(825)[40:] + "\n")
            assert check_all(kafka.read(topic, 826), range(825), one_log=True) == 0
        finally:
            process.terminate()
            _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
        assert "826 lines" in err, err


def test_positions_survive_a_kill_and_a_rotation_meanwhile(kafka):
    topic = kafka.create()
    with Place() as at:
        logs = at.path / "logs"
        logs.mkdir()
        file = logs / "app.log"
        file.write_text("".join(line(n) + "\n" for n in range(20_000)))
        to = ["--to", f"kafka://{kafka.address}/{topic}", "--files", str(file)]
        process = at.enrich(*to)
        kafka.read(topic, 500)
        process.kill()
        process.communicate()
        with open(file, "a") as out:
            out.writelines(line(n) + "\n" for n in range(20_000, 20_100))
        # Its new name matches no glob: it is found by what it is.
        file.rename(logs / "old-name")
        file.write_text("".join(line(n) + "\n" for n in range(20_100, 20_200)))
        process = at.enrich(*to)
        try:
            records = wait_until(lambda: (lambda r: r if len({number_of(x) for x in r}) == 20_200 else None)(kafka.read(topic)), "all lines")
        finally:
            process.terminate()
            process.communicate()
        repeated = check_all(records, range(20_200), one_log=True)
        assert repeated <= 5000, f"{repeated} were sent twice"


def test_serve_takes_lines_over_http_and_sockets(kafka):
    topic = kafka.create()
    with Upstream(ok) as upstream, Place() as at:
        sockets = [at.path / "stream", at.path / "datagrams"]
        with Colophon(upstream.address, "--kafka-brokers", kafka.address, "--kafka-topic", topic, "--logs-unix", str(sockets[0]),
                      "--logs-unix", f"datagram:{sockets[1]}") as colophon:
            def post(body, **headers):
                request = urllib.request.Request(
                    f"http://{colophon.admin}/v1/logs", data=body,
                    headers={"Content-Type": "application/x-ndjson", **headers})
                try:
                    return urllib.request.urlopen(request, timeout=PATIENCE).status
                except urllib.error.HTTPError as error:
                    return error.code
            assert post("".join(line(n) + "\n" for n in range(100)).encode()) == 204
            assert post(line(100).encode()) == 204
            assert post(b"x", **{"Content-Type": "text/plain"}) == 415
            assert post(b"x", Origin="http://evil.example") == 403
            assert post(b"x", Host="evil.example") == 403
            assert post(b"x" * (5 << 20)) == 413
            import socket
            with socket.socket(socket.AF_UNIX) as stream:
                stream.connect(str(sockets[0]))
                stream.sendall("".join(line(n) + "\n" for n in range(101, 200)).encode() + line(200).encode())
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
                datagrams.connect(str(sockets[1]))
                datagrams.send(line(201).encode())
            records = kafka.read(topic, 202)
            assert check_all(records, range(202)) == 0
            sources = {record.origin.split("/")[1] for record in records}
            assert sources == {"http", "unix"}, sources
            wait_until(lambda: colophon.ask("/v1/status")[1]["lines"]["delivered"] == 202, "all delivered")
            status = colophon.ask("/v1/status")[1]["lines"]
            assert status["lines"] == 202 and status["problem"] is None, status


def test_small_blocks_are_kept_for_records_and_only_for_them(kafka):
    """glibc is told so when the program begins, which therefore begins twice: under the same number, with what it was given."""
    def told(process):
        # glibc cuts its variable into pieces where it stands.
        return re.findall(r"glibc\.malloc\.[a-z_]+=\d+", Path(f"/proc/{process.pid}/environ").read_text())

    def started(at, to, **environment):
        process = at.enrich("--to", to, "--instance", uuid.uuid4().hex, env={**os.environ, **environment})
        wait_until(lambda: any(at.data.glob("instances/*/spool/cursor")) or process.poll() is not None, "the instance")
        return process

    def end(process):
        process.terminate()
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode in (0, 1), err
    count = "glibc.malloc.tcache_count"
    arenas = "glibc.malloc.arena_max=4"
    for given, expected in [({}, [f"{count}=5000"]), ({"GLIBC_TUNABLES": arenas}, [arenas, f"{count}=5000"]),
                            ({"GLIBC_TUNABLES": f"{count}=9"}, [f"{count}=9"])]:
        with Place() as at:
            process = started(at, f"kafka://{kafka.address}/{kafka.create()}", **given)
            assert told(process) == expected, told(process)
            assert Path(f"/proc/{process.pid}/comm").read_text().strip() == Path(COLOPHON).name[:15]
            end(process)
    # By the loader it would not be begun again; what it has to say of its configuration it says once, and through a link it keeps its name.
    loaders = [*Path("/lib64").glob("ld-linux*.so*"), *Path("/lib").glob("ld-linux*.so*")]
    for how in [[str(loaders[0])], []]:
        with Place() as at:
            link = at.path / "named-otherwise"
            link.symlink_to(os.path.abspath(COLOPHON))
            process = subprocess.Popen([*how, str(link), "enrich", "--manifest", str(at.pointer), "--data-dir", str(at.data), "--to", "kafka://127.0.0.1:1/x"],
                                       stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLOPHON_KAFKA_BROKER": "x"})
            said = ""
            while "kafka-unreachable" not in said:
                text = process.stderr.readline()
                assert text, said
                said += text
            assert said.count("is no key of the configuration") == 1, said
            assert told(process) == ([] if how else [f"{count}=5000"]), told(process)
            if not how:
                assert Path(f"/proc/{process.pid}/comm").read_text().strip() == "named-otherwise"[:15]
            end(process)
    # Who sends nothing to Kafka has no use for it.
    with Upstream(ok) as upstream:
        with Colophon(upstream.address) as colophon:
            assert told(colophon.process) == []
        with Colophon(upstream.address, "--kafka-brokers", kafka.address, "--kafka-topic", kafka.create()) as colophon:
            assert told(colophon.process) == [f"{count}=5000"]
            colophon.get("/recommend/1").assert_stamped("m1")


def test_the_proxy_makes_lines_of_recommendations(kafka):
    topic = kafka.create()

    def behave(connection, head, rest):
        path = head.split(" ")[1]
        if path.startswith("/recommend/1"):
            return ok(connection, head, rest, body=b'{"movies":["a","b\n\xc3\xa9"]}',
                      fields="Content-Type: application/json\r\nX-Model-Variant: als_model\r\nX-Bucket: 0.5\r\n")
        if path.startswith("/recommend/2"):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
                               b"3\r\nab,\r\n4\r\nc, 9\r\n0\r\n\r\n")
            return True
        if path.startswith("/recommend/3"):
            connection.sendall(b"HTTP/1.1 500 No\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nbad")
            return True
        if path.startswith("/recommend/6"):
            return ok(connection, head, rest, body=b"x" * 9000 + b"\xff", fields="Content-Type: text/plain\r\n")
        if path.startswith("/recommend/7"):
            return ok(connection, head, rest, body=b"zipped", fields="Content-Type: text/plain\r\nContent-Encoding: gzip\r\n")
        if path.startswith("/recommend/8"):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")
            return False
        return ok(connection, head, rest)
    with Upstream(behave) as upstream:
        with Colophon(upstream.address, "--kafka-brokers", kafka.address, "--kafka-topic", topic, "--kafka-headers", "all",
                      # Whatever other lines look like, these are made here.
                      "--logs-format", "json") as colophon:
            ids = {}
            for path in ["/recommend/1", "/recommend/2?secret=1", "/recommend/3", "/other", "/recommend/4/x",
                         "/recommend/5,model_version=evil", "/recommend/6", "/recommend/7", "/recommend/" + "," * 1000]:
                ids[path] = colophon.get(path).one("X-Request-Id")
            colophon.exchange(b"GET /recommend/8 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            records = kafka.read(topic, 8)
            assert colophon.totals()["lines"] == 8 and colophon.totals()["shed_lines"] == 0
    texts = [re.sub(r", \d+ ms, model_version=m1, .*", "", record.text).split(",", 1)[1] for record in records]
    assert texts == [
        '1,recommendation request /recommend/1, status 200, variant=als_model, bucket=0.5, result: {"movies":["a","b \u00e9"]}',
        "2,recommendation request /recommend/2, status 200, result: ab,c, 9",
        "3,recommendation request /recommend/3, status 500",
        "5%2Cmodel_version=evil,recommendation request /recommend/5,model_version=evil, status 200",
        "6,recommendation request /recommend/6, status 200, result: " + "x" * 4096,
        "7,recommendation request /recommend/7, status 200",
        "%2C" * 1000 + ",recommendation request /recommend/" + "," * 1000 + ", status 200",
        "8,recommendation request /recommend/8, status 200"], texts
    for record, path in zip(records, ["/recommend/1", "/recommend/2?secret=1", "/recommend/3"]):
        assert record.headers["request_id"] == ids[path] and record.headers["attribution"] == "inferred"
        assert record.headers["origin"].split("/")[1] == "proxy" and "secret" not in record.text


def test_the_client_tells_of_itself(kafka):
    topic = kafka.create()
    with Upstream(ok) as upstream:
        with Colophon(upstream.address, "--kafka-brokers", kafka.address, "--kafka-topic", topic,
                      "--kafka-properties", "statistics.interval.ms=100") as colophon:
            for user in range(10):
                colophon.get(f"/recommend/{user}")
            kafka.read(topic, 10)

            def client():
                figures = colophon.ask("/v1/status")[1]["lines"]["client"]
                return figures and figures["sent"] == 10 and figures["queued"] == 0 and figures
            figures = wait_until(client, "its figures")
            assert figures["brokers"] == figures["brokers_up"] == 1, figures
            assert figures["sent_bytes"] > 1000 and figures["round_trip_us"] > 0, figures


def test_while_the_pointer_leads_elsewhere_lines_claim_nothing(kafka):
    topic = kafka.create()
    with Upstream(ok) as upstream:
        with Colophon(upstream.address, "--kafka-brokers", kafka.address, "--kafka-topic", topic, "--attribution-settle", "none",
                      "--attribution-skew", "0") as colophon:
            def post(n, at=None):
                request = urllib.request.Request(
                    f"http://{colophon.admin}/v1/logs", data=line(n, milliseconds=(at or time.time()) * 1000).encode(), headers={"Content-Type": "application/x-ndjson"})
                assert urllib.request.urlopen(request, timeout=PATIENCE).status == 204

            def is_current():
                return colophon.ask("/v1/status")[1]["variants"][0]["current"]
            post(1)
            place(colophon.pointer, "no manifest at all")
            wait_until(lambda: not is_current(), "the pointer is known to be bad")
            post(2)
            bad = time.time()
            place(colophon.pointer, manifest("m1"))
            wait_until(is_current, "the pointer is good again")
            good = time.time()
            wait_until(lambda: time.time() > good + 0.1, "the next tenth of a second")
            post(3)
            # One from when it was bad, which comes late.
            post(4, at=bad)
            records = kafka.read(topic, 4)
    assert [number_of(record) for record in records] == [1, 2, 3, 4]
    said = [record.headers["attribution"] for record in records]
    assert said[1] == "unknown" and said[2] != "unknown" and said[3] == "unknown", (said, [record.text for record in records])
    assert records[1].text.endswith(", attribution=unknown") and "model_version=m1" in records[1].text, records[1].text


def test_what_arrives_at_the_end_is_not_sent_again(kafka):
    topic = kafka.create()
    # On its way for so long that the end comes before it has arrived.
    to = ["--kafka-brokers", kafka.address, "--kafka-topic", topic, "--kafka-properties", "linger.ms=600"]
    with Upstream(ok) as upstream, Place() as at:
        for first in (0, 10):
            with Colophon(upstream.address, *to, directory=at.path) as colophon:
                body = "".join(line(n) + "\n" for n in range(first, first + 10)).encode()
                request = urllib.request.Request(f"http://{colophon.admin}/v1/logs", data=body, headers={"Content-Type": "application/x-ndjson"})
                assert urllib.request.urlopen(request, timeout=PATIENCE).status == 204
                wait_until(lambda: colophon.ask("/v1/status")[1]["lines"]["on_their_way"] == 10, "on their way")
                colophon.process.terminate()
                assert colophon.process.wait(PATIENCE) == 0, colophon.said()
                assert not colophon.events("spool-recovered") and not colophon.events("lines-wait"), colophon.said()
        records = kafka.read(topic, 20)
        assert len(records) == 20 and check_all(records, range(20)) == 0, len(records)


def test_a_full_spool_refuses_bodies_whole(kafka):
    with Upstream(ok) as upstream:
        with Colophon(upstream.address, "--kafka-brokers", "127.0.0.1:1", "--spool-bytes", "16MiB") as colophon:
            body = "".join(line(n) + "\n" for n in range(10_000)).encode()

            def post():
                request = urllib.request.Request(
                    f"http://{colophon.admin}/v1/logs", data=body, headers={"Content-Type": "application/x-ndjson"})
                try:
                    return urllib.request.urlopen(request, timeout=PATIENCE).status, None
                except urllib.error.HTTPError as error:
                    return error.code, error.headers["Retry-After"]
            answers = [post() for _ in range(4)]
            assert answers[0][0] == 204 and answers[-1] == (503, "5"), answers
            taken = sum(1 for status, _ in answers if status == 204)
            lines = colophon.ask("/v1/status")[1]["lines"]
            assert lines["lines"] == taken * 10_000 == lines["waiting"], lines
            assert lines["spool_bytes"] <= 16 << 20, lines


if __name__ == "__main__":
    with Kafka() as broker, Box() as box:
        tests = {name: test for name, test in list(globals().items()) if name.startswith("test_")}
        # Those to which the number of partitions is nothing: here every topic has four.
        both = [test_the_client_tells_of_itself, test_every_record_says_what_its_line_says, test_files_are_followed_through_both_rotations,
                test_serve_takes_lines_over_http_and_sockets]
        run({name: (lambda test=test: test(broker)) for name, test in tests.items()})
        run({name + "_in_the_box": (lambda test=test: test(box)) for name, test in tests.items() if test in both})
