"""Bodies, streams, upgrades, faults and retries, with upstreams that do as they are told."""

import contextlib
import hashlib
import socket
import struct
import threading
import time

from harness import PATIENCE, Colophon, Response, Upstream, ok, read_to_end, run, wait_until


def chunked(body, sizes=(1, 7, 4096)):
    out, index = b"", 0
    while body:
        piece, body = body[:sizes[index % len(sizes)]], body[sizes[index % len(sizes)]:]
        out, index = out + b"%x\r\n%s\r\n" % (len(piece), piece), index + 1
    return out + b"0\r\n\r\n"


def unchunked(data):
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        count = int(size.split(b";")[0], 16)
        if count == 0:
            return body, data
        body, data = body + data[:count], data[count + 2:]


def raw(reply, close=True):
    """An upstream that answers everything with these bytes."""
    def behave(connection, head, rest):
        connection.sendall(reply)
        return not close
    return behave


def test_bodies_pass_unchanged_in_both_directions():
    body = bytes(range(256)) * 700

    def behave(connection, head, rest):
        if "chunked" in head.lower():
            data = b""
            while True:
                count = int(rest.until(b"\r\n").split(b";")[0], 16)
                if count == 0:
                    rest.until(b"\r\n")
                    break
                data += rest.take(count)
                rest.take(2)
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(data))
        else:
            length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
            data = rest.take(length)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + data)
        return True
    with Upstream(behave) as upstream, Colophon(upstream.address) as colophon:
        head = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        answer = Response(colophon.exchange(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body))
        assert answer.rest == body
        answer = Response(colophon.exchange(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunked(body)))
        assert unchunked(answer.rest)[0] == body
        answer.assert_stamped("m1")


def test_trailers_pass_but_for_ours():
    reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\nX-Model-Version: evil\r\nContent-Length: 3\r\n\r\n"

    def dripping(connection, head, rest):
        for index in range(len(reply)):
            connection.sendall(reply[index:index + 1])
            time.sleep(0.001)
        return True
    for behave in (raw(reply, close=False), dripping):
        with Upstream(behave) as upstream, Colophon(upstream.address) as colophon:
            for _ in range(2):
                body, rest = unchunked(colophon.get("/").rest)
                assert body == b"hi" and rest == b"X-Sum: 1\r\n\r\n", rest


def test_trailers_of_requests():
    seen = []

    def behave(connection, head, rest):
        seen.append(rest.until(b"\r\n\r\n"))
        return ok(connection, head, rest)
    with Upstream(behave) as upstream, Colophon(upstream.address) as colophon:
        request = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n" \
                  b"2\r\nhi\r\n0\r\nX-Model-Version: evil\r\nX_Model_Manifest: evil\r\nX-Sum: 2\r\n\r\n"
        Response(colophon.exchange(request)).assert_stamped("m1")
        with colophon.connect() as connection:
            for index in range(len(request)):
                connection.sendall(request[index:index + 1])
            Response(read_to_end(connection)).assert_stamped("m1")
        assert seen == [b"2\r\nhi\r\n0\r\nX-Sum: 2"] * 2, seen


def test_no_body_where_there_is_none():
    with Upstream(ok) as upstream, Colophon(upstream.address) as colophon:
        response = colophon.get("/", method="HEAD")
        assert response.status == 200 and response.rest == b"" and response.one("Content-Length") == "4"
        response.assert_stamped("m1")
    for status in (204, 304):
        with Upstream(raw(f"HTTP/1.1 {status} X\r\nContent-Length: 5\r\n\r\n".encode(), close=False)) as upstream, \
                Colophon(upstream.address) as colophon:
            # Twice on one connection: nothing waits for a body.
            data = colophon.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert data.count(f"HTTP/1.1 {status}".encode()) == 2
            if status == 204:
                assert b"Content-Length" not in data


