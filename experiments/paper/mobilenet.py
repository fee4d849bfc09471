#!/usr/bin/env python3
"""MobileNetV1 (the paper's section VII): 224x224, 1000 classes, dense and 90 % sparse by width: batch 1 latency, batch 256 throughput, training.

    python3 experiments/paper/mobilenet.py                  # on a GPU of its own
    python3 experiments/paper/mobilenet.py --small          # a miniature on the CPU: that the script works
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from common.charts import lines, number  # noqa: E402
from paper import anchors  # noqa: E402
from paper.measure import PRECISIONS, Session, arguments, gib, rate  # noqa: E402

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
    sections(page, options, precisions, large, latency, throughput, steps, torch)
    return session.finish(page)


def sections(page, options, precisions, large, latency, throughput, steps, torch):
    page.heading("Batch 1 latency")
    rows, series = [], {}
    for (kind, width, precision), m in latency.items():
        paper = anchors.PAPER_MOBILENET.get((kind, width))
        anchor = anchors.TORCH_MOBILENET_LATENCY_MS.get((precision, width)) if kind == "dense" else None
        mine = torch.get(("graph", width, precision)) if kind == "dense" else None
        good = m and "error" not in m
        rows.append([f"{kind} w{width}", precision, f"{m['latency_ms']:.3f}" if good else rate(m), m["mode"] if good else "-",
                     f"{paper[0]} %, {1000 / paper[1]:.3f}" if paper else "-", f"{anchor:.3f}" if anchor else "-",
                     f"{mine['latency_ms']:.3f}" if mine and "error" not in mine else "-"])
        if good:
            series.setdefault(f"{kind}, {precision}", []).append((width, m["latency_ms"], None))
    page.table(["network", "precision", "ms", "mode", f"{anchors.PAPER}, f32 (section VII): top-1, ms", f"{anchors.TORCH}, CUDA graph: ms",
                "PyTorch, this run: ms"], rows, left=2)
    page.charts([lines("Batch 1 latency", "width", "ms, lower is better", list(series.items()), from_zero=True)], list(series))
    for title, found, what in ((f"Inference, batch {large}", throughput, "inference"), (f"Training, batch {large}", steps, "training")):
        page.heading(title)
        rows, series = [], {}
        for (kind, width, precision), m in found.items():
            anchor = anchors.TORCH_MOBILENET.get((what, precision, width)) if kind == "dense" else None
            compiled = anchors.TORCH_MOBILENET.get((what + " compiled", precision, width)) if kind == "dense" else None
            mine = torch.get((what, width, precision)) if kind == "dense" else None
            good = m and "error" not in m
            rows.append([f"{kind} w{width}", precision, rate(m), gib(m) if good else "-",
                         f"{m['data_wait_ms']:.2f}" if good and "data_wait_ms" in m else "-", number(anchor) if anchor else "-",
                         number(compiled) if compiled else "-", rate(mine)])
            if good:
                series.setdefault(f"{kind}, {precision}", []).append((width, m["items_per_s"], None))
        page.table(["network", "precision", "images/s", "peak GiB", "waiting for data, ms a step", f"{anchors.TORCH}, channels-last: images/s",
                    "... compiled", "PyTorch, this run"], rows, left=2)
        page.charts([lines(title, "width", "images/s", list(series.items()), from_zero=True)], list(series))


if __name__ == "__main__":
    sys.exit(main())
