#!/usr/bin/env python3
"""Each technique of the SpMM and SDDMM kernels switched off, over DLMC (the paper's ablation, section VII), and attention unfused.

    python3 experiments/paper/ablations.py --data datasets
    python3 experiments/paper/ablations.py --small           # on the CPU: that the script works
"""

import math
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from common.charts import bars  # noqa: E402
from paper.kernel_runs import bench_kernels  # noqa: E402
from paper.measure import Session, arguments  # noqa: E402

WHAT = {  # contender: (what is off, the paper's name for it)
    "ablation_row_order": ("rows in their own order instead of longest first", "row swizzle load balancing"),
    "ablation_vector_loads": ("B and C at odd addresses: scalar loads and stores", "vector memory instructions"),
    "ablation_entry_alignment": ("values at odd addresses: entries read one at a time", "reverse offset memory alignment"),
    "lacuna_unfused": ("attention as SDDMM, softmax, SpMM", "- (not in the paper)")}


def shares(lines, reference):
    """{(op, dtype, contender): [time of the reference / time with the technique off]} over problems."""
    times = {}
    for line in lines:
        if line["status"] == "ok" and line["median_us"]:
            times.setdefault((line["op"], line["dtype"], line["matrix"], line["n"]), {})[line["contender"]] = line["median_us"]
    found = {}
    for (op, dtype, *_), of in times.items():
        whole = next((of[r] for r in reference if r in of), None)
        for contender, us in of.items():
            if contender in WHAT and whole:
                found.setdefault((op, dtype, contender), []).append(whole / us)
    return found


def main():
    parser = arguments(__doc__)
    parser.add_argument("--quick", action="store_true", help="at most 16 matrices")
    options = parser.parse_args()
    session = Session("ablations", options)
    quick = ["--quick"] if options.quick else []
    if options.small:
        products = ["--op", "spmm", "--m", "48", "--sparsity", "0.8,0.9", "--n", "16", "--budget-ms", "1"]
        attention = ["--op", "attention", "--pattern", "banded", "--m", "64", "--n", "16", "--sparsity", "0.8", "--budget-ms", "1"]
    else:
        products = ["--suite", "dlmc", "--smtx", f"{options.data}/dlmc", "--op", "spmm,sddmm", "--dtype", "f32", *quick]
        attention = ["--suite", "attention", "--op", "attention", *quick]
    found = {}
    m = bench_kernels(session, "products", [*products, "--contenders", "ablation,lacuna"])
    if m and "error" not in m:
        found.update(shares(m["lines"], ("ablation_none", "lacuna")))
    m = bench_kernels(session, "attention", [*attention, "--contenders", "lacuna_auto,lacuna_unfused"])
    if m and "error" not in m:
        found.update(shares(m["lines"], ("lacuna_auto",)))
    page = session.page("Ablations", "Speed that is left when one technique is switched off, by what the kernel is given, as a geometric mean "
                        "over problems; under 100 % the technique helps.")
    page.text("Of the paper's techniques two have no counterpart that could be switched off: residue unrolling and index pre-scaling are "
              "part of how the inner loop here is written. On CPUs the row order and alignment play no part, and all shares are about 100 %.")
    rows, items = [], []
    for (op, dtype, contender), values in sorted(found.items()):
        mean = math.exp(sum(map(math.log, values)) / len(values))
        rows.append([op, dtype, WHAT[contender][0], WHAT[contender][1], str(len(values)), f"{100 * mean:.1f} %",
                     f"{100 * min(values):.0f} to {100 * max(values):.0f} %"])
        items.append((f"{op}: {WHAT[contender][0]}", 100 * mean, 0))
    page.table(["op", "precision", "off", "the paper's name", "problems", "speed left", "range"], rows, left=4)
    page.charts([bars("Speed left", "% of the whole kernel's", items)])
    return session.finish(page)


if __name__ == "__main__":
    sys.exit(main())
