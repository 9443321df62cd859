"""What Python's own json makes of documents: an oracle for ours.

    json_oracle.py forms SEED COUNT      manifests as Python writes them, each with the digest of one form
    json_oracle.py values SEED COUNT     random values: their text, and what they are compactly
    json_oracle.py broken SEED COUNT     texts with a byte changed here or there, and whether they are JSON still

One JSON object a line. Bytes are in hexadecimal, so that nothing on the way can change them.
"""

import hashlib
import json
import random
import struct
import sys

LAYOUTS = [
    dict(sort_keys=sort_keys, ensure_ascii=ensure_ascii, **layout)
    for sort_keys in (True, False)
    for ensure_ascii in (True, False)
    for layout in (
        {},
        {"separators": (",", ":")},
        {"indent": 2},
        {"indent": 4},
        {"indent": 2, "separators": (",", ":")},
        {"indent": 4, "separators": (",", ":")},
    )
]

ALPHABET = list("abcXYZ012 _-./+&'") + ["é", "ß", "€", "日本", "😀", "\u0301", "\u007f", "\n", "\t", "\\", '"', "\u2028", "\x01", "ﬃ"]


def text(chance, most=8):
    return "".join(chance.choice(ALPHABET) for _ in range(chance.randrange(most)))


def number(chance):
    kind = chance.randrange(7)
    if kind == 0:
        return chance.randrange(-10, 10)
    if kind == 1:
        return chance.randrange(-(2**70), 2**70)
    if kind == 2:
        return chance.random() * 10 ** chance.randrange(-12, 25)
    if kind == 3:
        return chance.choice([0.01, 1e-05, 1e16, 1e22, 1e21, 123456789012345680.0, 5e-324, 1.7976931348623157e308, -0.0, 100.0])
    if kind == 4:
        return 2**53 + chance.randrange(100)
    value = struct.unpack("<d", struct.pack("<Q", chance.getrandbits(64)))[0]
    return value if value == value and abs(value) != float("inf") else 0.5


def value(chance, depth):
    kind = chance.randrange(10 if depth > 0 else 6)
    if kind < 2:
        return number(chance)
    if kind < 4:
        return text(chance)
    if kind < 6:
        return chance.choice([None, True, False, "", "0", "1"])
    if kind < 8:
        return [value(chance, depth - 1) for _ in range(chance.randrange(5))]
    return {text(chance, 6) or str(i): value(chance, depth - 1) for i in range(chance.randrange(6))}


def manifest(chance):
    version = "als-" + str(chance.randrange(10**8))
    result = {
        "model_family": chance.choice(["als", "popgen", "modèle", None]),
        "model_version": version,
        "trained_at": "2025-03-04T18:12:55.123456Z",
        "pipeline": {"git_commit": "%040x" % chance.getrandbits(160), "git_branch": "main", "git_dirty": chance.choice(["0", "1", 0, 1, True, False, None])},
        "data": {"dataset_path": "data/é " + text(chance).replace("/", "_"), "dataset_version": text(chance), "row_count": chance.randrange(2**60)},
        "hyperparameters": {text(chance, 6) or str(i): value(chance, 3) for i in range(chance.randrange(6))},
        "seed": 2**63 + chance.randrange(2**40),
        "artifacts": {},
    }
    names = list(result)
    chance.shuffle(names)
    return {name: result[name] for name in names}


def forms(chance, count):
    for index in range(count):
        document = manifest(chance)
        layout = LAYOUTS[index % len(LAYOUTS)]
        newline = chance.choice(["", "\n"])
        digest = hashlib.sha256((json.dumps(document, **layout) + newline).encode()).hexdigest()
        # The digest stands anywhere, and the file may be laid out in another way than what was hashed.
        names = list(document)
        names.insert(chance.randrange(len(names) + 1), "manifest_sha256")
        document["manifest_sha256"] = digest
        document = {name: document[name] for name in names}
        file_layout = chance.choice(LAYOUTS)
        if not layout["sort_keys"]:
            file_layout = dict(file_layout, sort_keys=False)
        written = json.dumps(document, **file_layout) + chance.choice(["", "\n"])
        arguments = ", ".join(["…", *described(layout)])
        yield {"file": written.encode().hex(), "digest": digest, "layout": f"json.dumps({arguments})" + (" and a newline" if newline else "")}


