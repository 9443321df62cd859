"""Hashing a 1 GiB artifact, beside `openssl dgst` and `sha256sum`; and two of them at once."""

import json
import os
import sys

import measure

colophon = os.path.abspath(sys.argv[1])


def manifest(directory, name, count):
    digest = "0" * 64
    artifacts = {f"a{i}": {"path": f"a{i}.bin", "sha256": digest} for i in range(count)}
    path = os.path.join(directory, name)
    with open(path, "w") as file:
        json.dump({"model_version": name, "artifacts": artifacts}, file)
    return path


def verify(path):
    """The hashes differ, so it ends with 1; what counts is that every byte was read."""

    def run():
        return measure.once(["sh", "-c", '"$0" manifest verify "$1" | grep -q changed', colophon, path])[0]

    return run


with measure.Scratch() as scratch:
    block = os.urandom(1 << 20)
    for i in range(2):
        with open(os.path.join(scratch, f"a{i}.bin"), "wb") as file:
            for _ in range(1024):
                file.write(block)
    one = os.path.join(scratch, "a0.bin")
    two = os.path.join(scratch, "a1.bin")
    both = 'openssl dgst -sha256 "$0" & openssl dgst -sha256 "$1"; wait'
    measure.begin("hashing 1 GiB")
    medians = measure.compare(
        {
            "colophon manifest verify, one artifact": verify(manifest(scratch, "one.json", 1)),
            "openssl dgst -sha256": lambda: measure.once(["openssl", "dgst", "-sha256", one])[0],
            "sha256sum": lambda: measure.once(["sha256sum", one])[0],
            "colophon manifest verify, two artifacts": verify(manifest(scratch, "two.json", 2)),
            "openssl dgst -sha256, two at once": lambda: measure.once(["sh", "-c", both, one, two])[0],
        },
        rounds=3,
    )
    mine = medians["colophon manifest verify, one artifact"]
    openssl, coreutils = medians["openssl dgst -sha256"], medians["sha256sum"]
    measure.bar("time beside openssl", mine / openssl, 1.1)
    if measure.has_sha_extensions():
        measure.bar("time beside sha256sum", mine / coreutils, 0.4)
    else:
        # Both compute in plain vector instructions here, and nobody's SHA-256 does better: openssl itself is the bar.
        print(f"  without SHA extensions openssl itself takes {openssl / coreutils:.2f} × sha256sum")
        measure.bar("time beside sha256sum", mine / coreutils, 1.1 * openssl / coreutils)
    # How much two processors give that others share is for openssl to say: ours may take no longer for two.
    together, theirs = medians["colophon manifest verify, two artifacts"], medians["openssl dgst -sha256, two at once"]
    print(f"  two at once reach {2 * mine / together:.2f} × the throughput of one; openssl {2 * openssl / theirs:.2f} ×")
    measure.bar("two at once, time beside two of openssl", together / theirs, 1.1)
measure.end()
