#!/usr/bin/env python3
"""Attention alone: 12,288 tokens, 8 heads of 128, batch 1, bf16; the paper's mask (section VII), its band alone, and every earlier token.

    python3 experiments/paper/attention.py                  # on a GPU of its own
    python3 experiments/paper/attention.py --small          # a miniature on the CPU: that the script works

Ours by `lacuna bench kernels`, checked against f64; PyTorch's in the same run: FlexAttention, compiled, on the very same masks, and flash
attention on every earlier token.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from common.charts import bars  # noqa: E402
from paper import anchors  # noqa: E402
from paper.kernel_runs import bench_kernels  # noqa: E402
from paper.measure import NOT_MEASURED, Session, arguments, good, ratio  # noqa: E402

MASKS = {  # name: (part of the suite's name for it, FlexAttention's and flash attention's mask, which of the two)
    "the paper's mask": ("random0.95/", None, "flex"),
    "band of 256": ("attention/band256/", "band:256", "flex"),
    "every earlier token": ("attention/causal/", "causal", "flash")}
OPS = {"attention": "forward", "attention_training": "forward + backward"}
TOKENS = 12288


def best(m, op, part):
    """(microseconds, TFLOP/s of the mask's entries, entries) of our fastest; None where there is none."""
    lines = [line for line in (m["lines"] if good(m) else ()) if line["op"] == op and part in line["matrix"] and line["kind"] == "ours"
             and line["status"] == "ok"]
    if not lines:
        return None
    line = min(lines, key=lambda line: line["median_us"])
    entries = round((1 - line["sparsity"]) * line["matrix_rows"] ** 2)
    work = (4 if op == "attention" else 12) * entries * line["n"] * line["batch"]
    return line["median_us"], work / line["median_us"] / 1e6, entries


def measure(session, small):
    """{mask: our run}, {mask: PyTorch's}."""
    ours, torch = {}, {}
    kind = ["--suite", "attention", "--op", ",".join(OPS), "--contenders", "lacuna_auto,lacuna_causal",
            *(["--budget-ms", "1"] if small else ["--dtype", "bf16"])]
    for name, (part, _, _) in MASKS.items():
        part = part.replace("256", "128") if small else part
        pattern = ["--save-patterns"] if part.startswith("random") else []
        ours[name] = bench_kernels(session, f"attention, {name}", [*kind, "--filter", part, *pattern])
    for name, (_, mask, route) in sorted(MASKS.items(), key=lambda item: item[1][2] != "flash"):  # what compiles comes last
        if mask is None and good(ours[name]):
            mask = next((session.out / ours[name]["folder"]).glob("*.smtx"), None)
        torch[name] = session.torch_measure(f"PyTorch, {route}, {name}", "attention", route, "bf16", mask, str(TOKENS)) if mask else None
    return ours, torch


def main():
    options = arguments(__doc__).parse_args()
    session = Session("attention", options)
    ours, torch = measure(session, options.small)
    page = session.page("Attention alone", f"{TOKENS:,} tokens, 8 heads of 128, batch 1, bf16; forward, and forward + backward "
                        "through the tape. The paper's mask is a band of 256 and 5 % of the rest, likelier when near. Ours is checked against f64 before it is "
                        "timed. TFLOP/s count the mask's entries alone. FlexAttention gets the same mask, entry by entry, its block mask made beforehand.")
    rows, items = [], []
    for name, (part, _, route) in MASKS.items():
        part = part.replace("256", "128") if options.small else part
        for op, label in OPS.items():
            mine, theirs = best(ours[name], op, part), torch[name]
            ms = theirs["latency_ms" if op == "attention" else "training_ms"] if good(theirs) else None
            anchor = anchors.TORCH_ATTENTION_MS[name][op == "attention_training"]
            us = mine[0] if mine else None
            rows.append([name, f"{mine[2]:,}" if mine else NOT_MEASURED, label, f"{us / 1e3:.3f}" if mine else NOT_MEASURED,
                         f"{mine[1]:.0f}" if mine else NOT_MEASURED, f"PyTorch, {'FlexAttention' if route == 'flex' else 'flash'}",
                         f"{ms:.3f}" if ms else NOT_MEASURED, ratio(ms, us and us / 1e3), f"{anchor:.2f}", ratio(anchor, us and us / 1e3)])
            if us:
                items.append((f"{name}, {label}", us / 1e3, 0))
            items.append((f"PyTorch, {name}, {label}" + ("" if ms else " (H100)"), ms or anchor, 8))
    page.heading("Times")
    page.table(["mask", "entries", "pass", "ours, ms", "TFLOP/s", "beside it", "this run, ms", "over ours", f"{anchors.TORCH}: ms", "over ours"],
               rows, left=3)
    page.charts([bars("Attention alone, bf16", "ms, lower is better; '(H100)': PyTorch on 2026-11-23, not this run", items, log=True)])
    return session.finish(page)


if __name__ == "__main__":
    sys.exit(main())
