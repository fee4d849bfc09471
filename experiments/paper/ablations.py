#!/usr/bin/env python3
"""Each technique of the kernels switched off, over DLMC (the paper's ablation, section VII); whole kernels switched off; attention unfused.

    python3 experiments/paper/ablations.py --data datasets
    python3 experiments/paper/ablations.py --small           # on the CPU: that the script works
"""

import math
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from common.charts import bars  # noqa: E402
from paper.kernel_runs import bench_kernels  # noqa: E402
from paper.measure import NOT_MEASURED, PRECISIONS, Session, arguments, cell, good  # noqa: E402
from paper.transformer import SMALL, WEIGHTS  # noqa: E402

WHAT = {  # contender: (what is off, the paper's name for it)
    "ablation_row_order": ("rows in their own order instead of longest first", "row swizzle load balancing"),
    "ablation_vector_loads": ("B and C at odd addresses: scalar loads and stores", "vector memory instructions"),
    "ablation_entry_alignment": ("values at odd addresses: entries read one at a time", "reverse offset memory alignment"),
    "lacuna_unfused": ("attention as SDDMM, softmax, SpMM", "-")}
STEP_SHARE = {  # with --budget: which kernels are taken from a step in which precision
    "tf32": ("spmm_panel", "spmm_tensor", "sddmm_tensor", "half_product", "fused_attention", "gemm_parts"),
    "f32": ("spmm_tensor", "sddmm_tensor", "fused_attention"),
    "bf16": ("fused_attention", "bf16_product", "token_rows", "gemm_parts")}
KERNELS = {  # names of core/kernel_set.h, for LACUNA_KERNELS_OFF
    "spmm_panel": "SpMM: panels of B in shared memory",
    "spmm_tensor": "SpMM on tensor cores at f32 accuracy",
    "sddmm_tensor": "SDDMM: tensor-core tiles with a sampling epilogue",
    "sddmm_groups": "SDDMM: eight entries a warp, whatever their rows",
    "half_product": "TF32 products by way of scaled f16 copies",
    "fused_attention": "attention in one kernel, no stored scores",
    "bf16_product": "bf16 products whose sparse operand is made dense while it is multiplied",
    "gemm_parts": "dense weights' gradients as a batch of products over pieces of the columns",
    "token_rows": "attention between its products by rows of tokens, in bf16",
    "dependent_launch": "kernels launched before the one ahead is done"}

NOT_OF_PRODUCTS = ("fused_attention", "gemm_parts", "token_rows")  # no sparse product asks for them


def problem(line):
    return line["op"], line["dtype"], line["matrix"], line["n"]


def times_of(m):
    """{problem: {contender: us}} of a run of `lacuna bench kernels`."""
    times = {}
    for line in m["lines"] if good(m) else ():
        if line["status"] == "ok" and line["median_us"]:
            times.setdefault(problem(line), {})[line["contender"]] = line["median_us"]
    return times


def technique_shares(times, reference):
    """{(op, dtype, contender): [time of the reference / time with the technique off]} over problems."""
    found = {}
    for (op, dtype, *_), of in times.items():
        whole = next((of[r] for r in reference if r in of), None)
        for contender, us in of.items():
            if contender in WHAT and whole:
                found.setdefault((op, dtype, contender), []).append(whole / us)
    return found


def kernel_shares(whole, off):
    """{(op, dtype): [time with all kernels / time without one]} over the problems whose time is known in both."""
    found = {}
    for key, of in off.items():
        if key in whole:
            found.setdefault(key[:2], []).append(whole[key]["lacuna_auto"] / of["lacuna_auto"])
    return found


def share_cells(values):
    """Number of problems, geometric mean, range."""
    if not values:
        return ["0", NOT_MEASURED, NOT_MEASURED], None
    mean = 100 * math.exp(sum(map(math.log, values)) / len(values))
    return [str(len(values)), f"{mean:.1f} %", f"{100 * min(values):.0f} to {100 * max(values):.0f} %"], mean


def techniques(page, session, products, attention):
    found = technique_shares(times_of(bench_kernels(session, "techniques", [*products, "--contenders", "ablation,lacuna"])),
                             ("ablation_none", "lacuna"))
    found.update(technique_shares(times_of(bench_kernels(session, "attention", [*attention, "--contenders", "lacuna_auto,lacuna_unfused"])),
                                  ("lacuna_auto",)))
    page.heading("Techniques")
    page.text("Speed that is left when one technique is switched off, by what the kernel is given, as a geometric mean over problems; under "
              "100 % the technique helps. The paper's own percentages are not at hand here. Of its techniques two have no counterpart that "
              "could be switched off: residue unrolling and index pre-scaling are part of how the inner loop here is written.")
    rows, items = [], []
    for contender, (what, name) in WHAT.items():
        for op, dtype in sorted({key[:2] for key in found if key[2] == contender}) or [("-", "-")]:
            cells, mean = share_cells(found.get((op, dtype, contender)))
            rows.append([op, dtype, what, name, *cells])
            items.append((f"{op}: {what}", mean, 0))
    page.table(["op", "precision", "off", "the paper's name", "problems", "speed left", "range"], rows, left=4)
    page.charts([bars("Speed left without a technique", "% of the whole kernel's", items)])


