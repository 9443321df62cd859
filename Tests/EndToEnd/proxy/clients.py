"""Programs that we did not write, as clients and as servers."""

import asyncio
import contextlib
import hashlib
import http.client
import http.server
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx
import requests
import websockets.asyncio.client
import websockets.asyncio.server

from harness import PATIENCE, Colophon, Upstream, manifest, ok, place, run, wait_until

ROOT = Path(__file__).resolve().parents[3]


class PlainServer(http.server.BaseHTTPRequestHandler):
    """A model server as people write them with Python's own library."""
    protocol_version = "HTTP/1.1"

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        if self.path == "/events":
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for number in range(20):
                event = f"id: {number}\ndata: token-{number}\n\n".encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            self.wfile.write(b"0\r\n\r\n")
            return
        self.answer(b"got " + self.path.encode())

    do_HEAD = do_DELETE = do_GET

    def do_POST(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer(hashlib.sha256(body).hexdigest().encode())

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def python_server():
    # The queue of five that Python gives by default is too short for a hundred clients at once.
    http.server.ThreadingHTTPServer.request_queue_size = 512
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), PlainServer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def check(headers, attribution="inferred"):
    assert headers["X-Model-Version"] == "m1" and headers["X-Pipeline-Commit"] == "80d8e56", headers
    assert headers["X-Data-Version"] == "ds-m1" and headers["X-Model-Attribution"] == attribution, headers


def url(colophon, path=""):
    return f"http://{colophon.listen}{path}"


def test_curl():
    with python_server() as address, Colophon(address) as colophon, tempfile.TemporaryDirectory() as scratch:
        big = Path(scratch) / "big"
        big.write_bytes(b"0123456789" * 300_000)
        digest = hashlib.sha256(big.read_bytes()).hexdigest()
        for args in (["-d", f"@{big}", "--data-binary", f"@{big}"], ["-H", "Transfer-Encoding: chunked", "--data-binary", f"@{big}"],
                     ["-H", "Expect: 100-continue", "--data-binary", f"@{big}"]):
            args = args[2:] if args[0] == "-d" else args
            said = subprocess.run(["curl", "-sS", "--max-time", "30", "-D", f"{scratch}/head", *args, url(colophon, "/x")],
                                  capture_output=True, text=True, timeout=PATIENCE)
            assert said.stdout == digest, (args, said)
            assert "X-Model-Version: m1" in Path(f"{scratch}/head").read_text()
        for args, body in ((["-0"], "got /a"), (["--http1.1"], "got /a"), (["-I"], None), (["-X", "DELETE"], "got /a")):
            said = subprocess.run(["curl", "-sS", "--max-time", "10", *args, url(colophon, "/a")], capture_output=True, text=True,
                                  timeout=PATIENCE)
            assert said.returncode == 0 and (body is None or said.stdout == body), (args, said)
        many = subprocess.run(["curl", "-sS", "--max-time", "30", url(colophon, "/[1-200]"), "-o", "/dev/null", "-w", "%{http_code} %{num_connects}\n"],
                              capture_output=True, text=True, timeout=PATIENCE).stdout.split("\n")
        assert many[0] == "200 1" and many[1:200] == ["200 0"] * 199, many[:5]


def test_http_client_requests_and_httpx():
    with python_server() as address, Colophon(address) as colophon:
        connection = http.client.HTTPConnection(*colophon.address, timeout=PATIENCE)
        for _ in range(3):
            connection.request("GET", "/a?b=c")
            answer = connection.getresponse()
            check(answer.headers)
            assert answer.read() == b"got /a?b=c"
        connection.request("POST", "/", iter([b"one", b"two"]), encode_chunked=True)
        assert connection.getresponse().read() == hashlib.sha256(b"onetwo").hexdigest().encode()
        connection.close()
        with requests.Session() as session:
            for method in ("GET", "HEAD", "DELETE"):
                answer = session.request(method, url(colophon, "/a"), timeout=PATIENCE)
                check(answer.headers)
            body = b"x" * 1_000_000
            answer = session.post(url(colophon), data=body, timeout=PATIENCE)
            assert answer.text == hashlib.sha256(body).hexdigest()
            answer = session.post(url(colophon), data=iter([body, body]), timeout=PATIENCE)
            assert answer.text == hashlib.sha256(body + body).hexdigest()
        with httpx.Client(timeout=PATIENCE) as client:
            check(client.get(url(colophon, "/a")).headers)
            assert client.post(url(colophon), content=b"abc").text == hashlib.sha256(b"abc").hexdigest()

        async def many():
            async with httpx.AsyncClient(timeout=PATIENCE) as client:
                answers = await asyncio.gather(*(client.get(url(colophon, f"/{number}")) for number in range(100)))
                for number, answer in enumerate(answers):
                    check(answer.headers)
                    assert answer.text == f"got /{number}"
        asyncio.run(many())


def test_server_sent_events():
    with python_server() as address, Colophon(address) as colophon, httpx.Client(timeout=PATIENCE) as client:
        with client.stream("GET", url(colophon, "/events")) as answer:
            check(answer.headers)
            events = [line for line in answer.iter_lines() if line.startswith("data: ")]
        assert events == [f"data: token-{number}" for number in range(20)]