def test_http10():
    with Upstream(raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"x" * 9000), close=False)) as upstream, \
            Colophon(upstream.address) as colophon:
        response = Response(colophon.exchange(b"GET / HTTP/1.0\r\n\r\n"))
        assert response.rest == b"x" * 9000 and not response.all("Transfer-Encoding")
        assert response.one("Connection") == "close"
        response.assert_stamped("m1")
    with Upstream(ok) as upstream, Colophon(upstream.address) as colophon:
        data = colophon.exchange(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n")
        assert data.count(b"HTTP/1.1 200") == 2 and b"Connection: keep-alive" in data
    with Upstream(raw(b"HTTP/1.0 200 OK\r\n\r\nuntil the end")) as upstream, Colophon(upstream.address) as colophon:
        response = colophon.get("/")
        assert response.rest == b"until the end" and response.raw.startswith(b"HTTP/1.1 200 OK\r\n")


def test_pipelined_requests_are_answered_in_order():
    def behave(connection, head, rest):
        return ok(connection, head, rest, body=head.split(" ")[1].encode())
    with Upstream(behave) as upstream, Colophon(upstream.address) as colophon:
        count = 1500
        requests = b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(count))
        with colophon.connect() as connection:
            threading.Thread(target=connection.sendall, args=(requests + b"GET /end HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",)).start()
            data = read_to_end(connection)
        assert [part.split(b"HTTP/1.1")[0] for part in data.split(b"\r\n\r\n/")[1:]] == \
            [b"%d" % number for number in range(count)] + [b"end"]


def test_interim_responses():
    reply = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nX-Model-Version: evil\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
    with Upstream(raw(reply, close=False)) as upstream, Colophon(upstream.address) as colophon:
        data = colophon.get("/").raw
        assert data.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n")
        assert b"103" not in colophon.exchange(b"GET / HTTP/1.0\r\n\r\n")

    def expects(connection, head, rest):
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        return ok(connection, head, rest)
    with Upstream(expects) as upstream, Colophon(upstream.address) as colophon, colophon.connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"abc")
        Response(read_to_end(connection)).assert_stamped("m1")


def test_an_upstream_that_never_asks_for_the_body_is_to_blame():
    def behave(connection, head, rest):
        connection.recv(1)
        return False
    with Upstream(behave) as upstream, Colophon(
            upstream.address, "--timeouts-response-head", "300ms", "--timeouts-request-body", "200ms") as colophon:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        Response(colophon.exchange(head)).assert_ours(504, "upstream")

    def asks(connection, head, rest):
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        rest.take(4)
        return ok(connection, "", rest)
    with Upstream(asks) as upstream, Colophon(upstream.address, "--timeouts-request-body", "200ms") as colophon:
        # Asked, and silent: now it is the client.
        assert b"HTTP/1.1 408" in colophon.exchange(head)


def test_early_response_to_an_upload():
    def behave(connection, head, rest):
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!")
        return False
    with Upstream(behave) as upstream, Colophon(upstream.address) as colophon, colophon.connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n" + b"x" * 1000)
        response = Response(read_to_end(connection))
        assert response.status == 413 and response.rest == b"no!" and response.one("Connection") == "close"
        response.assert_stamped("m1")


def test_a_stream_is_not_delayed():
    steps = threading.Semaphore(0)

    def behave(connection, head, rest):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(5):
            assert steps.acquire(timeout=PATIENCE)
            connection.sendall(b"9\r\ndata: %d\n\n\r\n" % number)
        connection.sendall(b"0\r\n\r\n")
        return True
    with Upstream(behave) as upstream, Colophon(upstream.address) as colophon, colophon.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(65536)
        # Each event arrives before the next one is made.
        for number in range(5):
            steps.release()
            while b"data: %d" % number not in data:
                data += connection.recv(65536)
        data += read_to_end(connection)
        assert data.endswith(b"0\r\n\r\n")


