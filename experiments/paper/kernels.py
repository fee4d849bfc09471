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
from paper.measure import NOT_MEASURED, Session, arguments, cell, good  # noqa: E402


def best(m, op, kind):
    """Microseconds of the fastest contender of a kind on the one problem measured; None where there is none."""
    return min((line["median_us"] for line in (m["lines"] if good(m) else ())
                if (line["op"], line["kind"], line["status"]) == (op, kind, "ok") and line["median_us"]), default=None)


def products(session, page, measured, small):
    """One product after another in f32: ours, the best baselines of this run, PyTorch's, and the figures of the anchors beside those."""
    us = lambda value: NOT_MEASURED if value is None else f"{value:.1f}"
    spmm, sddmm = [], []
    for size in dict.fromkeys([*measured, *anchors.PRODUCTS_US]):
        rows, columns, n, sparsity = size
        name, m, torch = f"{rows} x {columns} x {n}, {sparsity:g}", None, None
        if size in measured:
            m = bench_kernels(session, f"product {name}", ["--op", "spmm,sddmm", "--dtype", "f32", "--pattern", "cov:0.3", "--m", rows,
                                                           "--k", columns, "--n", n, "--sparsity", sparsity,
                                                           *(["--budget-ms", "1"] if small else [])])
            torch = session.torch_measure(f"PyTorch, product {name}", "product", "csr", "f32", f"{rows}x{columns}x{n}@{sparsity}", "1")
        old = anchors.PRODUCTS_US.get(size, [None] * 8)
        spmm.append([name, *(us(best(m, "spmm", kind)) for kind in ("ours", "sparse", "dense")),
                     cell(torch, "latency_ms", lambda ms: f"{1000 * ms:.1f}"), *map(us, old[:6]), us(anchors.TORCH_SPARSE_US.get(size))])
        sddmm.append([name, *(us(best(m, "sddmm", kind)) for kind in ("ours", "sparse", "dense")), *map(us, old[6:])])
    page.heading("Single products, f32, microseconds")
    page.text(f"M x K x N, sparsity; row-length variation 0.3. 'H100' columns: measured on one H100, 2026-11-23 ({anchors.TORCH} for torch.sparse), "
              "not in this run; 'the paper's' there is the authors' kernel on that H100.")
    page.table(["SpMM", "ours", "best sparse library", "dense library", "torch.sparse", "H100: cuBLAS f32", "TF32", "bf16", "best cuSPARSE",
                "the paper's f32", "f16", "torch.sparse"], spmm)
    page.table(["SDDMM", "ours", "best sparse library", "dense library", "H100: cuSPARSE", "the paper's"], sddmm)


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
    page.text(f"Best share of the f32 peak in the paper: {100 * anchors.PAPER_SHARE_OF_PEAK:.0f} %.")
    for suite, m in found.items():
        if not good(m):
            page.heading(f"Suite {suite}: {NOT_MEASURED}")
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
    products(session, page, [(48, 32, 16, 0.9)] if options.small else list(anchors.PRODUCTS_US), options.small)
    return session.finish(page)


if __name__ == "__main__":
    sys.exit(main())
