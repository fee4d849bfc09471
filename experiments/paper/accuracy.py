#!/usr/bin/env python3
"""Accuracy beside speed, by real training on CIFAR-10 (the paper's section VII has ImageNet, ImageNet 64x64):

- images as sequences of 3,072 bytes, dense against sparse attention, and sparse weights too: bits per dimension;
- MobileNetV1, wider and 90 % sparse against narrower and dense: test accuracy.

    python3 experiments/paper/accuracy.py --gpus 0,1 --data datasets   # hours
    python3 experiments/paper/accuracy.py --budget --data datasets     # 25 minutes of one GPU at the most
    python3 experiments/paper/accuracy.py --small                      # on the CPU: that the script works

Finished runs are skipped, stopped ones go on.
"""

import os
import pathlib
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from common.charts import lines, number  # noqa: E402
from common.page import NOT_MEASURED, Page  # noqa: E402
from common.program import INTERRUPTED, ROOT, Pool, data_directory, find_lacuna, revision, write_json  # noqa: E402
from common.single_runs import Run  # noqa: E402
from methods.results import collect, facts, mean_and_deviation, plus_minus, widths_section  # noqa: E402
from methods.runs import MOBILENET_WIDTHS, experiments, runs_of  # noqa: E402
from paper import anchors  # noqa: E402
from paper.measure import arguments  # noqa: E402

ROUTES = {"dense attention": "dense_attention", "sparse attention": "sparse_attention", "sparse attention, 90 % sparse weights": "sparse"}


