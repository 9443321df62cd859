"""The soak: full load through proxy and enrichment while manifests are activated, the configuration is loaded anew, brokers and model
servers go and come back, and clients misbehave, all by lot; at the end SIGTERM, in the middle of it.

`soak.py COLOPHON [SECONDS [SEED]]`. What must hold: every response of a model is stamped with a manifest that was live while it was made, and as
surely as that is known; none of the sidecar's own is; every accepted line is in the topic; memory and descriptors stay what they are; counters say
what the clients saw; a drain cuts nobody off. Every failure names its seed.
"""

import collections
import http.client
import random
import socket
import sys
import threading
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from cluster import *
from harness import MODEL_HEADERS, Colophon, Upstream, manifest, ok, place  # noqa: E402
from loss import answer, verify  # noqa: E402

SECONDS = float(sys.argv[2]) if len(sys.argv) > 2 else 20
SEED = int(sys.argv[3]) if len(sys.argv) > 3 and sys.argv[3] else random.randrange(1 << 32)
ASKERS = 3


class Model(Upstream):
    """A model server that can be stopped, which cuts its connections, and started again on the same port."""

    def __init__(self, port=0):
        self.behave = answer
        self.heads, self.connections, self.lock = collections.deque(maxlen=100), [], threading.Lock()
        self.listen(port)

    def listen(self, port):
        self.listener = socket.create_server(("127.0.0.1", port))
        self.port = self.listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        threading.Thread(target=self.accept, daemon=True).start()

    def restart(self, pause):
        self.__exit__()
        self.connections = []
        time.sleep(pause)
        self.listen(self.port)


class Live:
    """Which manifest was live when, as far as those who make them live know."""

    def __init__(self):
        self.lock = threading.Lock()
        self.entries = []
        self.digests = {}

    def begin(self, version, digest):
        with self.lock:
            self.digests[version] = digest
            self.entries.append([version, time.monotonic(), None])

    def seen(self):
        with self.lock:
            self.entries[-1][2] = time.monotonic()

    def allowed(self, start, end):
        """The versions that may have answered then, and whether one was being activated."""
        versions, is_moving = set(), False
        with self.lock:
            for index, (version, begun, seen) in enumerate(self.entries):
                # It answers from when it was asked for until the next one is seen.
                following = self.entries[index + 1] if index + 1 < len(self.entries) else None
                until = following[2] if following else None
                if begun <= end and (until is None or until >= start):
                    versions.add(version)
                is_moving |= begun <= end and (seen is None or seen >= start)
        return versions, is_moving


class Asker(threading.Thread):
    """Asks as a good client does, and looks at each answer."""

    def __init__(self, number, address, live, stop):
        super().__init__(daemon=True)
        self.first, self.address, self.live, self.stop_event = number, address, live, stop
        self.accepted, self.wrong = [], []
        # What each response said of itself, and whether something was being activated then.
        self.said = {}
        self.statuses, self.cut, self.turned_away = {}, 0, 0

    def run(self):
        number, connection, is_fresh, last = self.first, None, True, 0
        while not self.stop_event.is_set():
            number += 1
            start = time.monotonic()
            answered, sent = False, None
            try:
                if connection is None:
                    connection, is_fresh = http.client.HTTPConnection(*self.address, timeout=30), True
                    connection.connect()
                connection.request("GET", f"/recommend/{number % 7}?n={number}", headers={"X-Arm": "model"})
                sent = time.monotonic()
                response = connection.getresponse()
                answered = True
                body = response.read()
                last = time.monotonic()
                self.check(number, start, response, body)
                is_fresh = False
                if response.getheader("Connection") == "close":
                    connection.close()
                    connection = None
            except ConnectionRefusedError:
                self.turned_away += 1
                connection = None
                time.sleep(0.01)
            except (OSError, http.client.HTTPException):
                # A connection that was never served may have stood in the queue of a listener that has closed, and one that said nothing for
                # a second is closed by whoever drains.
                if answered or not is_fresh and (sent or time.monotonic()) - last < 0.9:
                    self.cut += 1
                else:
                    self.turned_away += 1
                connection = None

    def check(self, number, start, response, body):
        self.statuses[response.status] = self.statuses.get(response.status, 0) + 1
        fields = {name: response.headers.get_all(name) or [] for name in MODEL_HEADERS}
        if response.status != 200:
            if any(fields.values()) or response.status not in (502, 503, 504):
                self.wrong.append((number, response.status, fields))
            return
        versions, is_moving = self.live.allowed(start, time.monotonic())
        version, digest, word = (fields[name] for name in ("x-model-version", "x-model-manifest", "x-model-attribution"))
        words = {"inferred"} | ({"mixed", "unknown"} if is_moving else set())
        if body != f"n{number},b".encode() or len(version) != 1 or version[0] not in versions or digest != [self.live.digests[version[0]]] \
                or len(word) != 1 or word[0] not in words:
            self.wrong.append((number, fields, sorted(versions), body))
        else:
            self.said[number] = (digest[0], word[0], is_moving)
            self.accepted.append(number)


