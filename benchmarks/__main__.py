"""Times works against PyTorch, prints the table and writes results/speed.json.

    python -m benchmarks                       all works
    python -m benchmarks --works=dcgan,wgan_gp
    python -m benchmarks --check               compares with results/speed.json, writes nothing

The check fails where a ratio has fallen under the recorded one by more than three times its
spread: ratios and not seconds, as machines differ and are shared. The spread is that of rounds and
of starts, so the check starts the contestants as often as the record did.
"""

import argparse
import sys
import time

from benchmarks import contest, machine
from benchmarks import rows as rows_lib
from benchmarks import work as work_lib
from gen_jax.report import results

TABLE = results.ROOT / "results" / "speed.json"
SPREADS = 3.0  # by which a ratio may fall, and
LEAST = 0.1  # a part of the recorded ratio that it may fall by in any case


def measure(work: work_lib.Work, starts: int, rounds: int) -> list[dict]:
    """The rows of a work: ratios to the other contestants, and the parts of the machine's rates."""
    start = time.monotonic()
    commands = {name: (("benchmarks.contest", work.name, name), {}) for name in work.contestants}
    times = contest.compete(commands, starts, rounds)
    medians = {name: times.median(name)[0] for name in work.contestants}
    each = ", ".join(f"{name} {seconds * 1e3:,.1f} ms" for name, seconds in medians.items())
    print(f"{work.name}: {work.unit} take {each}", flush=True)
    common = {
        "row": f"{work.name}:{rows_lib.platform()}",
        "n": starts * rounds,
        "wall_clock_s": round(time.monotonic() - start),
        "command": f"python -m benchmarks --works={work.name}",
    }
    protocol = f"{work.unit} a time. {contest.PROTOCOL}"
    rows = []
    for name in list(work.contestants)[1:]:
        value, spread = times.ratio("gen_jax", name)
        metric = {"metric": f"ratio_to_{name}", "unit": "times as fast", "protocol": protocol}
        rows.append(rows_lib.measured(value, spread, **common, **metric))
    if work.cost:
        flops, traffic = work.cost()
        part = flops / medians["gen_jax"] / machine.matmul_rate()
        metric = {"metric": "fraction_of_matmul", "unit": "of a matrix product's rate"}
        rows.append(rows_lib.measured(part, None, **common, **metric))
        part = traffic / medians["gen_jax"] / machine.memory_rate()
        metric = {"metric": "fraction_of_memory", "unit": "of a long vector sum's rate"}
        rows.append(rows_lib.measured(part, None, **common, **metric))
    return rows


def regressions(old: list[dict], new: list[dict]) -> list[str]:
    """A line for each ratio that is lower than it was by more than its spread allows."""
    recorded = {(row["row"], row["metric"]): row for row in old if row["status"] == "measured"}
    lines = []
    for row in new:
        before = recorded.get((row["row"], row["metric"]))
        if before is None or row["stderr"] is None:
            continue
        least = before["value"] - max(SPREADS * before["stderr"], LEAST * before["value"])
        if row["value"] < least:
            lines.append(
                f"{row['row']}: {row['metric']} is {row['value']}, and was {before['value']} "
                f"± {before['stderr']} at {before['commit']}"
            )
    return lines


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--works", default="", help="names with commas; all by default")
    parser.add_argument("--starts", type=int, default=3, help="of the contestants' processes")
    parser.add_argument("--rounds", type=int, default=5, help="after each start")
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    flags = parser.parse_args(arguments)
    works = work_lib.find()
    names = flags.works.split(",") if flags.works else list(works)
    unknown = [name for name in names if name not in works]
    if unknown:
        print(f"no work {unknown[0]!r}; there are: {', '.join(works)}", file=sys.stderr)
        return 1
    new = [row for name in names for row in measure(works[name], flags.starts, flags.rounds)]
    rows_lib.show(new)
    if flags.check:
        lines = regressions(results.read(TABLE), new)
        print("\n".join(lines) or "no ratio has fallen")
        return 1 if lines else 0
    rows_lib.write(TABLE, new)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