def byte_runs(options, seeds, device):
    """Images as bytes. A budget run is a quarter as long; what that costs is bits, alike for all."""
    steps = 3 if options.small else 2500 if options.budget else 10000
    for seed in seeds:
        for route, name in ROUTES.items():
            settings = {"seed": seed, "device": device, "data.path": f"{options.data}/cifar-10-batches-bin", "training.steps": steps,
                        "schedule.warmup_steps": max(1, steps // 20), "training.log_every": max(1, steps // 50), "training.eval_every": 0,
                        "training.eval_batches": 0 if not options.budget else 40, "training.checkpoint_every": max(1, steps // 5),
                        "training.keep_checkpoints": 1}
            if name == "sparse":
                settings.update({"pruning.begin_step": steps // 10, "pruning.end_step": max(1, steps // 2),
                                 "pruning.frequency": max(1, min(100, steps // 75))})
            if options.small:
                settings.update({"model.layers": 1, "model.hidden": 16, "model.filter": 16, "model.heads": 1, "training.batch_size": 1,
                                 "training.eval_batch_size": 1, "data.valid_fraction": 0.2, "data.num_workers": 1, "threads": 1})
                if name != "dense_attention":
                    settings["model.attention.band"] = 16
            yield Run(f"configs/cifar10_bytes_transformer_{name}.yaml", settings, {"experiment": "bytes", "route": name, "seed": seed})


def width_runs(options, seeds, device):
    (e,) = [e for e in experiments("budget" if options.budget or options.small else "full", options.data) if e.name == "widths"]
    for run in runs_of(e, device, seeds):
        if options.small:
            run.settings.update({"model.width": 0.25 * run.tags["width"], "training.steps": 2, "schedule.warmup_steps": 1,
                                 "training.batch_size": 4, "data.valid_fraction": 0.2, "data.num_workers": 1, "threads": 1,
                                 "training.checkpoint_every": 0})
            if run.tags["method"] != "dense":
                run.settings["pruning"] = {**run.settings["pruning"], "begin_step": 0, "end_step": 1, "frequency": 1}
        yield run


def made_up_cifar(directory):
    """Files in CIFAR-10's binary format with a few images of noise."""
    folder = directory / "cifar-10-batches-bin"
    folder.mkdir(parents=True, exist_ok=True)
    for number_, name in enumerate([f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]):
        records = [struct.pack("B", i % 10) + bytes((i * 131 + j * 7 + number_) % 256 for j in range(3072)) for i in range(4)]
        (folder / name).write_bytes(b"".join(records))
    return directory


def page_of(out, options, byte_records, width_records, command):
    page = Page("Accuracy beside speed")
    page.text(facts(byte_records + width_records, command))
    if options.small:
        page.text("**A miniature on made-up images** (`--small`), made to test the script. Its numbers mean nothing.")
    page.notes(out / "notes.md")
    page.heading("CIFAR-10 images as 3,072 bytes")
    bits = anchors.PAPER_TRANSFORMER_BITS
    page.text(f"The paper, ImageNet 64x64 ({anchors.PAPER}, section VII): {bits['dense']} bits per dimension dense, {bits['sparse attention']} with "
              "sparse attention. Those figures are of other images and a larger network: what compares is the difference.")
    rows, series = [], []
    for route, name in ROUTES.items():
        group = [r for r in byte_records if r["route"] == name and r["finished"]]
        if not group:
            rows.append([route, "0"] + [NOT_MEASURED] * 4)
            continue
        ms, peak = (mean_and_deviation([r[key] for r in group])[0] for key in ("step_time_ms", "peak_bytes"))
        tokens = 3072 * (1 if options.small else 8)
        rows.append([route, str(len(group)), plus_minus([r["bits_per_byte"] for r in group], 1, 4), f"{ms:.1f}", number(1000 * tokens / ms),
                     f"{peak / 2**30:.2f}"])
        series.append((route, [(ms, mean_and_deviation([r["bits_per_byte"] for r in group])[0], None)]))
    page.table(["network", "runs", "test bits per dimension", "ms a step", "tokens/s", "peak GiB"], rows)
    page.text("Step times are the run's own, the last quarter's median; they compare only where each run had its device to itself.")
    page.charts([lines("Bits per dimension against time", "ms a training step", "lower is better", series)], [name for name, _ in series])
    page.heading("MobileNetV1 on CIFAR-10: wider and sparser, narrower and dense")
    page.text(f"The paper, ImageNet, top-1 ({anchors.PAPER}, section VII): dense w1.4 {anchors.PAPER_MOBILENET['dense', 1.4][0]} %, sparse w1.8 "
              f"{anchors.PAPER_MOBILENET['sparse', 1.8][0]} %. PyTorch offers no sparse counterpart to train.")
    widths_section(page, width_records, MOBILENET_WIDTHS)
    return page


def main():
    parser = arguments(__doc__)
    parser.add_argument("--gpus", default="0", help="numbers of the GPUs, such as 0,1; one run on each at a time")
    parser.add_argument("--seeds", help="such as 1,2,3 (default; budget and small: 1)")
    options = parser.parse_args()
    options.data = data_directory(options.data)
    lacuna = find_lacuna(options.lacuna)
    out = pathlib.Path(options.out or ROOT / "runs" / ("paper-accuracy" + ("-small" if options.small else ""))).resolve()
    seeds = [int(s) for s in (options.seeds or ("1" if options.budget or options.small else "1,2,3")).split(",")]
    device = "cpu" if options.small else options.device or "cuda"
    if options.small and not options.dry_run:
        options.data = made_up_cifar(out / "made-up")
    runs = [*byte_runs(options, seeds, device), *width_runs(options, seeds, device)]
    runs.sort(key=lambda run: seeds.index(run.tags["seed"]))
    if options.dry_run:
        for run in runs:
            print(run.label())
        print(f"{len(runs)} runs")
        return 0
    slots = [{"OMP_NUM_THREADS": "1"}] if options.small else [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in options.gpus.split(",")]
    pool = Pool(slots, options.time_limit or (1500 if options.budget else None))
    wanted = lambda run: not options.only or any(part in run.label() for part in options.only.split(";"))
    left = [run for run in runs if wanted(run) and run.result(out) is None]
    started, codes = time.monotonic(), []

    def work(run, environment):
        codes.append(run.train(lacuna, out, pool, environment))
        print(f"[{time.monotonic() - started:6.0f} s] {run.label()}: ended with {codes[-1]}", flush=True)

    pool.run(left, work)
    byte_records, width_records = (collect(out, [r for r in runs if r.tags["experiment"] == name]) for name in ("bytes", "widths"))
    command = " ".join([os.path.relpath(sys.argv[0], ROOT), *sys.argv[1:]])
    write_json(out / "results.json", {"schema": "lacuna-paper-accuracy/1", "command": command, "commit": revision(),
                                      "runs": byte_records + width_records})
    print(page_of(out, options, byte_records, width_records, command).write(out).read_text())
    failed = [code for code in codes if code not in (0, INTERRUPTED)]
    return 1 if failed else INTERRUPTED if codes.count(0) < len(left) else 0


if __name__ == "__main__":
    sys.exit(main())