class Claims:
    """No line says more than its response did: the same manifest, no surer, and unknown only while something was being activated."""

    STRENGTH = ["unknown", "mixed", "inferred", "exact"]

    def __init__(self, askers):
        self.said = {number: said for asker in askers for number, said in asker.said.items()}

    def wrong(self, number, value, headers):
        if number not in self.said:
            # Somebody who misbehaves asked for it, or its answer was cut off.
            return None
        digest, word, is_moving = self.said[number]
        sure = headers["attribution"]
        if sure == "unknown" and is_moving:
            return None
        named = headers.get("manifest_sha256")
        if named != digest or f"manifest_sha256={digest}".encode() not in value or self.STRENGTH.index(sure) > self.STRENGTH.index(word):
            return f"{number} was answered by {digest[:12]} ({word}), and its line says {named} ({sure})"
        return None


class Nuisance(threading.Thread):
    """Clients as one would not wish them."""

    def __init__(self, address, stop, chance):
        super().__init__(daemon=True)
        self.address, self.stop_event, self.chance = address, stop, chance
        self.done = 0

    def run(self):
        while not self.stop_event.is_set():
            time.sleep(0.002)
            with contextlib.suppress(OSError), socket.create_connection(self.address, timeout=5) as connection:
                self.misbehave(connection)
            self.done += 1

    def misbehave(self, connection):
        get = b"GET /recommend/1?n=1 HTTP/1.1\r\nHost: m\r\nX-Arm: model\r\n"
        kind = self.chance.randrange(7)
        if kind == 0:
            connection.sendall(self.chance.randbytes(self.chance.randrange(1, 400)))
        elif kind == 1:
            connection.sendall(get[:self.chance.randrange(1, len(get))])
        elif kind == 2:
            connection.sendall(get + b"\r\n")
        elif kind == 3:
            connection.sendall((get + b"\r\n") * 20)
            connection.recv(100)
        elif kind == 4:
            connection.sendall(get.replace(b"GET", b"POST") + b"Content-Length: 100000\r\n\r\n" + b"x" * self.chance.randrange(99999))
        elif kind == 5:
            connection.sendall(get + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n")
            connection.recv(1000)
        else:
            connection.sendall(get + b"\r\n")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def metrics(colophon):
    with urllib.request.urlopen(f"http://{colophon.admin}/metrics", timeout=PATIENCE) as page:
        families = text_string_to_metric_families(page.read().decode())
        return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}


def total(page, name, **labels):
    return sum(value for (sample, its), value in page.items() if sample == name and set(labels.items()) <= set(its))


