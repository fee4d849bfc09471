#!/usr/bin/env python3
"""Draws docs/headline.svg: the README's table of training steps, and products at 4096^3 from the results of `lacuna bench kernels`.

    python3 experiments/headline.py [RESULTS.csv]     # default: the newest experiments/results/*/kernels_4096/results.csv
    python3 experiments/headline.py --check           # is the drawing that of the README and the results as they are?
"""

import csv
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from common.charts import HEIGHT, WIDTH, bars, color, lines, text  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[1]
DRAWING = ROOT / "docs" / "headline.svg"
PYTORCH_MS = 12288 / 862  # compiled, bf16, dense flash attention (experiments/paper/anchors.py)
STYLE = """
.page { fill: #fff; } text, tspan { fill: #5f6b76; font: 12px system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; }
.title { fill: #1c2126; font-size: 14px; font-weight: 600; } .grid { stroke: #e3e7eb; } .axis { stroke: #9aa5af; }
.reference { stroke: #5f6b76; stroke-dasharray: 6 4; }
@media (prefers-color-scheme: dark) { .page { fill: #16191d; } text, tspan { fill: #a3aeb8; } .title { fill: #e6eaee; } .grid { stroke: #30363d; }
  .axis { stroke: #6b7680; } }
"""


def step_items(readme):
    """[(label, ms, group)] of the README's rows 'PRECISION, ms per step | dense | sparse |'."""
    items = []
    for name, dense, sparse in re.findall(r"^\| ([^|]*), ms per step \| *([\d.]*) *\| *([\d.]+) *\|", readme, re.M):
        items += [(f"dense attention, {name}", float(dense), 4)] if dense else []
        items.append((f"sparse attention, {name}", float(sparse), 0))
    return [*items, ("PyTorch 2.11, dense flash, bf16 compiled", PYTORCH_MS, 1)]


def product_series(file):
    """[(name, [(sparsity in %, cuBLAS's time over ours, None)])] at 4096^3, by op and precision."""
    times = {}
    for line in csv.DictReader(open(file)):
        if line["status"] == "ok" and line["m"] == line["k"] == line["n"] == "4096" and line["contender"] in ("lacuna_auto", "cublaslt"):
            times.setdefault((line["op"], line["dtype"]), {}).setdefault(float(line["sparsity"]), {})[line["contender"]] = float(line["median_us"])
    series = []
    for (op, dtype), at in sorted(times.items(), key=lambda item: (item[0][0] == "sddmm", ("f32", "tf32", "bf16").index(item[0][1]))):
        if op in ("spmm", "sddmm"):
            points = [(100 * s, t["cublaslt"] / t["lacuna_auto"], None) for s, t in sorted(at.items()) if len(t) == 2]
            series.append((f"{op.upper().replace('SPMM', 'SpMM')}, {dtype.replace('tf32', 'TF32')}", points))
    return series


def placed(chart, x, y):
    """A chart of common/charts.py as a part of a larger drawing, and its height."""
    height = int(float(re.match(r'<svg class="chart" viewBox="0 0 \d+ ([\d.]+)"', chart)[1]))
    return chart.replace('<svg class="chart" ', f'<svg x="{x}" y="{y}" width="{WIDTH}" height="{height}" ', 1), height


def drawing(readme, results):
    series = product_series(results)
    steps, height = placed(bars("A training step of the paper's sparse Transformer", "ms, one H100", step_items(readme)), 0, 0)
    products, below = placed(lines("Products at 4096 x 4096 x 4096", "sparsity, %", "times as fast as cuBLAS (dashed) in the same precision", series,
                                   [("", 1.0)]), 0, height + 16)
    names = [f'<rect x="{24 + 103 * i}" y="0" width="12" height="4" fill="{color(i)}"/>' + text(40 + 103 * i, 6, name, "start")
             for i, (name, _) in enumerate(series)]
    top = height + 16 + below
    assert below == HEIGHT
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top + 24}" width="{WIDTH}" height="{top + 24}">\n<style>{STYLE}</style>\n'
            f'<rect class="page" width="100%" height="100%"/>\n{steps}\n{products}\n<g transform="translate(0 {top + 6})">{"".join(names)}</g>\n</svg>\n')


def main():
    arguments = [a for a in sys.argv[1:] if a != "--check"]
    found = [pathlib.Path(a) for a in arguments] or sorted((ROOT / "experiments" / "results").glob("*/kernels_4096/results.csv"))
    if not found or not found[-1].is_file():
        sys.exit(f"{found[-1] if found else 'experiments/results/*/kernels_4096/results.csv'}: no such results")
    drawn = drawing((ROOT / "README.md").read_text(), found[-1])
    if "--check" in sys.argv[1:]:
        same = DRAWING.is_file() and DRAWING.read_text() == drawn
        print(f"{DRAWING}: {'as it should be' if same else 'not that of README.md and the results: run experiments/headline.py'}")
        return 0 if same else 1
    DRAWING.write_text(drawn)
    print(DRAWING)
    return 0


if __name__ == "__main__":
    sys.exit(main())
