"""Every config of configs/ is taken by `lacuna plan` (on small made-up data); those of image folders train for a few steps.

usage: configs.py PATH/TO/lacuna
"""

import json
import math
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import tiny_data

ROOT = pathlib.Path(__file__).resolve().parents[2]
FAILURES = []


def check(name, truth, detail=""):
    if not truth:
        FAILURES.append(f"{name}: {detail}")


def data_overrides(text, home):
    """What puts the small data in the place of the config's."""
    kind = re.search(r"^data:\n(?:  #.*\n)*  type: (\w+)", text, re.M)[1]
    if kind == "text":
        return [f"data.path={home / 'text.txt'}"] + ([f"data.test_path={home / 'text.txt'}"] if "test_path" in text else [])
    paths = {"cifar10": home / "cifar-10-batches-bin", "cifar10_bytes": home / "cifar-10-batches-bin", "idx": home / "idx",
             "image_folder": home / "images", "image_folder_bytes": home / "images", "synthetic_tokens": None}
    classes = ["model.num_classes=0"] if "num_classes: 1000" in text else []  # the small data have fewer
    return [f"data.path={paths[kind]}", *classes] if paths[kind] else []


def lacuna(binary, *arguments, cwd=ROOT):
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": "1"}
    return subprocess.run([str(binary), *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


def plans(binary, home):
    configs = sorted((ROOT / "configs").glob("*.yaml"))
    for config in configs:
        text = config.read_text()
        check(config.name, f"name: {config.stem}\n" in text, "name and file differ")
        # Lengths in epochs would be a handful of steps on so little data.
        length = ["training.epochs=0", "training.steps=500000"] if "epochs:" in text else []
        done = lacuna(binary, "plan", config, *data_overrides(text, home), *length, "device=cpu")
        check(config.name, done.returncode == 0, f"exit code {done.returncode}: {done.stderr[:400]}")
        check(config.name, "Forward pass of one batch" in done.stdout, done.stdout[-300:])
        asked = re.search(r"^  sparsity: ([\d.]+)", text, re.M)
        if asked and "layers:\n    - include" not in text:
            reached = re.search(r"sparsity ([\d.]+) asked for, ([\d.]+) reached", done.stdout)
            check(config.name, reached and abs(float(reached[2]) - float(asked[1])) < 2e-3, f"{asked[0]}, {reached and reached[0]}")
            check(config.name, reached and abs(float(reached[1]) - float(asked[1])) < 2e-3, f"{asked[0]}, {reached and reached[0]}")
    return len(configs)


SHORT = ["device=cpu", "threads=1", "seed=3", "data.num_workers=1", "training.epochs=0", "training.steps=4", "training.log_every=1",
         "training.eval_every=0", "training.eval_batches=2", "training.checkpoint_every=0", "schedule.warmup_steps=1"]
MOBILENET = ["model.width=0.25", "data.image_size=32", "training.batch_size=8", "training.ema_decay=0"]
TRANSFORMER = ["model.layers=1", "model.hidden=16", "model.filter=32", "model.heads=2", "data.image_size=8", "training.batch_size=2",
               "training.accumulate=1"]


def trains(binary, home):
    """The ImageNet and ImageNet-64 configs, made small, on a folder of PNG files."""
    count = 0
    for config in sorted((ROOT / "configs").glob("imagenet*.yaml")):
        text = config.read_text()
        keys = [*SHORT, *data_overrides(text, home), f"output_dir={home / 'runs'}"]
        keys += MOBILENET if "mobilenet" in config.name else TRANSFORMER
        if "band_and_random" in text:
            keys.append("model.attention.band=16")
        if "pruning:" in text:
            keys += ["pruning.begin_step=0", "pruning.end_step=2", "pruning.frequency=1"]
        done = lacuna(binary, "train", config, *keys)
        check(config.name, done.returncode == 0, f"exit code {done.returncode}: {done.stderr[:400]}")
        runs = list((home / "runs" / config.stem).glob("*/metrics.jsonl"))
        if not runs:
            continue
        records = [json.loads(line) for line in runs[0].read_text().splitlines()]
        losses = [r["train_loss_nats"] for r in records if "train_loss_nats" in r]
        check(config.name, len(losses) == 4 and all(math.isfinite(x) for x in losses), f"losses {losses}; {sorted(records[0])}")
        if "pruning:" in text:
            check(config.name, any(abs((r.get("sparsity") or 0) - 0.9) < 0.02 for r in records), "never 90 % sparse")
        count += 1
    return count


def main():
    binary = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as directory:
        home = pathlib.Path(directory)
        tiny_data.image_folder(home / "images")
        tiny_data.cifar(home)
        tiny_data.idx(home / "idx")
        tiny_data.text(home / "text.txt")
        planned, trained = plans(binary, home), trains(binary, home)
    print("\n".join(FAILURES))
    print(f"{planned} configs planned, {trained} trained on image folders, {len(FAILURES)} failures")
    return 1 if FAILURES or planned < 20 or trained < 5 else 0


if __name__ == "__main__":
    sys.exit(main())
