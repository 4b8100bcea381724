"""How long validation of a 2024 output file takes: 135,730 rows, ten probabilities each."""

import time

import numpy as np
import pandas as pd

from coppice.challenge.output_rows import check_output
from coppice.challenge.problems import Problems
from coppice.challenge.rules import COLUMNS, SCENES, rules_of

REPEATS = 5


def output_file(rows: int) -> bytes:
    values = np.random.default_rng(0).dirichlet(np.full(10, 0.3), rows)
    table = pd.DataFrame(values, columns=list(SCENES))
    table.insert(0, "filename", [f"{number}.wav" for number in range(rows)])
    table.insert(1, "scene_label", [SCENES[best] for best in values.argmax(axis=1)])
    return table[list(COLUMNS)].to_csv(sep="\t", index=False, float_format="%.10g").encode()


def main() -> None:
    rows = rules_of("dcase2024").evaluation_clips
    assert rows is not None
    expected = [f"{number}.wav" for number in range(rows)]
    data = output_file(rows)
    header, _, body = data.partition(b"\n")
    cases = {
        "valid": data,
        "every row wrong": header + b"\n" + body.replace(b"\t0.", b"\t1."),
        "text in a row": header + b"\n" + body.replace(b"\t0.", b"\tx", 1),
        "a row too short": header + b"\n" + body.replace(b"\t", b" ", 1),
    }
    print(f"{rows:,} rows, {len(data) / 1e6:.1f} MB; median and slowest of {REPEATS}")
    for title, file in cases.items():
        times, found = [], Problems()
        for _ in range(REPEATS):
            found = Problems()
            start = time.perf_counter()
            check_output(file, "output.csv", expected, found)
            times.append(time.perf_counter() - start)
        print(f"{title:<18} {np.median(times):6.2f} s {max(times):6.2f} s   {len(list(found))} problems told")


if __name__ == "__main__":
    main()