class Soak:
    def __init__(self, at, kafka, topic, model, bulk):
        self.at, self.kafka, self.model = at, kafka, model
        self.chance = random.Random(SEED)
        self.live, self.stop = Live(), threading.Event()
        self.config = at / "colophon.yaml"
        self.write_config()
        self.args = (f"model={model.address}", "--upstream", f"bulk={bulk}", "--route-header", "X-Arm", "--route-default", "bulk",
                     "--config", str(self.config), "--attribution-settle", "none", "--kafka-brokers", kafka.address, "--kafka-topic", topic,
                     "--exchanges-bytes", "32MiB", "--workers", "2")
        self.pointer, other = at / "model.json", at / "bulk.json"
        place(other, manifest("bulk"))
        self.versions = 0
        self.promote_by_pointer(None)
        self.pointers = ["--manifest", f"model={self.pointer}", "--manifest", f"bulk={other}"]
        self.events = []

    def start(self):
        return Colophon(*self.args, manifest_args=self.pointers, directory=str(self.at))

    def write_config(self, text=None):
        place(self.config, text or f"poll: {self.chance.choice(['1s', '2s'])}\ntimeouts: {{ idle: {self.chance.choice(['60s', '75s'])} }}\n")

    def digest(self, path):
        return json.loads(subprocess.run([COLOPHON, "manifest", "verify", str(path), "--json"], capture_output=True, text=True,
                                         timeout=PATIENCE).stdout)["manifest_sha256"]

    def state(self, colophon):
        return next(v for v in colophon.ask("/v1/status")[1]["variants"] if v["variant"] == "model")

    def promote_by_pointer(self, colophon):
        self.versions += 1
        version = f"m{self.versions}"
        file = self.at / f"{version}.json"
        file.write_text(manifest(version))
        self.live.begin(version, self.digest(file))
        place(self.pointer, manifest(version))
        if colophon:
            wait_until(lambda: (s := self.state(colophon))["model_version"] == version and s["current"], f"{version} to be live")
            self.live.seen()

    def roll_back_by_api(self, colophon):
        version = f"m{self.chance.randint(max(1, self.versions - 3), self.versions)}"
        self.live.begin(version, self.live.digests[version])
        request = urllib.request.Request(
            f"http://{colophon.admin}/v1/activations", json.dumps({"manifest": version, "variant": "model", "settled": True}).encode(),
            {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=PATIENCE).read()
        self.live.seen()

    def disturb(self, colophon):
        kind = self.chance.choice(["pointer", "pointer", "api", "api", "reload", "bad-reload", "model", "model", "broker", "broker-pause"])
        self.events.append(kind)
        if kind == "pointer":
            self.promote_by_pointer(colophon)
        elif kind == "api":
            self.roll_back_by_api(colophon)
        elif kind in ("reload", "bad-reload"):
            self.write_config("poll: soon\n" if kind == "bad-reload" else None)
            colophon.process.send_signal(signal.SIGHUP)
        elif kind == "model":
            self.model.restart(self.chance.random() * 0.3)
        elif kind == "broker":
            self.kafka.act("stop", *(["--kill"] if self.chance.random() < 0.5 else []))
            time.sleep(self.chance.random())
            self.kafka.act("resume")
        else:
            self.kafka.act("pause")
            time.sleep(self.chance.random() * 2)
            self.kafka.act("unpause")

    def run(self):
        colophon = self.start()
        colophon.__enter__()
        try:
            self.live.seen()
            bulk = subprocess.Popen(["wrk", "-t1", "-c16", f"-d{int(SECONDS) + 3600}s", f"http://{colophon.listen}/bulk"], stdout=subprocess.PIPE,
                                    stderr=subprocess.DEVNULL, text=True)
            try:
                self.load(colophon)
            finally:
                bulk.send_signal(signal.SIGINT)
                said = bulk.communicate(timeout=PATIENCE)[0]
            assert colophon.process.returncode == 0, f"it ended with {colophon.process.returncode}"
            assert "Non-2xx" not in said, said
            return re.search(r"(\d+) requests in", said)[1]
        finally:
            if colophon.process.poll() is None:
                colophon.process.kill()
                colophon.process.wait()

    def load(self, colophon):
        self.askers = [Asker((n + 1) * 1_000_000, colophon.address, self.live, self.stop) for n in range(ASKERS)]
        nuisance = Nuisance(colophon.address, self.stop, random.Random(SEED + 1))
        for one in [*self.askers, nuisance]:
            one.start()
        begin = time.monotonic()
        figures = []
        while time.monotonic() < begin + SECONDS or len(figures) < 8:
            time.sleep(self.chance.random() * 0.7)
            self.disturb(colophon)
            assert colophon.process.poll() is None, "the sidecar has ended"
            figures.append((time.monotonic() - begin, colophon.memory(), self.own_descriptors(colophon)))
        # Everybody is well again, and all that waits is delivered, while the load goes on.
        wait_until(lambda: metrics(colophon)[("colophon_delivery_up", ())] == 1, "the broker", 4 * PATIENCE)
        self.check_figures(colophon, figures)
        self.check_counters(colophon)
        cut = sum(asker.cut for asker in self.askers)
        colophon.terminate()
        colophon.process.wait(2 * PATIENCE)
        self.stop.set()
        for one in [*self.askers, nuisance]:
            one.join(2 * PATIENCE)
            assert not one.is_alive()
        assert sum(asker.cut for asker in self.askers) == cut, "the drain has cut somebody off"
        self.nuisances = nuisance.done

    @staticmethod
    def own_descriptors(colophon):
        """Those that are neither a client's nor an upstream's connection."""
        def look():
            connections = total(metrics(colophon), "colophon_connections")
            return len(os.listdir(f"/proc/{colophon.process.pid}/fd")) - connections
        # What is counted and what is open are not of one moment.
        return min(look() for _ in range(5))

    def check_figures(self, colophon, figures):
        self.memory = max(f[1] for f in figures) >> 10
        assert self.memory <= 96, f"{self.memory} MiB"
        quarter = max(1, len(figures) // 4)
        early, late = figures[quarter:2 * quarter], figures[-quarter:]
        # Connections come and go between two looks: the least of each quarter is what there is at rest.
        before, after = min(f[2] for f in early), min(f[2] for f in late)
        assert after <= before + 6, f"descriptors: {before} in the second quarter, never below {after} in the last"
        # A client of Kafka takes its room with the first outage, and keeps it: a short run says nothing of growth.
        if SECONDS < 120:
            return
        before, after = max(f[1] for f in early), min(f[1] for f in late)
        assert after <= before + (8 << 10), f"KiB of memory: {before} in the second quarter, never below {after} in the last"
        # What grows slowly and for ever has grown for all of the time in between.
        before, after = min(f[1] for f in early), min(f[1] for f in late)
        assert after <= before + (8 << 10), f"KiB of memory: at rest {before} in the second quarter, {after} in the last"

    def check_counters(self, colophon):
        """Bounds that hold while requests go on: the counters before, what clients have, the counters after."""
        before = metrics(colophon)
        accepted = sum(len(asker.accepted) for asker in self.askers)
        seen = {}
        for asker in self.askers:
            for status, count in dict(asker.statuses).items():
                seen[status] = seen.get(status, 0) + count
        after = metrics(colophon)
        answers = total(after, "colophon_responses_total", variant="model", status="2xx")
        assert answers >= seen.get(200, 0) > 0, (answers, seen)
        faults = total(after, "colophon_faults_total")
        assert faults >= sum(count for status, count in seen.items() if status >= 500), (faults, seen)
        for page in (before, after):
            assert 0 <= total(page, "colophon_requests_in_flight") < 200
        # They only grow, and whoever reads them may be held up between one and the next: so each lies between the others' before and after.
        for name in ("colophon_stamps_total", "colophon_overhead_seconds_count", "colophon_upstream_seconds_count"):
            (least, most), (low, high) = [[total(page, one) for page in (before, after)] for one in (name, "colophon_responses_total")]
            assert least <= high + 2 and most >= low - 2, (name, least, most, low, high)
        assert total(after, "colophon_lines_lost_total") == total(after, "colophon_dead_letters_total") == 0, after
        assert total(after, "colophon_configuration_reloads_total", result="refused") <= self.events.count("bad-reload")
        made = total(after, "colophon_exchange_lines_total")
        assert made >= accepted - 64, (made, accepted)


def said(at):
    """The last that each of them said."""
    return [text for file in sorted(at.glob("errors-*")) for text in file.read_text().splitlines()[-15:]]


def main():
    print(f"soak: seed {SEED}, {SECONDS:.0f} s", flush=True)
    with Kafka() as kafka, Model() as model, Upstream(ok) as bulk:
        at = Path(tempfile.mkdtemp(prefix="colophon-soak-", dir=memory()))
        topic = kafka.create(partitions=3)
        # Nobody looks at them, and ten minutes bring millions.
        bulk.heads = collections.deque(maxlen=100)
        soak = Soak(at, kafka, topic, model, bulk.address)
        try:
            requests = soak.run()
            wrong = [entry for asker in soak.askers for entry in asker.wrong]
            assert not wrong, f"seed {SEED}: {len(wrong)} wrong responses, such as {wrong[:3]}"
            accepted = [n for asker in soak.askers for n in asker.accepted]
            # What was not delivered when it ended waits in the spool: the next start delivers it.
            soak.write_config()
            with soak.start():
                _, repeated, missing, bad = verify(kafka, topic, accepted, Claims(soak.askers))
            assert not bad, f"seed {SEED}: {len(bad)} wrong records, such as {bad[:3]}"
            assert not missing, f"seed {SEED}: {len(missing)} of {len(accepted)} lines are missing, such as {sorted(missing)[:10]}"
            kinds = {kind: soak.events.count(kind) for kind in sorted(set(soak.events))}
            print(f"soak: {len(accepted)} checked responses and lines, {requests} in bulk, {soak.nuisances} misbehaved, {repeated} lines repeated, "
                  f"cut by a restart of the model {sum(a.cut for a in soak.askers)}, at most {soak.memory} MiB; {kinds}", flush=True)
        except Exception:
            print(f"soak: failed with seed {SEED}; what colophon said:\n" + "\n".join(said(at)), file=sys.stderr)
            raise
        finally:
            soak.stop.set()
            shutil.rmtree(at, ignore_errors=True)
    print("ok")


if __name__ == "__main__":
    skip_without_broker()
    main()
