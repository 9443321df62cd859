#!/usr/bin/env python3
"""Serves what train.py trained: GET /recommend/<user> answers with a comma-separated list of movies.

    serve.py --directory DIR [--listen 127.0.0.1:8082] [--log FILE] [--stamp]

Two variants answer: als_model and popgen_model. The request header X-Experiment-Variant picks one; without it the user's
bucket does. Each request leaves one line in the log. With --stamp the server reads its manifests and names them in headers
and log lines by itself, which is what Colophon's proxy does for servers that do not.
"""

import argparse
import hashlib
import json
import signal
import sys
import threading
import time
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import recommender

FAMILIES = {"als_model": "als", "popgen_model": "popgen"}


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address, options):
        super().__init__(address, Handler)
        artifacts = Path(options.directory) / "artifacts"
        self.models, self.manifests = {}, {}
        for variant, family in FAMILIES.items():
            if (artifacts / family).is_dir():
                kind = recommender.AlsModel if family == "als" else recommender.PopularityModel
                self.models[variant] = kind(artifacts / family)
                if options.stamp:
                    self.manifests[variant] = json.loads((artifacts / family / "model_manifest.json").read_text())
        if not self.models:
            sys.exit(f"serve.py: there is no model below {artifacts}: run train.py first")
        self.log = open(options.log, "a", buffering=1) if options.log else sys.stdout
        self.lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "als-recommender"

    def do_GET(self):
        started = time.monotonic()
        path = urlsplit(self.path).path
        if path == "/healthz":
            return self.answer(200, "text/plain", b"ok\n", {})
        if not path.startswith("/recommend/") or path.count("/") != 2:
            return self.answer(404, "text/plain", b"try /recommend/<user>\n", {})
        user = unquote(path.rsplit("/", 1)[1])
        bucket = int(hashlib.sha256(user.encode()).hexdigest()[:8], 16) / 2**32
        variant = self.headers.get("X-Experiment-Variant", "als_model" if bucket < 0.5 else "popgen_model")
        if variant not in self.server.models:
            variant = next(iter(self.server.models))
        movies = ",".join(self.server.models[variant].recommend(user, 20))
        headers = {"X-Model-Variant": variant, "X-Bucket": f"{bucket:.6f}"}
        manifest = self.server.manifests.get(variant)
        if manifest:
            headers["X-Model-Version"] = manifest["model_version"]
            if manifest["pipeline"]["git_commit"]:
                headers["X-Pipeline-Commit"] = manifest["pipeline"]["git_commit"][:7]
            headers["X-Data-Version"] = manifest["data"]["dataset_version"]
            headers["X-Model-Manifest"] = manifest["manifest_sha256"]
        self.answer(200, "text/plain", movies.encode(), headers)
        self.write_line(path, user, variant, bucket, movies, manifest, time.monotonic() - started)

    def answer(self, status, kind, body, headers):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def write_line(self, path, user, variant, bucket, movies, manifest, seconds):
        now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        line = f"{now},{user},recommendation request {path}, status 200, variant={variant}, bucket={bucket:.6f}"
        line += f", result: {movies}, {round(seconds * 1000)} ms"
        if manifest:
            line += f", model_version={manifest['model_version']}"
            if manifest["pipeline"]["git_commit"]:
                line += f", pipeline_commit={manifest['pipeline']['git_commit'][:7]}"
            line += f", data_version={manifest['data']['dataset_version']}"
            line += f", manifest_sha256={manifest['manifest_sha256']}"
        with self.server.lock:
            self.server.log.write(line + "\n")

    def log_message(self, *arguments):
        """Quiet: the log lines above are the log."""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", default=".", help="where artifacts/ is")
    parser.add_argument("--listen", default="127.0.0.1:8082", help="address and port; port 0 takes a free one")
    parser.add_argument("--log", default="", help="append log lines to this file, instead of printing them")
    parser.add_argument("--stamp", action="store_true", help="name the manifest in headers and lines")
    options = parser.parse_args()
    host, port = options.listen.rsplit(":", 1)
    server = Server((host, int(port)), options)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"listening on {server.server_address[0]}:{server.server_address[1]}", file=sys.stderr, flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
