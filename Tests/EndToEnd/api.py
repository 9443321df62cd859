"""The whole admin API, exercised from its own description by schemathesis: what is documented is what comes, whatever is sent.

    api.py COLOPHON [EXAMPLES] [SEED]

EXAMPLES for each operation and phase (25). The seed is printed, and makes a run come again.
"""

import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "proxy"))
EXAMPLES = sys.argv[2] if len(sys.argv) > 2 else "25"
SEED = sys.argv[3] if len(sys.argv) > 3 and sys.argv[3] else str(random.SystemRandom().randrange(1 << 32))

from harness import COLOPHON, Colophon, Upstream, manifest, ok  # noqa: E402


def run(admin, *args, config=()):
    command = [str(Path(sys.executable).with_name("schemathesis")), *config, "run", f"http://{admin}/openapi.json", "--max-examples", EXAMPLES,
               "--seed", SEED, "--generation-database", "none", "--no-color", "--request-timeout", "30", "--workers", "1", *args]
    # What it writes down is of no use here.
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "api_hooks", "PYTHONPATH": str(Path(__file__).resolve().parent)}
    result = subprocess.run(command, capture_output=True, text=True, timeout=1500,
                            env=environment, cwd=directory)
    if result.returncode != 0:
        print(result.stdout[-20000:], result.stderr[-4000:], sep="\n")
        sys.exit(f"schemathesis found something (seed {SEED})")
    lines = result.stdout.splitlines()
    print("\n".join(lines[-12:]))


with Upstream(ok) as upstream, tempfile.TemporaryDirectory(prefix="colophon-api-") as directory:
    for token in ("", "a-token"):
        # The order of examples must not decide which manifest has the version that is asked for.
        with Colophon(upstream.address, "--logs-to", f"file:{directory}/out{token}", "--exchanges-bytes", "32MiB",
                      *(["--admin-token", token] if token else [])) as colophon:
            for version in ("m2", "m3"):
                (colophon.path / f"{version}.json").write_text(manifest(version))
            subprocess.run([COLOPHON, "index", "add", str(colophon.path / "m2.json"), str(colophon.path / "m3.json"), "--data-dir",
                            str(colophon.path / "data")], check=True, capture_output=True, timeout=30)
            print(f"schemathesis, {EXAMPLES} examples, {'with a token' if token else 'without a token'}, seed {SEED}", flush=True)
            bearer = ["--header", f"Authorization: Bearer {token}"] if token else []
            run(colophon.admin, *bearer)
            # And again by names that there are, so that more than refusals is seen.
            names = Path(directory, "names.toml")
            names.write_text('[parameters]\n"path.manifest" = "m2"\n"path.other" = "m3"\n')
            run(colophon.admin, *bearer, config=["--config-file", str(names)])
            assert colophon.process.poll() is None, "the sidecar has ended"
            assert colophon.get("/").status == 200
