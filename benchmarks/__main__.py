"""Times works against PyTorch, prints the table and writes results/speed.json.

    python -m benchmarks                       all works
    python -m benchmarks --works=dcgan,wgan_gp
    python -m benchmarks --check               compares with results/speed.json, writes nothing

The check fails where a ratio has fallen under the recorded one by more than three times its
spread: ratios and not seconds, as machines differ and are shared.
"""

import argparse
import json
import sys
import time

import jax

from benchmarks import contest
from benchmarks import work as work_lib
from gen_jax import logs, results

TABLE = results.ROOT / "results" / "speed.json"
SPREADS = 3.0  # by which a ratio may fall, and
LEAST = 0.1  # a part of the recorded ratio that it may fall by in any case


def measure(works: list[work_lib.Work], rounds: int) -> list[dict]:
    """Rows of the table, as `results` has them, with one median or ratio each."""
    from benchmarks import machine

    rate = machine.matmul_rate()
    rows = []
    for work in works:
        start = time.monotonic()
        times = contest.compete(work.name, list(work.contestants), rounds)
        figures = {
            f"ratio_to_{name}": times.ratio("gen_jax", name)
            for name in work.contestants
            if name != "gen_jax"
        }
        if work.flops:
            part = work.flops() / times.median("gen_jax") / rate
            figures["fraction_of_matmul"] = part, None
        seconds = round(time.monotonic() - start)
        rows += [_row(work, rounds, seconds, name, *each) for name, each in figures.items()]
        medians = {name: times.median(name) for name in work.contestants}
        each = ", ".join(f"{name} {value * 1e3:,.1f} ms" for name, value in medians.items())
        print(f"{work.name}: {work.unit} take {each}", flush=True)
    return rows


def _row(
    work: work_lib.Work, rounds: int, seconds: int, metric: str, value: float, spread: float | None
) -> dict:
    platform = jax.devices()[0].platform
    measured = {
        "row": f"{work.name}:{platform}",
        "metric": metric,
        "value": round(value, 3),
        "stderr": None if spread is None else round(spread, 3),
        "unit": "of the rate of a matrix product" if spread is None else "times as fast",
        "n": rounds,
        "protocol": f"{work.unit} a time; median over interleaved rounds, and half the distance "
        "of the quartiles.",
        "hardware": results.hardware(),
        "wall_clock_s": seconds,
        "command": f"python -m benchmarks --works={work.name}",
        "commit": results.commit(),
        "status": "measured",
    }
    empty = {"seeds": [], "worst": None, "reference": None, "source": "", "deviation": ""}
    return {field: (measured | empty)[field] for field in results.FIELDS}


def merged(old: list[dict], new: list[dict]) -> list[dict]:
    """The old rows, those replaced that were measured anew, and the others after them."""
    newest = {(row["row"], row["metric"]): row for row in new}
    kept = [newest.pop((row["row"], row["metric"]), row) for row in old]
    return kept + list(newest.values())


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
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    flags = parser.parse_args(arguments)
    works = work_lib.find()
    names = flags.works.split(",") if flags.works else list(works)
    unknown = [name for name in names if name not in works]
    if unknown:
        print(f"no work {unknown[0]!r}; there are: {', '.join(works)}", file=sys.stderr)
        return 1
    old = json.loads(TABLE.read_text()) if TABLE.exists() else []
    new = measure([works[name] for name in names], flags.rounds)
    rows = [(r["row"], r["metric"], logs.figure(r), r["unit"]) for r in new]
    logs.print_table(results.hardware(), ("work", "metric", "measured", "unit"), rows)
    if flags.check:
        lines = regressions(old, new)
        print("\n".join(lines) or "no ratio has fallen")
        return 1 if lines else 0
    TABLE.write_text(json.dumps(merged(old, new), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
