#!/usr/bin/env python3
"""The paper's sparse Transformer (section VII): 3 layers, hidden 1024, 12,288 tokens; forward and training, tokens/s and peak GiB.

    python3 experiments/paper/transformer.py                 # on a GPU of its own
    python3 experiments/paper/transformer.py --small         # a miniature on the CPU: that the script works

Dense attention with all scores in memory, dense attention fused, sparse attention, and sparse attention with 90 % and 95 % sparse weights;
f32, TF32, bf16, and training steps in bf16 captured as a CUDA graph; batch 1 and 8.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from common.charts import bars, number  # noqa: E402
from paper import anchors  # noqa: E402
from paper.measure import NOT_MEASURED, PRECISIONS, Session, arguments, gib, good, rate, ratio  # noqa: E402

DENSE, SPARSE, WEIGHTS = (f"configs/paper_transformer_{name}.yaml" for name in ("dense_attention", "sparse_attention", "sparse"))
ROUTES = ("dense, materialised", "dense, fused", "sparse attention", "sparse attention, 90 % sparse weights",
          "sparse attention, 95 % sparse weights")
MATERIALISED = "model.attention.type=dense_materialised"
WEIGHTS_SPARSITY = {ROUTES[3]: 0.9, ROUTES[4]: 0.95}
CAPTURED = "bf16, captured"  # its peak is not what an eager step's is: the graph holds its memory apart
STEPS = {"f32": 4, "tf32": 6, "bf16": 6, CAPTURED: 20}  # with --budget: of bench step, which takes three times as many
SMALL = ("model.layers=1", "model.hidden=32", "model.filter=64", "model.heads=2", "data.sequence_length=64", "data.num_examples=40")


def parse():
    parser = arguments(__doc__)
    parser.add_argument("--batch", default="1,8", help="sequences in a step")
    parser.add_argument("--precision", default="", help="of f32,tf32,bf16; default: all that this build takes")
    return parser.parse_args()


def keys_of(mode):
    return (*PRECISIONS["bf16"], "training.cuda_graph=true") if mode == CAPTURED else PRECISIONS[mode]


def modes_of(what, precisions):
    """Rows of a section: training in bf16 is measured captured too."""
    return [*precisions, *([CAPTURED] if what == "training" and "bf16" in precisions else [])]


def table(session, options, what, batch, precisions, routes):
    """Measures {(route, mode): measurement}, the lowest precision first: where time is short, the rest is missing."""
    found = {}
    for mode in reversed(modes_of(what, precisions)):
        for route, (config, extra) in routes.items():
            keys = (*extra, *keys_of(mode), *(SMALL if options.small else ()))
            sparsity = WEIGHTS_SPARSITY.get(route, 0)
            name = f"{what}, batch {batch}, {mode}, {route}"
            if what == "forward":
                found[route, mode] = session.infer(name, config, keys, batch=batch, sparsity=sparsity)
            else:
                found[route, mode] = session.step(name, config, (*keys, f"training.batch_size={batch}"), sparsity=sparsity,
                                                  steps=STEPS[mode] if options.budget else None)
    return found


def torch_table(session, options, what, batch, precisions):
    """The same of PyTorch; with --budget what compiles comes last and in bf16 alone, and what has no room is not tried."""
    torch = {}
    for route in ("flash", "materialised", "compiled"):
        for precision in reversed(precisions):
            if options.budget and (route == "compiled" and precision != "bf16" or route == "materialised" and batch > 1):
                continue
            torch[route, precision] = session.torch_measure(
                f"PyTorch, {what}, batch {batch}, {precision}, {route}", "transformer", what, precision, route, str(batch))
    return torch


def anchor_cell(anchor):
    return anchor if isinstance(anchor, str) else f"{number(anchor[0])}, {anchor[1]:g} GiB" if anchor else NOT_MEASURED


def torch_cell(measurement):
    return f"{rate(measurement)}, {gib(measurement)} GiB" if good(measurement) else rate(measurement)


def section(page, what, batch, found, torch):
    page.heading(f"{what.capitalize()}, batch {batch}")
    rows, items = [], []
    for route in ROUTES:
        for group, precision in enumerate(modes_of(what, PRECISIONS)):
            m, base = found.get((route, precision)), found.get((ROUTES[0], precision))
            both = good(m) and good(base)
            idle = m.get("idle_share") if good(m) else None
            if what == "forward":
                more = [m["mode"] if good(m) else "-"]
            else:
                forward = m["phases_ms"].get("forward") if good(m) else None  # a captured step is one phase
                more = ["-" if precision == CAPTURED else NOT_MEASURED if forward is None else f"{forward:.1f}",
                        NOT_MEASURED if idle is None else f"{100 * idle:.1f} %"]
            rows.append([route, precision, rate(m), gib(m), ratio(m["items_per_s"], base["items_per_s"]) if both else NOT_MEASURED,
                         ratio(base.get("peak_bytes"), m.get("peak_bytes")) if both else NOT_MEASURED, *more])
            if good(m):
                items.append((f"{route}, {precision}", m["items_per_s"], group))
    page.table(["route", "precision", "tokens/s", "peak GiB", "over dense materialised", "less memory by",
                *(("mode",) if what == "forward" else ("of it forward, ms", "device idle"))], rows, left=2)
    rows = []
    for label, key in (("materialised", "materialised"), ("flash", "flash"), ("flash, compiled", "compiled")):
        for precision in PRECISIONS:
            mine, anchor = torch.get((key, precision)), anchors.TORCH_TRANSFORMER.get((what, precision, label, batch))
            rows.append([label, precision, anchor_cell(anchor), torch_cell(mine)])
            if good(mine) or isinstance(anchor, tuple):
                items.append((f"PyTorch {label}, {precision}" + ("" if good(mine) else " (H100)"),
                              mine["items_per_s"] if good(mine) else anchor[0], 8))
    page.table(["PyTorch, dense causal attention", "precision", f"{anchors.TORCH}: tokens/s, peak", "this run: tokens/s, peak"], rows, left=2)
    page.charts([bars(f"{what.capitalize()}, batch {batch}", "tokens/s; '(H100)': PyTorch on 2026-11-23, not this run", items, log=True)])


def main():
    options = parse()
    session = Session("transformer", options)
    routes = {ROUTES[0]: (DENSE, (MATERIALISED,)), ROUTES[1]: (DENSE, ()), ROUTES[2]: (SPARSE, ()), ROUTES[3]: (WEIGHTS, ()), ROUTES[4]: (WEIGHTS, ())}
    if options.small:
        for route, (config, extra) in routes.items():
            routes[route] = (config, extra if config == DENSE else (*extra, "model.attention.band=8"))
    precisions = [p for p in options.precision.split(",") if p] or session.precisions(DENSE, *(SMALL if options.small else ()))
    parts = [(what, batch) for what in ("training", "forward") for batch in (int(b) for b in options.batch.split(","))]
    ours = {part: table(session, options, *part, precisions, routes) for part in parts}
    page_parts = [(*part, ours[part], torch_table(session, options, *part, precisions)) for part in parts]
    page = session.page("The paper's sparse Transformer",
                        "Gale et al. 2020, section VII: decoder, vocabulary 256, 3 layers, hidden 1024, filter 4096, 8 heads, 12,288 tokens, "
                        "causal; the mask is a band of 256 and 5 % of the rest, likelier when near. Forward by `lacuna bench infer`, training "
                        "steps by `lacuna bench step` (Adam, dropouts as in the paper).")
    dense, sparse = anchors.PAPER_TRANSFORMER["dense"], anchors.PAPER_TRANSFORMER["sparse attention"]
    page.heading("The paper's figures")
    page.table(["forward, batch 1, f32", "tokens/s", "GB"],
               [[f"dense, materialised ({anchors.PAPER}, section VII)", f"{dense[0]:,}", dense[1]],
                [f"sparse attention ({anchors.PAPER}, section VII)", f"{sparse[0]:,} ({sparse[0] / dense[0]:.2f}x)",
                 f"{sparse[1]} ({dense[1] / sparse[1]:.1f}x less)"]])
    for what, batch, found, torch in sorted(page_parts, key=lambda part: part[0]):  # forward first
        section(page, what, batch, found, torch)
    return session.finish(page)


if __name__ == "__main__":
    sys.exit(main())