def kernels(page, session, products, names):
    run = lambda label, variables: times_of(bench_kernels(session, label, [*products, "--contenders", "lacuna_auto"], variables))
    whole = run("kernels, all on", {})
    rows, items = [], []
    for name in names:
        found = kernel_shares(whole, run(f"kernels, without {name}", {"LACUNA_KERNELS_OFF": name}))
        for op, dtype in sorted(found) or [("-", "-")]:
            cells, mean = share_cells(found.get((op, dtype)))
            rows.append([op, dtype, KERNELS.get(name, "all of these"), *cells])
            items.append((f"{op} without {name}", mean, 1))
    page.heading("Kernels")
    page.text("Speed that is left to the ops, which choose among the remaining kernels, when `LACUNA_KERNELS_OFF` takes one away "
              "(docs/kernels.md). All but groups of entries and pieces of dense gradients need a GPU of "
              "compute capability 9.0: elsewhere nothing is taken away.")
    page.table(["op", "precision", "off", "problems", "speed left", "range"], rows, left=3)
    page.charts([bars("Speed left without a kernel", "% of the op's", items)])


def steps(page, session, names, options):
    """names: {precision: kernels that are taken away, one after the other}."""
    keys = SMALL + ("model.attention.band=8",) if options.small else ()
    rows, items = [], []
    for group, (precision, listed) in enumerate(names.items()):
        whole = None
        for name in ("", *listed):
            m = session.step(f"step, {precision}, " + (f"without {name}" if name else "all on"), WEIGHTS, (*keys, *PRECISIONS[precision]),
                             5 if options.budget else None, 0.9, environment={"LACUNA_KERNELS_OFF": name} if name else {})
            whole = whole if name else m
            share = 100 * whole["step_ms"] / m["step_ms"] if good(m) and good(whole) else None
            label = f"without {KERNELS.get(name, 'all of these')}" if name else "all kernels"
            rows.append([label, precision, cell(m, "step_ms", lambda ms: f"{ms:.2f}"), NOT_MEASURED if share is None else f"{share:.1f} %"])
            if name:
                items.append((f"{precision} without {name}", share, group))
    page.heading("A training step of the paper's Transformer")
    page.text("Sparse attention, 90 % sparse weights, batch 1; the same kernels taken away.")
    page.table(["step", "precision", "ms", "speed left"], rows, left=2)
    page.charts([bars("A step's speed left without a kernel", "% of the step's", items)])


def main():
    parser = arguments(__doc__)
    parser.add_argument("--quick", action="store_true", help="at most 16 matrices")
    options = parser.parse_args()
    session = Session("ablations", options)
    quick = ["--quick"] if options.quick or options.budget else []
    if options.small:
        products = ["--op", "spmm", "--m", "48", "--sparsity", "0.8,0.9", "--n", "16", "--budget-ms", "1"]
        attention = ["--op", "attention", "--pattern", "banded", "--m", "64", "--n", "16", "--sparsity", "0.8", "--budget-ms", "1"]
    else:
        products = ["--suite", "dlmc", "--smtx", f"{options.data}/dlmc", "--op", "spmm,sddmm", "--dtype", "f32", *quick]
        attention = ["--suite", "attention", "--op", "attention", *quick, *(["--filter", "random"] if options.budget else [])]
    choices = products
    if options.budget and not options.small:  # two precisions and both directions, of few matrices
        choices = ["--suite", "square", "--m", "1024,4096", "--sparsity", "0.8,0.95", "--op", "spmm,spmm_transposed,sddmm", *quick]
    every = ",".join(KERNELS)
    names = ("spmm_panel",) if options.small else (*(name for name in KERNELS if name not in NOT_OF_PRODUCTS), every)
    in_steps = {"f32": names} if options.small else {p: (*listed, every) for p, listed in STEP_SHARE.items()} if options.budget else \
        {p: (*KERNELS, every) for p in PRECISIONS}
    if session.on_cpu:
        in_steps = {"f32": in_steps["f32"]}
    page = session.page("Ablations", "What each technique and each kernel is worth: the same work with one of them switched off.")
    techniques(page, session, products, attention)
    kernels(page, session, choices, names)
    steps(page, session, in_steps, options)
    return session.finish(page)


if __name__ == "__main__":
    sys.exit(main())