def described(layout):
    if layout["sort_keys"]:
        yield "sort_keys=True"
    if "indent" in layout:
        yield f"indent={layout['indent']}"
    if "separators" in layout:
        yield 'separators=(",", ":")'
    if not layout["ensure_ascii"]:
        yield "ensure_ascii=False"


def ecmascript(number):
    """A double as ECMAScript writes it, from the shortest digits that Python's repr finds."""
    if number == 0:
        return "0"
    sign = "-" if number < 0 else ""
    mantissa, _, exponent = f"{abs(number)!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(whole.lstrip("0")) if whole.strip("0") else -(len(fraction) - len(fraction.lstrip("0")))
    point += int(exponent or 0)
    digits = digits.rstrip("0") or "0"
    if len(digits) <= point <= 21:
        return sign + digits + "0" * (point - len(digits))
    if 0 < point <= 21:
        return sign + digits[:point] + "." + digits[point:]
    if -6 < point <= 0:
        return sign + "0." + "0" * -point + digits
    power = point - 1
    return sign + digits[0] + ("." + digits[1:] if len(digits) > 1 else "") + "e" + ("+" if power > 0 else "-") + str(abs(power))


def canonical(item):
    if isinstance(item, dict):
        pairs = sorted(item.items(), key=lambda pair: pair[0].encode("utf-16-be"))
        return "{" + ",".join(json.dumps(name, ensure_ascii=False) + ":" + canonical(inner) for name, inner in pairs) + "}"
    if isinstance(item, list):
        return "[" + ",".join(canonical(inner) for inner in item) + "]"
    if isinstance(item, float):
        return ecmascript(item)
    return json.dumps(item, ensure_ascii=False)


def values(chance, count):
    for index in range(count):
        item = value(chance, 5)
        written = json.dumps(item, **LAYOUTS[index % len(LAYOUTS)])
        compact = json.dumps(json.loads(written), separators=(",", ":"), ensure_ascii=False)
        yield {"text": written.encode().hex(), "compact": compact.encode().hex(), "canonical": canonical(json.loads(written)).encode().hex()}


def strict(data):
    """Python's verdict, without what Python adds to JSON."""

    def refuse(_):
        raise ValueError("no JSON")

    def unique(pairs):
        if len({name for name, _ in pairs}) != len(pairs):
            raise ValueError("twice")
        return dict(pairs)

    result = json.loads(data.decode("utf-8"), parse_constant=refuse, object_pairs_hook=unique)
    json.dumps(result, ensure_ascii=False).encode("utf-8")
    return result


def broken(chance, count):
    for index in range(count):
        data = bytearray(json.dumps(value(chance, 4), **LAYOUTS[index % len(LAYOUTS)]).encode())
        for _ in range(chance.randrange(1, 3)):
            place = chance.randrange(len(data) + 1)
            kind = chance.randrange(4)
            if kind == 0:
                data[place:place] = bytes([chance.choice(b'{}[]",:\\/u0eE+-. \n\x00\x80\xc3\xed\xff')])
            elif kind == 1:
                del data[place : place + chance.randrange(1, 4)]
            elif kind == 2 and place < len(data):
                data[place] = chance.randrange(256)
            else:
                data[place:place] = chance.choice([b"NaN", b"Infinity", b"\\ud800", b"\\ud83d\\ude00", b"01", b"1.", b".5", b"1e", b"tru", b"'", b"//", b"\xef\xbb\xbf", b"\xc0\x80", b"\xed\xa0\x80"])
        try:
            strict(bytes(data))
            valid = True
        except (ValueError, RecursionError):
            valid = False
        yield {"text": bytes(data).hex(), "valid": valid}


def main():
    kind, seed, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    for row in {"forms": forms, "values": values, "broken": broken}[kind](random.Random(seed), count):
        print(json.dumps(row, ensure_ascii=False))


if __name__ == "__main__":
    main()
