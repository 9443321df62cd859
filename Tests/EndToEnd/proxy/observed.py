"""Metrics: what is exposed is what docs/metrics.md says, what clients saw, and what the dashboard and the alerts ask for."""

import json
import re
import socket
import tempfile
import time
import urllib.request
from pathlib import Path

import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from harness import PATIENCE, Colophon, Upstream, manifest, ok, place, run, wait_until

ROOT = Path(__file__).resolve().parents[3]
SUFFIXES = {"counter": ["_total"], "info": ["_info"], "gauge": [""], "histogram": ["_bucket", "_count", "_sum"]}


def scrape(colophon):
    with urllib.request.urlopen(f"http://{colophon.admin}/metrics", timeout=PATIENCE) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0"), answer.headers
        return list(text_string_to_metric_families(answer.read().decode()))


def values(families):
    """{(sample, labels in order): value}"""
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}


def value(colophon, name, **labels):
    return values(scrape(colophon)).get((name, tuple(sorted(labels.items()))))


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def everything(upstream, *args):
    """A sidecar in which every metric has something to say: its brokers are not there, so that there are errors too."""
    return Colophon(upstream, "--kafka-brokers", f"127.0.0.1:{closed_port()}", "--exchanges-bytes", "32MiB", *args)


def exposed():
    """Name, type, labels and help of every family that a busy sidecar has."""
    with Upstream(ok) as upstream, everything(upstream.address) as colophon:
        colophon.get("/recommend/1")
        wait_until(lambda: any(f.name == "colophon_delivery_errors" and f.samples for f in scrape(colophon)), "an error of the client")
        rows = []
        for family in scrape(colophon):
            labels = []
            for sample in family.samples:
                labels += [label for label in sample.labels if label not in labels and label != "le"]
            assert labels or family.samples, f"{family.name} has no sample"
            shown = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
            rows.append((shown, family.type, labels, family.documentation))
        return rows


def test_the_page_of_the_documents_is_what_is_exposed():
    documented = []
    for line in (ROOT / "docs" / "metrics.md").read_text().splitlines():
        if match := re.fullmatch(r"\| `(\w+)` \| (\w+) \| (.*)\| (.*) \|", line):
            documented.append((match[1], match[2], re.findall(r"`(\w+)`", match[3]), match[4]))
    rows = exposed()
    assert len(documented) == len(rows) > 60
    for row in rows:
        assert row in documented, f"docs/metrics.md does not have {row}"


def test_dashboard_and_alerts_ask_for_what_exists():
    samples, labels = set(), {"instance", "job", "le"}
    for name, kind, its, _ in exposed():
        base = name.removesuffix("_total").removesuffix("_info")
        samples |= {base + suffix for suffix in SUFFIXES[kind]}
        labels |= set(its)
    alerts = yaml.safe_load((ROOT / "Examples/observability/alerts.yaml").read_text())
    rules = [rule for group in alerts["groups"] for rule in group["rules"]]
    assert all(rule["annotations"]["summary"] and rule["annotations"]["description"] and rule["labels"]["severity"] for rule in rules)
    dashboard = json.loads((ROOT / "Examples/observability/dashboard.json").read_text())
    targets = [target for panel in dashboard["panels"] for target in panel["targets"]]
    asked = [rule["expr"] for rule in rules] + [target["expr"] for target in targets]
    assert len(rules) > 8 and len(targets) > 15
    for text in asked:
        names = set(re.findall(r"\b(?:colophon|process)_\w+", text))
        assert names <= samples, f"{names - samples} in {text}"
        used = set(re.findall(r"[{,]\s*(\w+)\s*(?:=~|!~|!=|=)", text))
        used |= {name.strip() for group in re.findall(r"\bby \(([^)]*)\)", text) for name in group.split(",")}
        assert used <= labels, f"{used - labels} in {text}"
    for text in json.dumps(alerts), json.dumps(dashboard):
        shown = set(re.findall(r"\{\{ ?(?:\$labels\.)?(\w+) ?\}\}", text))
        assert shown <= labels, shown - labels
    yaml.safe_load((ROOT / "Examples/observability/prometheus.yaml").read_text())


