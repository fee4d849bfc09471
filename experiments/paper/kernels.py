#!/usr/bin/env python3
"""Kernels over the Deep Learning Matrix Collection (the paper's sections V to VII), through `lacuna bench kernels`.

    python3 experiments/paper/kernels.py --data datasets     # datasets/dlmc/<model>/<method>/<sparsity>/*.smtx
    python3 experiments/paper/kernels.py --small             # three made-up matrices on the CPU: that the script works
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from common.charts import lines  # noqa: E402
from paper import anchors  # noqa: E402
from paper.kernel_runs import bench_kernels, ratios_table  # noqa: E402
from paper.measure import Session, arguments  # noqa: E402


def main():
    parser = arguments(__doc__)
    parser.add_argument("--suite", default="dlmc,rnn,attention", help="of dlmc, rnn, square, attention")
    parser.add_argument("--dtype", default="", help="f32,tf32,bf16 (default: the suite's)")
    parser.add_argument("--quick", action="store_true", help="at most 16 matrices of a suite")
    options = parser.parse_args()
    session = Session("kernels", options)
    found = {}
    for suite in (["small"] if options.small else options.suite.split(",")):
        what = ["--op", "spmm,sddmm", "--m", "32,48", "--sparsity", "0.8,0.9", "--n", "16", "--budget-ms", "1"] if options.small else \
            ["--suite", suite, *(["--smtx", f"{options.data}/dlmc"] if suite == "dlmc" else [])]
        what += (["--dtype", options.dtype] if options.dtype else []) + (["--quick"] if options.quick else [])
        found[suite] = bench_kernels(session, suite, what)
    page = session.page("Kernels over the matrices of deep learning",
                        "Each ratio is a baseline's time over ours on the same problem in the same run, as a geometric mean over problems; "
                        "results are checked against f64 before they are timed. docs/benchmarks.md says how.")
    page.heading("The paper's figures")
    page.table(["kernel, f32", "geometric mean over cuSPARSE (2020)", "peak"],
               [[f"{op.upper()} ({anchors.PAPER}, section VII)", f"{mean}x", f"{peak}x"]
                for op, (mean, peak) in anchors.PAPER_KERNELS.items()])
    page.text(f"Best share of the f32 peak in the paper: {100 * anchors.PAPER_SHARE_OF_PEAK:.0f} %. PyTorch's `torch.sparse` CSR "
              f"product at 4096^3, 90 %: 3,486 us ({anchors.TORCH}); it calls cuSPARSE, which is among the baselines.")
    for suite, m in found.items():
        if not m or "error" in m:
            continue
        page.heading(f"Suite {suite}: {m['problems']} problems, {m['failed']} failed checks")
        ratios_table(page, m["comparisons"])
        charts = {}
        for c in m["comparisons"]:
            points = [(100 * b["mean_sparsity"], b["geometric_mean"], None) for b in c["by_sparsity"] if b["geometric_mean"]]
            charts.setdefault((c["op"], c["dtype"]), []).append((f"{c['ours']} over {c['baseline']}", points))
        for (op, dtype), series in charts.items():
            page.charts([lines(f"{op}, {dtype}: baseline / ours", "sparsity, %", "above 1: ours is faster", series, [("equal", 1.0)],
                               log_y=True)], [name for name, _ in series])
    return session.finish(page)


if __name__ == "__main__":
    sys.exit(main())
