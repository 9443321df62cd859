"""What is true of lines, for tests that promote manifests while everything goes wrong: which one the pointer named when, and what lines that are
too long were."""

import contextlib
import json
import re
import sqlite3
import time
from calendar import timegm

from harness import manifest, place

PROXIED = range(200_000_000, 300_000_000)


class Promotions:
    """Swaps the pointer, and remembers when."""

    def __init__(self, pointer):
        self.pointer = pointer
        self.placed = []
        self.promote()

    def promote(self):
        version = f"m{len(self.placed) + 1}"
        before = time.time()
        place(self.pointer, manifest(version))
        self.placed.append((version, before, time.time()))

    def activations(self, ledger):
        """Until when, by the ledger, each version was live at the most; and the digest of each."""
        with contextlib.closing(sqlite3.connect(ledger)) as database:
            rows = database.execute("SELECT version, active_from / 1e6, hex(digest) FROM activations JOIN manifests USING (record) "
                                    "JOIN records ON records.id = activations.record ORDER BY active_from").fetchall()
        until = {}
        for (version, _, _), following in zip(rows, rows[1:] + [(None, float("inf"), None)]):
            until[version] = following[1]
        return until, {version: digest.lower() for version, _, digest in rows}


class Claims:
    """Looks at what each record says of where its line came from."""

    def __init__(self, promotions, ledger):
        self.until, self.digests = promotions.activations(ledger)
        placed = promotions.placed
        self.named = {version: (before, placed[i + 1][2] if i + 1 < len(placed) else float("inf"))
                      for i, (version, before, _) in enumerate(placed)}
        self.words = {}

    def wrong(self, number, value, headers):
        """What is untrue of a record, or nothing."""
        version, digest, word = headers.get("model_version"), headers.get("manifest_sha256"), headers["attribution"]
        self.words[word] = self.words.get(word, 0) + 1
        text = value.decode()
        said = {name: found[1] if (found := re.search(rf"\b{name}=(\w+)", text)) else None
                for name in ("model_version", "manifest_sha256", "attribution")}
        if said != {"model_version": version, "manifest_sha256": digest, "attribution": None if word == "inferred" else word}:
            return f"{number}: the text says {said}, the headers {headers}"
        if version is None:
            return None if word == "unknown" else f"{number}: {word} of nothing"
        if digest != self.digests.get(version):
            return f"{number}: {version} has not the digest {digest}"
        if word != "inferred":
            return None if word in ("mixed", "unknown") else f"{number}: {word}"
        at = seconds(text)
        begin, end = self.named[version]
        # A response is stamped with what is active when it is made: what the pointer names a moment before anybody can have seen it is not.
        if number in PROXIED:
            end = max(end, self.until[version])
        if begin <= at <= end:
            return None
        return f"{number}: said to be of {version}, at {at:.6f}, which the pointer named from {begin:.6f} until {end:.6f}"


def seconds(text):
    """The time that a line begins with."""
    found = re.match(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?Z", text)
    return timegm(time.strptime(found[1], "%Y-%m-%dT%H:%M:%S")) + float(found[2] or 0)


def overlong(number, limit):
    """A line that is too long, and that is told from all others at each of its places."""
    text = f"long {number} "
    return text + "".join(f"{number}+{place} " for place in range(2 * limit // 14))


def dead_letters(file):
    """The lines of a file of dead letters, each put together of its pieces. After a kill its pieces may begin anew, and be others."""
    pieces, whole = {}, set()
    for text in file.read_text().splitlines():
        letter = json.loads(text)
        number = letter.get("piece", 0)
        if number == 0:
            pieces[letter["origin"]] = []
        of_one = pieces.get(letter["origin"], [])
        if number == len(of_one):
            of_one.append(letter["line"])
            if letter.get("last", True):
                whole.add("".join(of_one))
    return whole