def answer(connection, head, rest):
    path = head.split(b" ")[1].decode() if isinstance(head, bytes) else str(head).split(" ")[1]
    if path == "/cut":
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        return False
    if path == "/rubbish":
        connection.sendall(b"this is no HTTP\r\n\r\n")
        return False
    status = path[1:4]
    connection.sendall(f"HTTP/1.1 {status} Whatever\r\nContent-Length: 2\r\n\r\nok".encode())
    return True


def test_counters_are_what_clients_saw():
    with Upstream(answer) as upstream, Colophon(upstream.address, "--attribution-settle", "none") as colophon:
        seen = {}
        for path in ["/200"] * 5 + ["/404"] * 3 + ["/503"] * 2 + ["/302", "/rubbish"]:
            response = colophon.get(path)
            model = bool(response.all("X-Model-Version"))
            seen[model, response.status // 100] = seen.get((model, response.status // 100), 0) + 1
        colophon.get("/cut")
        colophon.exchange(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        page = values(scrape(colophon))

        def of(name, **labels):
            return page[name, tuple(sorted(labels.items()))]

        for group in range(1, 6):
            expected = seen.get((True, group), 0) + (1 if group == 2 else 0)
            assert of("colophon_responses_total", variant="default", status=f"{group}xx") == expected, group
        assert of("colophon_faults_total", fault="malformed_response") == seen[False, 5] == 1
        assert of("colophon_faults_total", fault="malformed_request") == 1
        assert of("colophon_exchanges_aborted_total", by="upstream") == 1
        assert of("colophon_requests_total") == 13
        assert of("colophon_requests_in_flight") == 0
        assert of("colophon_stamps_total", variant="default", attribution="inferred") == 12
        assert of("colophon_upstream_seconds_count", variant="default") == 12 == of("colophon_overhead_seconds_count")
        assert 0 < of("colophon_overhead_seconds_sum") < 60
        place(colophon.pointer, manifest("m2"))
        wait_until(lambda: value(colophon, "colophon_activations_total", cause="pointer") == 1, "the activation")
        page = values(scrape(colophon))
        assert any(name == "colophon_manifest_info" and ("model_version", "m2") in labels for name, labels in page)
        assert of("colophon_manifest_current", variant="default") == 1
        colophon.pointer.write_text("{")
        wait_until(lambda: value(colophon, "colophon_manifest_current", variant="default") == 0, "the bad pointer")
        assert value(colophon, "colophon_manifest_reloads_total", result="failed") >= 1


def test_what_is_in_flight_and_what_the_model_takes_is_told():
    import threading
    release = threading.Event()

    def slow(connection, head, rest):
        release.wait(PATIENCE)
        return ok(connection, head, rest)

    with Upstream(slow) as upstream, Colophon(upstream.address) as colophon:
        with colophon.connect() as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n")
            wait_until(lambda: value(colophon, "colophon_requests_in_flight") == 1, "the exchange")
            assert value(colophon, "colophon_connections", side="client") == 1
            before = value(colophon, "colophon_upstream_seconds_count", variant="default")
            release.set()
            while connection.recv(1 << 16):
                pass
        wait_until(lambda: value(colophon, "colophon_requests_in_flight") == 0, "its end")
        page = values(scrape(colophon))
        assert before == 0 and page["colophon_upstream_seconds_count", (("variant", "default"),)] == 1
        # The model took long, and the proxy did not.
        assert page["colophon_upstream_seconds_sum", (("variant", "default"),)] > page["colophon_overhead_seconds_sum", ()]


def test_a_client_that_uploads_slowly_is_not_the_models_time():
    with Upstream(ok) as upstream, Colophon(upstream.address) as colophon, colophon.connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: m\r\nConnection: close\r\nContent-Length: 10\r\n\r\nhalf ")
        wait_until(lambda: upstream.heads, "the model to have the beginning")
        began = time.monotonic()
        wait_until(lambda: time.monotonic() - began > 2, "the client to go on")
        connection.sendall(b"whole")
        paused = time.monotonic() - began
        while connection.recv(1 << 16):
            pass
        wait_until(lambda: value(colophon, "colophon_upstream_seconds_count", variant="default") == 1, "its end")
        assert value(colophon, "colophon_upstream_seconds_sum", variant="default") < paused


def test_without_a_manifest_that_is_needed_none_is_missed():
    with Upstream(ok) as upstream:
        for args, is_missed in [(("--manifest-optional",), False), ((), True)]:
            with Colophon(upstream.address, *args, version=None if args else "m1") as colophon:
                if is_missed:
                    place(colophon.pointer, "rubbish")
                    wait_until(lambda: value(colophon, "colophon_manifest_current", variant="default") == 0, "it to be missed")
                else:
                    assert "\ncolophon_manifest_current{" not in scrape(colophon)


def test_a_path_that_is_too_long_for_a_line_is_counted():
    with Upstream(ok) as upstream, everything(upstream.address) as colophon:
        assert colophon.get("/recommend/" + "7" * 1100).status == 200
        assert value(colophon, "colophon_lines_lost_total", reason="path_too_long") == 1
        assert value(colophon, "colophon_exchange_lines_total") == 0


def test_lag_is_told_in_lines_bytes_and_seconds():
    with Upstream(ok) as upstream, everything(upstream.address) as colophon:
        for number in range(7):
            colophon.get(f"/recommend/{number}")
        wait_until(lambda: value(colophon, "colophon_lag_lines") == 7, "the lines that wait")
        first = wait_until(lambda: value(colophon, "colophon_lag_seconds"), "their age")
        wait_until(lambda: value(colophon, "colophon_lag_seconds") > first, "growing older")
        assert value(colophon, "colophon_spool_bytes") > 7 * 100
        assert value(colophon, "colophon_spool_bytes") >= value(colophon, "colophon_lag_bytes") > 7 * 100
        assert value(colophon, "colophon_spool_full") == 0
        wait_until(lambda: value(colophon, "colophon_delivery_up") == 0, "the problem")
        assert value(colophon, "colophon_exchange_lines_total") == 7
        assert value(colophon, "colophon_lines_delivered_total") == 0
    with Upstream(ok) as upstream, tempfile.TemporaryDirectory(prefix="colophon-e2e-") as directory:
        with Colophon(upstream.address, "--logs-to", f"file:{directory}/out") as colophon:
            colophon.get("/recommend/1")
            wait_until(lambda: value(colophon, "colophon_lines_delivered_total") == 1, "the line")
            assert value(colophon, "colophon_lag_lines") == 0 == value(colophon, "colophon_lag_seconds")
            # The segment stays for what comes next; nothing in it waits.
            wait_until(lambda: value(colophon, "colophon_lag_bytes") == 0, "nothing to wait")
            assert value(colophon, "colophon_spool_bytes") > 0


def test_what_a_stamp_leaves_out_is_shown():
    document = json.loads(manifest("m1"))
    document["pipeline"]["git_branch"] = "b" * 300
    with Upstream(ok) as upstream, tempfile.TemporaryDirectory(prefix="colophon-e2e-") as directory:
        place(f"{directory}/long.json", json.dumps(document))
        with Colophon(upstream.address, manifest_args=["--manifest", f"{directory}/long.json"], version=None) as colophon:
            assert value(colophon, "colophon_manifest_fields_left_out", variant="default") == 1
            assert colophon.ask("/v1/status")[1]["variants"][0]["left_out"] == ["pipeline_branch"]


def test_labels_keep_what_manifests_call_themselves():
    name = 'm "quoted" \\ and\nmore'
    with Upstream(ok) as upstream, Colophon(upstream.address, version=name) as colophon:
        shown = [s.labels["model_version"] for f in scrape(colophon) if f.name == "colophon_manifest" for s in f.samples]
        assert shown == [name], shown


def test_the_admin_listener_counts_itself():
    with Upstream(ok) as upstream, Colophon(upstream.address) as colophon:
        for path, status in [("/nowhere", 404), ("/v1/status", 200), ("/nowhere", 404)]:
            assert colophon.ask(path)[0] == status
        assert value(colophon, "colophon_admin_responses_total", status="404") == 2
        assert value(colophon, "colophon_admin_responses_total", status="200") >= 1


if __name__ == "__main__":
    run(globals())
