#!/usr/bin/env python3
"""MobileNetV1 (the paper's section VII), 224x224, dense and 90 % sparse by width: batch 1 latency, batch 256 throughput, training.

    python3 experiments/paper/mobilenet.py                  # on a GPU of its own
    python3 experiments/paper/mobilenet.py --small          # a miniature on the CPU: that the script works
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from common.charts import lines, number  # noqa: E402
from paper import anchors  # noqa: E402
from paper.measure import NOT_MEASURED, PRECISIONS, Session, arguments, cell, gib, good, rate  # noqa: E402

CONFIG = "configs/imagenet_mobilenet_sparse.yaml"  # --sparsity 0 makes the dense twin
WIDTHS = {"dense": (1.0, 1.2, 1.4, 1.8), "sparse": (1.0, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8)}
TRAINED = (1.0, 1.4, 1.8)
CAPTURED = ("training.cuda_graph=true",)


def shape(options):
    return ("model.num_classes=10", "model.image_size=32", "data.image_size=32") if options.small else \
        ("model.num_classes=1000", "model.image_size=224")


def training_keys(options, batch):
    """Training without ImageNet: on made-up images of its shape, one batch of which stays on the device."""
    side, classes = (32, 10) if options.small else (224, 1000)
    return (f"data={{type: image_folder, path: absent, image_size: {side}, num_workers: {1 if options.small else 14}, prefetch: 8}}",
            "training.epochs=0", "training.steps=400000", f"training.batch_size={batch}", f"model.num_classes={classes}")


def networks(widths, only=None):
    return [(kind, w, p) for p in PRECISIONS for kind, listed in widths.items() for w in listed if only is None or w in only]


class Measured:
    """{(kind, width, precision): measurement} of each section. Inference of both kinds of a width comes from one run, in turns."""

    def __init__(self, session, options, widths, trained, large):
        self.session, self.options, self.widths, self.trained, self.large = session, options, widths, trained, large
        self.latency, self.throughput, self.steps, self.torch = {}, {}, {}, {}

    def infer(self, found, batch, width, precision):
        name = f"batch {batch}, w{width}, {precision}"
        m = self.session.infer(name, CONFIG, (f"model.width={width}", *PRECISIONS[precision], *shape(self.options)), batch, 0.9, "weights")
        found["sparse", width, precision] = m
        found["dense", width, precision] = self.session.dense_twin_of(name, m) if good(m) else m

    def inference(self, precision):
        every = sorted({w for listed in self.widths.values() for w in listed})
        for width in every:
            self.infer(self.latency, 1, width, precision)
        for width in (w for w in every if not self.options.budget or w in self.trained):
            self.infer(self.throughput, self.large, width, precision)

    def training(self, precision):
        captured = () if self.session.on_cpu else CAPTURED
        for width in self.trained:
            for kind, sparsity in (("dense", 0), ("sparse", 0.9)):
                keys = (f"model.width={width}", *PRECISIONS[precision], *captured, *training_keys(self.options, self.large))
                self.steps[kind, width, precision] = self.session.step(f"training, {kind} w{width}, {precision}", CONFIG, keys,
                                                                       10 if self.options.budget else None, sparsity, resident=True)

    def pytorch(self, what, precision):
        for width in (() if self.options.small else self.trained):
            if self.options.budget and what == "training-compiled" and width != 1.0:
                continue
            self.torch[what, width, precision] = self.session.torch_measure(
                f"PyTorch, {what}, w{width}, {precision}", "mobilenet", what, precision, str(width), str(1 if what == "graph" else self.large))


def main():
    parser = arguments(__doc__)
    parser.add_argument("--precision", default="", help="of f32,tf32,bf16; default: all that this build takes")
    options = parser.parse_args()
    session = Session("mobilenet", options)
    widths = {"dense": (0.25, 0.5), "sparse": (0.25, 0.5)} if options.small else WIDTHS
    trained = (0.25,) if options.small else TRAINED
    large = 4 if options.small else 256
    precisions = [p for p in options.precision.split(",") if p] or session.precisions(CONFIG, *training_keys(options, large))
    measured = Measured(session, options, widths, trained, large)
    for precision in precisions[::-1]:
        measured.training(precision)
    for precision in [p for p in ("tf32", "f32", "bf16") if p in precisions]:
        measured.inference(precision)
    for what in ("graph", "training", "inference", "training-compiled"):
        for precision in precisions[::-1]:
            measured.pytorch(what, precision)
    page = session.page("MobileNetV1, dense and 90 % sparse", "Gale et al. 2020, section VII: the stem, every depthwise, the first pointwise "
                        "and the classifier dense, the other 12 pointwise convolutions 90 % sparse; batch norm folded. "
                        "Inference by `lacuna bench infer`, both networks of a width in turns in one run; training by `lacuna bench step`, captured, on "
                        "one made-up batch that stays on the device: what the data cost is left out. Accuracy: accuracy.py.")
    paper_section(page)
    latency_section(page, networks(widths), measured.latency, measured.torch)
    throughput_section(page, f"Inference, batch {large}", "inference", networks(widths), measured.throughput, measured.torch)
    throughput_section(page, f"Training, batch {large}", "training", networks(widths, trained), measured.steps, measured.torch)
    return session.finish(page)


def milliseconds(measurement):
    return cell(measurement, "latency_ms", lambda ms: f"{ms:.3f}")


def paper_section(page):
    page.heading("The paper's figures")
    page.table([f"{anchors.PAPER}, f32, batch 1 (section VII)", "ImageNet top-1", "frames/s", "ms"],
               [[f"{kind} w{width}", f"{top} %", f"{frames:,}", f"{1000 / frames:.3f}"]
                for (kind, width), (top, frames) in anchors.PAPER_MOBILENET.items()])


def latency_section(page, widths, latency, torch):
    """PyTorch has only dense networks to time: '-' beside the sparse ones."""
    page.heading("Batch 1 latency")
    rows, series = [], {}
    for kind, width, precision in widths:
        m, anchor = latency.get((kind, width, precision)), anchors.TORCH_MOBILENET_LATENCY_MS.get((precision, width))
        theirs = [f"{anchor:.3f}" if anchor else NOT_MEASURED, milliseconds(torch.get(("graph", width, precision)))]
        rows.append([f"{kind} w{width}", precision, milliseconds(m), m["mode"] if good(m) else "-",
                     *(theirs if kind == "dense" else ["-", "-"])])
        if good(m):
            series.setdefault(f"{kind}, {precision}", []).append((width, m["latency_ms"], None))
    page.table(["network", "precision", "ms", "mode", f"{anchors.TORCH}, CUDA graph: ms", "PyTorch, this run: ms"], rows, left=2)
    page.charts([lines("Batch 1 latency", "width", "ms, lower is better", list(series.items()), from_zero=True)], list(series))


def throughput_section(page, title, what, widths, found, torch):
    page.heading(title)
    rows, series = [], {}
    for kind, width, precision in widths:
        m = found.get((kind, width, precision))
        anchored = [anchors.TORCH_MOBILENET.get((name, precision, width)) for name in (what, what + " compiled")]
        theirs = [*(number(a) if a else NOT_MEASURED for a in anchored),
                  *(rate(torch.get((name, width, precision))) for name in (what, what + "-compiled"))]
        idle = cell(m, "idle_share", lambda share: f"{100 * share:.1f} %") if what == "training" else "-"
        rows.append([f"{kind} w{width}", precision, rate(m), gib(m), idle, *(theirs if kind == "dense" else ["-"] * 4)])
        if good(m):
            series.setdefault(f"{kind}, {precision}", []).append((width, m["items_per_s"], None))
    page.table(["network", "precision", "images/s", "peak GiB", "device idle", f"{anchors.TORCH}, channels-last: images/s",
                "... compiled", "PyTorch, this run", "... compiled"], rows, left=2)
    page.charts([lines(title, "width", "images/s", list(series.items()), from_zero=True)], list(series))


if __name__ == "__main__":
    sys.exit(main())