def test_websockets():
    async def echo(connection):
        async for message in connection:
            await connection.send(message)

    async def talk():
        async with websockets.asyncio.server.serve(echo, "127.0.0.1", 0, max_size=None) as server:
            port = server.sockets[0].getsockname()[1]
            loop = asyncio.get_running_loop()
            colophon = await loop.run_in_executor(None, Colophon(f"127.0.0.1:{port}").__enter__)
            try:
                async with websockets.asyncio.client.connect(f"ws://{colophon.listen}/chat", max_size=None) as connection:
                    assert connection.response.headers["X-Model-Version"] == "m1"
                    for message in ("hello", b"bytes", "x" * 1_000_000, ""):
                        await connection.send(message)
                        assert await asyncio.wait_for(connection.recv(), PATIENCE) == message
                    await connection.ping()
                totals = await loop.run_in_executor(None, colophon.totals)
                assert totals["upgrades"] == 1
            finally:
                await loop.run_in_executor(None, colophon.__exit__, None, None, None)
    asyncio.run(talk())


def test_nginx_as_the_upstream():
    with tempfile.TemporaryDirectory() as scratch:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        Path(scratch, "a.bin").write_bytes(b"n" * 5_000_000)
        Path(scratch, "nginx.conf").write_text(f"""
            daemon off; worker_processes 1; pid {scratch}/pid; error_log {scratch}/error; user root;
            events {{ worker_connections 128; }}
            http {{ access_log off; client_body_temp_path {scratch}/b; proxy_temp_path {scratch}/p; fastcgi_temp_path {scratch}/f;
              uwsgi_temp_path {scratch}/u; scgi_temp_path {scratch}/s; keepalive_requests 7;
              server {{ listen 127.0.0.1:{port}; root {scratch}; }} }}""")
        nginx = subprocess.Popen(["/usr/sbin/nginx", "-e", f"{scratch}/error", "-c", f"{scratch}/nginx.conf"])
        try:
            def answers():
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", port)).close()
                    return True
            wait_until(answers, "nginx listens")
            with Colophon(f"127.0.0.1:{port}") as colophon, requests.Session() as session:
                for _ in range(30):
                    answer = session.get(url(colophon, "/a.bin"), timeout=PATIENCE)
                    check(answer.headers)
                    assert answer.content == b"n" * 5_000_000
                part = session.get(url(colophon, "/a.bin"), headers={"Range": "bytes=10-19"}, timeout=PATIENCE)
                check(part.headers, "mixed")
                assert part.status_code == 206 and part.content == b"n" * 10
                tag = answer.headers["ETag"]
                same = session.get(url(colophon, "/a.bin"), headers={"If-None-Match": tag}, timeout=PATIENCE)
                check(same.headers, "mixed")
                assert same.status_code == 304
                check(session.get(url(colophon, "/none"), timeout=PATIENCE).headers)
                assert colophon.totals()["upstream_faults"] == 0
        finally:
            nginx.terminate()
            nginx.wait()


def test_the_example_recommender():
    example = ROOT / "Examples/als-recommender"
    with tempfile.TemporaryDirectory() as scratch:
        import os
        from harness import COLOPHON
        colophon_path = str(Path(COLOPHON).resolve())
        for family in ("als", "popgen"):
            subprocess.run([sys.executable, str(example / "train.py"), "--colophon", colophon_path, "--family", family, "--data-version", "d1"],
                           cwd=scratch, check=True, capture_output=True, timeout=PATIENCE * 4, env={**os.environ, "COLOPHON_DATA_DIR": scratch + "/l"})
        with open(f"{scratch}/err", "w") as errors:
            server = subprocess.Popen([sys.executable, str(example / "serve.py"), "--listen", "127.0.0.1:0", "--log", "l.log"], cwd=scratch, stderr=errors)
        try:
            def listening():
                found = re.search(r"listening on (\S+)", Path(f"{scratch}/err").read_text())
                return found and found[1]
            address = wait_until(listening, "the example listens")
            arms = ["--manifest", f"als_model={scratch}/artifacts/als", "--manifest", f"popgen_model={scratch}/artifacts/popgen"]
            with Colophon(address, "--attribution-from", "variant-header:X-Model-Variant", manifest_args=arms) as colophon:
                for variant, family in (("als_model", "als"), ("popgen_model", "popgen")):
                    answer = requests.get(url(colophon, "/recommend/7"), headers={"X-Experiment-Variant": variant}, timeout=PATIENCE)
                    assert answer.status_code == 200 and answer.text
                    assert answer.headers["X-Model-Version"].startswith(family), answer.headers
                    assert answer.headers["X-Model-Attribution"] == "inferred"
        finally:
            server.terminate()
            server.wait()


def test_wrk_sees_no_error():
    with tempfile.TemporaryDirectory() as scratch:
        script = Path(scratch, "check.lua")
        script.write_text("""
            response = function(status, headers)
              if status ~= 200 or headers["X-Model-Version"] ~= "m1" or headers["X-Model-Attribution"] ~= "inferred" then wrk.thread:set("bad", 1) end
            end
            setup = function(thread) thread:set("bad", 0) threads = threads or {} table.insert(threads, thread) end
            done = function() for _, thread in ipairs(threads) do if thread:get("bad") ~= 0 then print("BAD STAMP") end end end
        """)
        with python_server() as address, Colophon(address) as colophon:
            said = subprocess.run(["wrk", "-t1", "-c16", "-d2s", "--timeout", "30s", "-s", str(script), url(colophon, "/w")], capture_output=True, text=True,
                                  timeout=PATIENCE).stdout
            assert "requests in" in said and "Socket errors" not in said and "Non-2xx" not in said and "BAD STAMP" not in said, said


if __name__ == "__main__":
    run(globals())