def test_upgrades_pass_both_ways_and_close_by_halves():
    def behave(connection, head, rest):
        if "Upgrade: echo" not in head:
            return ok(connection, head, rest)
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nhello")
        data = rest.data
        while chunk := connection.recv(65536):
            data += chunk
        connection.sendall(data[::-1])
        return False
    with Upstream(behave) as upstream, Colophon(upstream.address) as colophon:
        with colophon.connect() as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nahead")
            data = b""
            while b"hello" not in data:
                data += connection.recv(65536)
            connection.sendall(b"-behind")
            connection.shutdown(socket.SHUT_WR)
            data += read_to_end(connection)
        head, _, body = data.partition(b"\r\n\r\n")
        assert body == b"hello" + b"ahead-behind"[::-1], body
        response = Response(head + b"\r\n\r\n")
        response.assert_stamped("m1")
        assert response.one("Upgrade") == "echo" and response.one("Connection").lower() == "upgrade"
        # HTTP/2 in clear would pass unstamped: that upgrade is not offered to the upstream.
        colophon.get("/", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n").assert_stamped("m1")
        assert "h2c" not in upstream.heads[-1] and "HTTP2" not in upstream.heads[-1]
    with Upstream(raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")) as upstream, Colophon(upstream.address) as colophon:
        colophon.get("/").assert_ours(502, "upstream")


def test_faults_of_clients():
    with Upstream(ok) as upstream, Colophon(upstream.address, "--timeouts-request-head", "300ms", "--timeouts-request-body",
                                            "300ms") as colophon:
        for status, data in (
                (400, b"GET / HTTP/1.1\r\n\r\n"), (400, b"GET / HTTP/1.1\nHost: a\n\n"), (400, b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"),
                (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
                (400, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"),
                (501, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n"), (505, b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
                (431, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 40000 + b"\r\n\r\n"),
                (431, b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 101 + b"\r\n"),
                (408, b"GET / HT"), (408, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab")):
            response = Response(colophon.exchange(data))
            response.assert_ours(status, "client")
            assert response.one("Connection") == "close"
        totals = colophon.totals()
        assert totals["client_faults"] == 11 and totals["own_faults"] == 0 and totals["upstream_faults"] == 0, totals
        colophon.get("/").assert_stamped("m1")
    # A body that turns bad when its head is already with the upstream.
    with Upstream(lambda connection, head, rest: rest.until(b"0\r\n\r\n")) as upstream, Colophon(upstream.address) as colophon, \
            colophon.connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel")
        wait_until(lambda: upstream.connections, "the request is on its way")
        connection.sendall(b"lo\r\nnonsense\r\n")
        assert b"HTTP/1.1 400" in read_to_end(connection)


def test_faults_of_upstreams():
    for reply in (b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
                  b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b"HTTP/1.1 200 OK\nContent-Length: 1\n\n1",
                  b"HTTP/1.1 200 OK\r\nX: " + b"y" * 40000 + b"\r\n\r\n", b"HTTP/1.1 200 O",
                  b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"):
        with Upstream(raw(reply)) as upstream, Colophon(upstream.address) as colophon:
            colophon.get("/").assert_ours(502, "upstream")
            assert colophon.totals()["upstream_faults"] == 1
    with Upstream(ok) as upstream:
        address = upstream.address
    with Colophon(address) as colophon:
        colophon.get("/").assert_ours(502, "upstream")
        assert colophon.event("upstream-unreachable")["address"] == address
        assert colophon.ask("/readyz")[0] == 503

    def silent(connection, head, rest):
        connection.recv(1)
        return False
    with Upstream(silent) as upstream, Colophon(upstream.address, "--timeouts-response-head", "200ms") as colophon:
        colophon.get("/").assert_ours(504, "upstream")


def test_what_ends_early_is_seen_to():
    for reply in (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
                  b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"):
        with Upstream(raw(reply)) as upstream, Colophon(upstream.address) as colophon:
            response = colophon.get("/")
            response.assert_stamped("m1")
            assert b"hello" in response.rest and not response.rest.endswith(b"0\r\n\r\n")
            wait_until(lambda: colophon.totals()["aborted_by_upstream"] == 1, "it is counted")

    def resets(connection, head, rest):
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nhello")
        wait_until(lambda: done, "the client has read")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        return False
    done = []
    with Upstream(resets) as upstream, Colophon(upstream.address) as colophon, colophon.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        data = b""
        while b"hello" not in data:
            data += connection.recv(65536)
        done.append(True)
        try:
            assert connection.recv(1) != b"", "a cut stream looks whole"
            raise AssertionError("bytes are invented")
        except ConnectionResetError:
            pass


def test_what_an_upstream_sends_too_much_reaches_nobody():
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    with Upstream(raw(reply, close=False)) as upstream, Colophon(upstream.address) as colophon:
        data = colophon.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 3 + b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert data.count(b"HTTP/1.1 200") == 4 and b"evil" not in data
        assert colophon.totals()["surplus"] == 4


def test_retries_what_cannot_do_harm():
    """The first request on each connection is answered; the second finds it closed, after its bytes were taken."""
    lock, count = threading.Lock(), {}

    def behave(connection, head, rest):
        with lock:
            count[connection] = count.get(connection, 0) + 1
        if count[connection] > 1:
            return False
        return ok(connection, head, rest)
    with Upstream(behave) as upstream, Colophon(upstream.address) as colophon:
        for method in ("GET", "PUT", "DELETE", "OPTIONS", "HEAD"):
            colophon.get("/").assert_stamped("m1")
            response = colophon.get("/", "Content-Length: 0\r\n", method=method)
            response.assert_stamped("m1")
            # Whoever looked whether it is reached may have come in between.
            for one in list(upstream.connections):
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            wait_until(lambda: colophon.ask("/v1/status")[1]["upstream_connections"] == 0, "the pool is empty")
        assert colophon.totals()["retries"] == 5
        colophon.get("/").assert_stamped("m1")
        before = len(upstream.heads)
        colophon.get("/", "Content-Length: 0\r\n", method="POST").assert_ours(502, "upstream")
        assert len(upstream.heads) == before + 1, "a POST was sent twice"


def test_a_slow_client_stops_the_upstream():
    sent = [0]
    total = 64 << 20

    def behave(connection, head, rest):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        block = b"x" * 65536
        while sent[0] < total:
            sent[0] += connection.send(block)
        return True
    with Upstream(behave) as upstream, Colophon(upstream.address) as colophon, colophon.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        data = connection.recv(100)
        last = -1
        while last != sent[0]:
            last = sent[0]
            time.sleep(0.3)
        assert sent[0] < total, "all was read although nobody took it"
        assert colophon.memory() < 40000
        count = len(data)
        digest = hashlib.sha256()
        while chunk := connection.recv(1 << 20):
            count += len(chunk)
            digest.update(chunk)
        assert count > total


def test_vanishing_clients_free_the_upstream():
    gone = threading.Event()

    def behave(connection, head, rest):
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                connection.sendall(b"5\r\nhello\r\n")
                time.sleep(0.01)
        except OSError:
            gone.set()
        return False
    with Upstream(behave) as upstream, Colophon(upstream.address) as colophon:
        with colophon.connect() as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            connection.recv(100)
        assert gone.wait(PATIENCE)
        wait_until(lambda: colophon.ask("/v1/status")[1]["connections"] == 0, "the connection is forgotten")
        assert colophon.totals()["aborted_by_client"] == 1


def test_blank_lines_before_a_request():
    with Upstream(ok) as upstream, Colophon(upstream.address) as colophon:
        assert b"HTTP/1.1 400" in colophon.exchange(b"\r\n" * 40000)
        assert colophon.exchange(b"\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 200")
        # Requests whose line ends fall on the end of the buffer.
        for padding in range(28, 36):
            request = b"GET / HTTP/1.1\r\nHost: a\r\nX: "
            request += b"y" * (65536 // 16 - len(request) - padding + 28) + b"\r\n\r\n"
            data = colophon.exchange(request * 20 + b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert data.count(b"HTTP/1.1 200") == 21


def test_interim_responses_that_fill_the_buffer():
    for length in (32, 33, 64, 4096):
        interim = b"HTTP/1.1 100 " + b"a" * (length - 17) + b"\r\n\r\n"
        reply = interim * (65536 // length + 3) + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
        with Upstream(raw(reply, close=False)) as upstream, Colophon(upstream.address) as colophon:
            assert colophon.exchange(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").endswith(b"hi")
            assert colophon.exchange(b"GET / HTTP/1.0\r\n\r\n").endswith(b"hi")


def test_names_with_underscores_frame_nothing():
    with Upstream(ok) as upstream, Colophon(upstream.address) as colophon:
        hidden = b"GET /smuggled HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        for fields in (b"Content_Length: %d\r\nContent-Length: %d\r\n", b"Content-Length: %d\r\nContent_Length: %d\r\n"):
            data = colophon.exchange(b"POST /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + fields % ((len(hidden),) * 2) + b"\r\n" + hidden)
            assert data.count(b"HTTP/1.1 200") == 1
        # Alone they mean nothing to us, and must mean nothing to the upstream: what follows is the next request.
        for fields in (b"Content_Length: 5\r\n", b"Transfer_Encoding: chunked\r\n", b"X_Request_Id: a\r\nX_Forwarded_For: b\r\n"):
            data = colophon.exchange(b"POST /a HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n" + hidden)
            assert data.count(b"HTTP/1.1 200") == 2
        for head in upstream.heads:
            assert "_" not in head, head


def test_surplus_behind_a_read_that_was_full():
    evil = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"
    for size in (65535, 65536, 65537, 131072):
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (size - 42)
        reply = head + b"x" * (size - 42) + evil
        with Upstream(raw(reply, close=False)) as upstream, Colophon(upstream.address) as colophon:
            for _ in range(5):
                assert b"EVIL" not in colophon.get("/").raw


def test_a_retry_sends_the_trailers_too():
    seen = []

    def behave(connection, head, rest):
        if "PUT" not in head:
            return ok(connection, head, rest)
        try:
            connection.settimeout(2)
            seen.append(rest.until(b"X-T: 1\r\n\r\n"))
        except TimeoutError:
            seen.append(None)
        return len(seen) > 1 and ok(connection, head, rest)
    with Upstream(behave) as upstream, Colophon(upstream.address) as colophon:
        colophon.get("/")
        data = colophon.exchange(b"PUT /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n")
        assert None not in seen, "a request was cut"
        assert data.startswith(b"HTTP/1.1 200" if len(seen) > 1 else b"HTTP/1.1 502")


def test_a_host_is_made_up_for_http10():
    with Upstream(ok) as upstream, Colophon(upstream.address) as colophon:
        for data, host in ((b"GET / HTTP/1.0\r\n\r\n", upstream.address), (b"GET / HTTP/1.0\r\nHost:\r\n\r\n", upstream.address),
                           (b"GET / HTTP/1.0\r\nHost: b\r\n\r\n", "b")):
            colophon.exchange(data)
            assert upstream.heads[-1].count("Host:") == 1 and f"Host: {host}" in upstream.heads[-1].split("\r\n"), upstream.heads[-1]


def test_no_way_to_http2():
    with Upstream(ok) as upstream, Colophon(upstream.address) as colophon:
        for value in ("h2c", "websocket, h2c", ", h2c", "H2C", "HTTP/2.0", "h2"):
            colophon.get("/", f"Connection: Upgrade\r\nUpgrade: {value}\r\n").assert_stamped("m1")
            assert "pgrade" not in upstream.heads[-1], upstream.heads[-1]


def test_a_client_that_reads_nothing_is_not_kept_for_ever():
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 30000000\r\n\r\n" + b"x" * 30_000_000

    def behave(connection, head, rest):
        connection.sendall(whole)
        return False
    with Upstream(behave) as upstream, Colophon(
            upstream.address, "--timeouts-stream-idle", "500ms", "--timeouts-request-body", "10s") as colophon:
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(colophon.address)
            connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")
            wait_until(lambda: colophon.totals()["responses2xx"] == 1, "the response has begun")
            connection.sendall(b"67890")
            wait_until(lambda: colophon.ask("/v1/status")[1]["connections"] == 0, "it is given up")


def test_an_error_never_stands_inside_another_response():
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: " + b"l" * 3000 + b"\r\n\r\n"

    def behave(connection, head, rest):
        try:
            for _ in range(5000):
                connection.sendall(interim)
        except OSError:
            pass
        return False
    with Upstream(behave) as upstream, Colophon(
            upstream.address, "--timeouts-response-head", "500ms", "--timeouts-stream-idle", "2s") as colophon:
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(colophon.address)
            connection.settimeout(PATIENCE)
            connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")
            wait_until(lambda: colophon.totals()["responses1xx"] > 100, "interim responses flow")
            connection.sendall(b"67890")
            wait_until(lambda: colophon.ask("/v1/status")[1]["connections"] == 0, "it is given up")
            data = read_to_end(connection)
            for part in data.split(b"HTTP/1.1 ")[1:]:
                assert part.startswith(b"103") and b"504" not in part[:20]
            # Whatever came is a beginning of what was sent.
            assert (interim * (len(data) // len(interim) + 1)).startswith(data)


if __name__ == "__main__":
    run(globals())
