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


def shape(options):
    return ("model.num_classes=10", "model.image_size=32", "data.image_size=32") if options.small else \
        ("model.num_classes=1000", "model.image_size=224")


def made_up_images(options):
    """Training without ImageNet: images of its size that are made as they are needed. Waiting for them is reported apart."""
    side, classes, count = (32, 10, 64) if options.small else (224, 1000, 2048)
    return (f"data={{type: synthetic, image_size: {side}, num_classes: {classes}, num_examples: {count}, noise: 0.1, valid_fraction: 0, "
            f"test_fraction: 0, num_workers: {1 if options.small else 14}, prefetch: 8}}", "training.epochs=0")


def networks(widths, only=None):
    return [(kind, w, p) for p in PRECISIONS for kind, listed in widths.items() for w in listed if only is None or w in only]


def main():
    options = arguments(__doc__).parse_args()
    session = Session("mobilenet", options)
    widths = {"dense": (0.25,), "sparse": (0.25, 0.5)} if options.small else WIDTHS
    trained = (0.25,) if options.small else TRAINED
    large = 4 if options.small else 256
    training = (*made_up_images(options), f"training.batch_size={large}", f"model.num_classes={10 if options.small else 1000}")
    precisions = session.precisions(CONFIG, *training, "training.steps=400000")
    sparsity = {"dense": 0, "sparse": 0.9}
    latency, throughput, steps, torch = {}, {}, {}, {}
    for precision in precisions:
        keys = PRECISIONS[precision]
        for kind, listed in widths.items():
            for width in listed:
                wide = (f"model.width={width}", *keys)
                label = f"{kind} w{width}, {precision}"
                latency[kind, width, precision] = session.infer(f"batch 1, {label}", CONFIG, (*wide, *shape(options)), 1, sparsity[kind])
                throughput[kind, width, precision] = session.infer(f"batch {large}, {label}", CONFIG, (*wide, *shape(options)), large,
                                                                   sparsity[kind])
                if width in trained:
                    steps[kind, width, precision] = session.step(f"training, {label}", CONFIG, (*wide, *training, "training.steps=400000"),
                                                                 sparsity=sparsity[kind])
        for width in (() if options.small else trained):
            for what, batch in (("graph", 1), ("inference", large), ("training", large), ("training-compiled", large)):
                torch[what, width, precision] = session.torch_measure(f"PyTorch, {what}, w{width}, {precision}", "mobilenet", what, precision,
                                                                      str(width), str(batch))
    page = session.page("MobileNetV1, dense and 90 % sparse", "Gale et al. 2020, section VII: the stem, every depthwise, the first pointwise "
                        "and the classifier dense, the other 12 pointwise convolutions 90 % sparse; batch norm folded. "
                        "Inference by `lacuna bench infer`, training by `lacuna bench step` on made-up images. Accuracy: accuracy.py.")
    paper_section(page)
    latency_section(page, networks(widths), latency, torch)
    throughput_section(page, f"Inference, batch {large}", "inference", networks(widths), throughput, torch)
    throughput_section(page, f"Training, batch {large}", "training", networks(widths, trained), steps, torch)
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
        waited = cell(m, "data_wait_ms", lambda ms: f"{ms:.2f}") if what == "training" else "-"
        rows.append([f"{kind} w{width}", precision, rate(m), gib(m), waited, *(theirs if kind == "dense" else ["-"] * 4)])
        if good(m):
            series.setdefault(f"{kind}, {precision}", []).append((width, m["items_per_s"], None))
    page.table(["network", "precision", "images/s", "peak GiB", "waiting for data, ms a step", f"{anchors.TORCH}, channels-last: images/s",
                "... compiled", "PyTorch, this run", "... compiled"], rows, left=2)
    page.charts([lines(title, "width", "images/s", list(series.items()), from_zero=True)], list(series))


if __name__ == "__main__":
    sys.exit(main())
