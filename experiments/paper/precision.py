#!/usr/bin/env python3
"""Sparse training in bf16 and in TF32 against f32: both models' losses after the same steps, over three seeds.

    python3 experiments/paper/precision.py --data datasets     # a minute of one GPU
    python3 experiments/paper/precision.py --small             # on the CPU: that the script works

A small byte-level Transformer (sparse attention, 90 % sparse weights) on Shakespeare, and a small 90 % sparse MobileNetV1 on CIFAR-10; where a
data set is absent, on the pages of docs/ and on made-up images. Finished runs are skipped, stopped ones go on.
"""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from common.charts import lines  # noqa: E402
from common.page import NOT_MEASURED, Page  # noqa: E402
from common.program import INTERRUPTED, ROOT, Pool, data_directory, find_lacuna, revision, today, write_json  # noqa: E402
from common.single_runs import Run, check  # noqa: E402
from methods import results  # noqa: E402
from methods.results import compare, facts, mean_and_deviation, plus_minus  # noqa: E402
from paper.measure import arguments  # noqa: E402

PRECISIONS = {"f32": {"matmul_precision": "highest", "training.precision": "f32", "training.cuda_graph": False},
              "tf32": {"matmul_precision": "tf32", "training.precision": "f32", "training.cuda_graph": False},
              "bf16": {"training.precision": "bf16", "training.cuda_graph": True}}
LOSSES = {"test": "test loss", "train": "training loss, the last twentieth"}
STEPS = {"transformer": 300, "mobilenet": 240}


def lengths(steps, small):
    """Settings by the number of steps: pruned from a fifth to three fifths of them."""
    share = lambda x: max(1, round(x * steps))
    return {"training.epochs": 0, "training.steps": steps, "schedule.warmup_steps": share(0.1), "training.log_every": share(0.05),
            "training.eval_every": 0, "training.checkpoint_every": 0,
            "pruning": {"method": "magnitude", "sparsity": 0.9, "begin_step": share(0.2), "end_step": share(0.6), "frequency": share(0.05)},
            **({"threads": 1, "data.num_workers": 1} if small else {})}


def transformer(options, small):
    """(base config, settings, what it is trained on)."""
    path = options.data / "text" / "tinyshakespeare_input.txt"
    there = (ROOT / path).is_file()
    sizes = {"model.layers": 1, "model.hidden": 32, "model.filter": 32, "model.heads": 1, "data.sequence_length": 32,
             "training.batch_size": 2, "training.eval_batch_size": 64} if small else \
        {"model.layers": 4, "model.hidden": 256, "model.filter": 1024, "model.heads": 4, "data.sequence_length": 256,
         "training.batch_size": 32}
    attention = {"type": "band_and_random", "band": 8 if small else 32, "off_band_sparsity": 0.8, "per_head": False, "per_layer": False}
    settings = {**lengths(options.steps or STEPS["transformer"], small), **sizes, "model.attention": attention,
                "data.path": str(path) if there else "docs"}
    return "configs/shakespeare_transformer_sparse.yaml", settings, "Shakespeare" if there else "the pages of docs/ (Shakespeare is absent)"


def mobilenet(options, small):
    path = options.data / "cifar-10-batches-bin"
    there = (ROOT / path / "data_batch_1.bin").is_file()
    made_up = {"type": "synthetic", "image_size": 32, "num_classes": 10, "num_examples": 200 if small else 20000, "noise": 4,
               "valid_fraction": 0, "test_fraction": 0.1, "num_workers": 1 if small else 3, "prefetch": 8}
    settings = {**lengths(options.steps or STEPS["mobilenet"], small), "model.width": 0.25 if small else 0.5,
                "training.batch_size": 4 if small else 128, **({"training.eval_batch_size": 20} if small else {})}
    if there:
        settings.update({"data.path": str(path), **({} if small else {"data.num_workers": 3})})
    else:
        settings.pop("data.num_workers", None)
        settings["data"] = made_up
    return "configs/cifar10_mobilenet_sparse.yaml", settings, "CIFAR-10" if there else "made-up images (CIFAR-10 is absent)"


MODELS = {"transformer": transformer, "mobilenet": mobilenet}


def runs_of(options, precisions, device):
    """Seed by seed, so that what is there when time is up can be compared."""
    listed = []
    for seed in options.seeds:
        for model, settings_of in MODELS.items():
            base, settings, _ = settings_of(options, options.small)
            for precision in precisions:
                own = {**PRECISIONS[precision], **({"training.cuda_graph": False} if device == "cpu" else {})}
                listed.append(Run(base, {**settings, **own, "seed": seed, "device": device},
                                  {"model": model, "precision": precision, "seed": seed}))
    return listed


def curve_of(run, out):
    """[(step, training loss)] of a run."""
    for path in run.directory(out).glob("sweep/*/runs/**/metrics.jsonl"):
        records = [json.loads(line) for line in path.read_text().splitlines()]
        return [(r["step"], r["train_loss_nats"]) for r in records if "train_loss_nats" in r]
    return []


def collect(out, runs):
    """methods.results' records with the losses and their curve."""
    records = results.collect(out, runs)
    for run, record in zip(runs, records):
        if record["finished"]:
            curve = curve_of(run, out)
            record.update(test=record["loss_nats"], train=curve[-1][1] if curve else None, curve=curve)
    return records


