"""What Python's csv makes of random files: rows, and different values by column.

    csv_oracle.py SEED COUNT
"""

import csv
import io
import json
import random
import sys

FIELDS = ["", "a", "b", "1", "22", "x,y", 'say "hi"', "two\nlines", "win\r\nlines", "é", " spaced ", "'", "long" * 20]


def main():
    chance = random.Random(int(sys.argv[1]))
    for _ in range(int(sys.argv[2])):
        text = io.StringIO()
        if chance.random() < 0.1:
            text.write("\ufeff")
        end = chance.choice(["\n", "\r\n"])
        quoting = chance.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
        rows = csv.writer(text, lineterminator=end, quoting=quoting)
        columns = chance.randrange(1, 5)
        rows.writerow([f"c{index}" for index in range(columns)])
        for _ in range(chance.randrange(30)):
            rows.writerow([chance.choice(FIELDS) for _ in range(columns)])
            if chance.random() < 0.1:
                text.write(end)
        written = text.getvalue()
        if chance.random() < 0.3:
            written = written.rstrip("\r\n")
        read = [row for row in csv.reader(io.StringIO(written.lstrip("\ufeff"), newline="")) if row]
        column = chance.randrange(columns)
        print(
            json.dumps(
                {
                    "text": written.encode().hex(),
                    "column": f"c{column}",
                    "rows": str(len(read) - 1),
                    "distinct": str(len({row[column] for row in read[1:]})),
                }
            )
        )


if __name__ == "__main__":
    main()
