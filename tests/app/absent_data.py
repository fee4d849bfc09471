"""Without the data set on the disk: what needs shapes alone works and says so, training never does.

usage: absent_data.py PATH/TO/lacuna      (in the repository's root, for its configs)
"""

import pathlib
import sys
import tempfile

from lacuna_process import lacuna, snapshot, write_config

CONFIG, DATA = 2, 3
FAILURES = []
SMALL = ["model.layers=1", "model.hidden=16", "model.filter=16", "model.heads=2", "training.batch_size=2", "device=cpu"]
MOBILENET = ["model.width=0.1", "training.batch_size=4", "device=cpu"]
FOLDER = {
    "model": "{type: mobilenet_v1, width: 0.1, stem: cifar, image_size: 16}",
    "data": "{type: image_folder, path: nowhere/at/all, image_size: 16}",
    "training": "{epochs: 2, batch_size: 4}",
    "schedule": "{type: constant}",
    "pruning": "{method: magnitude, sparsity: 0.7, begin_step: 1, end_step: 2, frequency: 1}",
}


def check(name, truth, detail=""):
    if not truth:
        FAILURES.append(f"{name}: {detail}")


def said(name, done, code, *parts):
    text = done.stderr if code else done.stdout
    check(name, done.returncode == code, f"exit code {done.returncode}, not {code}: {done.stdout[-300:]}{done.stderr[:600]}")
    for part in parts:
        check(name, part in text, f"'{part}' is not in: {text[:900]}")
    check(name, not code or len(text.strip().split("\n")) == 1, f"more than a line: {text}")


def configs_of_the_repository(binary, home):
    configs = pathlib.Path("configs").resolve()
    inference = ["--seconds", "0.01"]
    gone = "which is not there"
    for name, overrides, items in [
        ("imagenet_mobilenet_sparse", [*MOBILENET, "data.image_size=32"], "images"),
        ("cifar10_mobilenet_sparse", MOBILENET, "images"),
        ("fashion_mlp_sparse", ["device=cpu"], "images"),
        ("shakespeare_transformer_sparse", [*SMALL, "data.sequence_length=32"], "tokens"),
    ]:
        config = configs / f"{name}.yaml"
        said(f"infer {name}", lacuna(binary, "bench", "infer", config, *overrides, *inference, cwd=home), 0, gone, f"{items}/s")
        said(f"train {name}", lacuna(binary, "train", config, *overrides, cwd=home), DATA, "nothing lies at data.path", "data.path=PATH")
        said(f"step {name}", lacuna(binary, "bench", "step", config, *overrides, cwd=home), DATA, "nothing lies at", "--made-up-data")
        step = lacuna(binary, "bench", "step", config, *overrides, "--made-up-data", "--steps", "2", cwd=home)
        said(f"step {name}", step, 0, "in place of 'datasets/", "step, untimed", f"{items} per second")
        step = lacuna(binary, "bench", "step", config, *overrides, "--made-up-data", "--resident-batch", "--steps", "2", cwd=home)
        said(f"resident {name}", step, 0, "in place of 'datasets/", "step, untimed", f"{items} per second")
    plan = lacuna(binary, "plan", configs / "imagenet_mobilenet_sparse.yaml", *MOBILENET, "data.image_size=32", cwd=home)
    said("plan imagenet", plan, 0, gone, "random images 3x32x32, 1000 classes", "1281167")
    plan = lacuna(binary, "plan", configs / "fashion_mlp_sparse.yaml", "device=cpu", cwd=home)
    said("plan fashion", plan, 0, gone, "MNIST's shape", "57000")
    advice = lacuna(binary, "train", configs / "fashion_mlp_sparse.yaml", cwd=home)
    said("advice", advice, DATA, "scripts/download_data.sh fashion-mnist fetches it")
    (home / "configs").symlink_to(configs)
    sweep = lacuna(binary, "sweep", "configs/sweeps/fashion_mlp.yaml", cwd=home)
    said("sweep", sweep, DATA, "run 1 of 27", "datasets/fashion-mnist", "scripts/download_data.sh fashion-mnist")
    (home / "configs").unlink()


def what_cannot_be_known(binary, home):
    config = write_config(home / "folder.yaml", **FOLDER)
    for command in (["plan", config], ["bench", "infer", config], ["bench", "step", config, "--made-up-data"]):
        said(" ".join(map(str, command)), lacuna(binary, *command, cwd=home), CONFIG, "folder.yaml:5:8", "'model.num_classes' must be given", "nowhere/at/all")
    said("epochs", lacuna(binary, "plan", config, "model.num_classes=5", cwd=home), CONFIG, "folder.yaml:10:20", "'training.epochs' is in epochs", "give steps")
    said("steps", lacuna(binary, "plan", config, "model.num_classes=5", "training.epochs=0", "training.steps=9", cwd=home), 0, "Schedule of 9 steps")
    said("infer needs no length", lacuna(binary, "bench", "infer", config, "model.num_classes=5", "--seconds", "0.01", cwd=home), 0, "the config's shapes in place of 'nowhere/at/all', which is not there")
    # Something that is there and broken is no absent data set.
    (home / "nowhere" / "at" / "all").mkdir(parents=True)
    for command in (["plan", config], ["bench", "step", config]):
        done = lacuna(binary, *command, "model.num_classes=5", cwd=home)
        said("an empty folder", done, DATA, "nowhere/at/all/train")
        check("an empty folder", "made-up" not in done.stderr, done.stderr)


def main(binary):
    for part in (configs_of_the_repository, what_cannot_be_known):
        with tempfile.TemporaryDirectory() as folder:
            home = pathlib.Path(folder)
            part(binary, home)
            check(part.__name__, not list(home.rglob("*runs*")), f"something was written: {list(snapshot(home))}")
    print("\n".join(FAILURES) or "shapes serve where the data are absent")
    return 1 if FAILURES else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]).resolve()))