def verdict_of(records, reference, loss):
    """(text, difference of the means, two standard errors): 'within noise' where the difference is no larger than those."""
    verdict, worse_by, error = compare(reference, records, loss, True)
    if error is None:
        return NOT_MEASURED if worse_by is None else "one seed: no noise to judge by", worse_by, None
    said = {"not resolved": "within noise", "holds": "WORSE than f32", "DEVIATES": "better than f32"}[verdict]
    return said, worse_by, 2 * error


def section(page, model, data, records, precisions):
    mine = {p: [r for r in records if (r["model"], r["precision"]) == (model, p) and r["finished"]] for p in precisions}
    steps = next((r["settings"]["training.steps"] for r in records if r["model"] == model), 0)
    page.heading(f"{model.capitalize()}, on {data}, {steps} steps")
    rows = []
    for loss, name in LOSSES.items():
        for precision in precisions:
            group = mine[precision]
            cells = ["reference", "-", "-"]
            if precision != "f32":
                said, worse, two_errors = verdict_of(group, mine["f32"], loss)
                cells = [said, *(NOT_MEASURED if x is None else f"{x:.5f}" for x in (worse, two_errors))]
            rows.append([name, precision, str(len(group)), plus_minus([r[loss] for r in group], 1, 5), *cells])
    page.table(["loss, nats", "precision", "seeds", "mean ± deviation", "verdict", "above f32 by", "two standard errors"], rows, left=2)
    curves = []
    for precision, group in mine.items():
        by_step = {}
        for step, loss in (point for r in group for point in r["curve"]):
            by_step.setdefault(step, []).append(loss)
        curves.append((precision, [(step, *mean_and_deviation(values)) for step, values in by_step.items()]))
    page.charts([lines(f"{model.capitalize()}: training loss", "step", "nats, mean over seeds", curves)], [name for name, _ in curves])


def page_of(out, options, records, precisions, command):
    page = Page("bf16 and TF32 against f32")
    page.text(facts(records, command))
    if options.small:
        page.text("**A miniature on the CPU** (`--small`), made to test the script. Its numbers mean nothing.")
    page.text("The same networks, 90 % sparse at the end, trained the same number of steps on the same batches, dropout and patterns of each seed; only "
              "the arithmetic differs: f32 (`matmul_precision: highest`), TF32, and bf16 with captured steps. 'Within noise': the means of the losses "
              "differ by no more than two standard errors of that difference, as the seeds' spread gives them.")
    page.notes(out / "notes.md")
    for model, settings_of in MODELS.items():
        section(page, model, settings_of(options, options.small)[2], records, precisions)
    return page


def parse():
    parser = arguments(__doc__)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--steps", type=int, help=f"of each run (default: {STEPS}; small: 20)")
    parser.add_argument("--side-by-side", type=int, default=4, help="runs at a time (default: 4; small: 2); step times then mean nothing")
    options = parser.parse_args()
    try:
        options.seeds = [int(s) for s in options.seeds.split(",")]
    except ValueError:
        parser.error(f"--seeds {options.seeds}: must be whole numbers with commas between")
    if options.side_by_side < 1:
        parser.error("--side-by-side must be at least 1")
    if options.small:
        options.steps, options.side_by_side = options.steps or 20, min(2, options.side_by_side)
    options.data = data_directory(options.data)
    return options


def main():
    options = parse()
    lacuna = find_lacuna(options.lacuna)
    out = pathlib.Path(options.out or ROOT / "runs" / ("paper-precision" + ("-small" if options.small else ""))).resolve()
    device = options.device or ("cpu" if options.small else "cuda")
    precisions = [p for p in PRECISIONS if p != "tf32" or device != "cpu"]  # a CPU computes in f32 whatever that key says
    runs = [r for r in runs_of(options, precisions, device) if not options.only or any(t in r.label() for t in options.only.split(";"))]
    slots = [{"OMP_NUM_THREADS": "1" if options.small else "4"}] * options.side_by_side
    pool = Pool(slots, options.time_limit)
    if options.dry_run:
        refused = check(runs, lacuna, out, pool)
        for run in runs:
            print(run.label())
        for run, said in refused:
            print(f"REFUSED {run.label()}: {said}")
        print(f"{len(runs)} runs, {len(refused)} refused")
        return 1 if refused else 0
    out.mkdir(parents=True, exist_ok=True)
    failed = []

    def work(run, environment):
        code = run.train(lacuna, out, pool, environment)
        if code not in (0, INTERRUPTED):
            failed.append(run)
            print(f"{run.label()}: FAILED with {code}: {run.directory(out) / 'log.txt'}", flush=True)
    pool.run([run for run in runs if run.result(out) is None], work)
    records = collect(out, runs)
    command = " ".join(["experiments/paper/precision.py", *sys.argv[1:]])
    write_json(out / "results.json", {"schema": "lacuna-precision/1", "command": command, "git": revision(), "date": today(), "runs": records})
    print(page_of(out, options, records, precisions, command).write(out).read_text())
    left = sum(not r["finished"] for r in records)
    print(f"{len(records) - left} of {len(records)} runs finished, {len(failed)} failed; {out / 'report.html'}")
    return 1 if failed else INTERRUPTED if left else 0


if __name__ == "__main__":
    sys.exit(main())
