"""`lacuna sweep` with the real program: a grid end to end, interrupted and resumed, with a run that fails, and broken files.

usage: sweep.py PATH/TO/lacuna
"""

import csv
import json
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree

from lacuna_process import environment, lacuna, snapshot

BASE = """name: base
device: cpu
threads: 1
model: {type: mlp, hidden: [24]}
data: {type: synthetic, num_examples: 64, image_size: 8, valid_fraction: 0.2, test_fraction: 0.2}
optimizer: {type: adam, lr: 0.003}
pruning:
  method: magnitude
  sparsity: 0.5
  begin_step: 2
  end_step: 20
  frequency: 4
training: {steps: 30, batch_size: 8, log_every: 5, checkpoint_every: 5}
"""

SWEEP = """name: tiny
base: base.yaml
grid:
  pruning.method: [magnitude, random]
  pruning.sparsity: [0.8, 0.9]
  seed: [1, 2]
also:
  - {pruning.method: none}
"""

# What is wrong, the file, and what must be said: where, and why.
BROKEN = [
    ("unknown key of the sweep", SWEEP.replace("grid:", "gird:"), ["s.yaml:3:1: unknown key 'gird' (did you mean 'grid'?)"]),
    ("no grid", "name: x\nbase: base.yaml\n", ["key 'grid' is required"]),
    ("no base", SWEEP.replace("base: base.yaml\n", ""), ["'base'", "required"]),
    ("base is absent", SWEEP.replace("base.yaml", "elsewhere.yaml"), ["s.yaml:2:7:", "elsewhere.yaml"]),
    ("no name", SWEEP.replace("name: tiny\n", ""), ["'name'", "required"]),
    ("name is a path", SWEEP.replace("tiny", "../tiny"), ["s.yaml:1:7: 'name' must be at most 100 letters"]),
    ("grid is empty", "name: x\nbase: base.yaml\ngrid: {}\n", ["s.yaml:3:7: 'grid' must be a section", "an empty one"]),
    ("grid is a list", "name: x\nbase: base.yaml\ngrid: [1]\n", ["s.yaml:3:7: 'grid' must be a section", "a list"]),
    ("a single value", SWEEP.replace("[1, 2]", "3"), ["s.yaml:6:9: 'seed' in 'grid' must be a list of values, got '3' (write [x])"]),
    ("no values", SWEEP.replace("[1, 2]", "[]"), ["s.yaml:6:9: 'seed' in 'grid' has no values"]),
    ("a value twice", SWEEP.replace("[1, 2]", "[1, 2, 1]"), ["s.yaml:6:16: 'seed' in 'grid' has the value 1 a second time"]),
    ("a key twice", SWEEP.replace("also:", "  seed: [3]\nalso:"), ["s.yaml:7:3: key 'seed' stands in 'grid' a second time"]),
    ("a section in the grid", SWEEP.replace("  seed: [1, 2]", "  training: {steps: [10]}"), ["s.yaml:6:13: 'training' in 'grid' must be a list", "training.steps: [...]"]),
    ("unknown key of the config", SWEEP.replace("pruning.sparsity", "pruning.sparsty"), ["s.yaml:5:3: unknown key 'sparsty' in 'pruning' (did you mean 'sparsity'?)"]),
    ("unknown section", SWEEP.replace("pruning.sparsity", "prunning.sparsity"), ["s.yaml:5:3: unknown key 'prunning'"]),
    ("a key inside a value", SWEEP.replace("seed:", "seed.x:"), ["s.yaml:6"]),
    ("a value out of range", SWEEP.replace("0.9]", "90]"), ["s.yaml:5:27: 'pruning.sparsity' must be in [0, 1), got '90'"]),
    ("a value of another type", SWEEP.replace("[1, 2]", "[1, two]"), ["s.yaml:6:13: 'seed' must be an integer"]),
    ("a word that is no method", SWEEP.replace("random]", "randum]"), ["s.yaml:4:31: 'pruning.method' must be one of"]),
    ("values that contradict the base", SWEEP.replace("pruning.sparsity: [0.8, 0.9]", "training.steps: [30, 10]"), ["s.yaml:", "'pruning.end_step' must be at most 'training.steps' (10)"]),
    ("the sweep's own keys", SWEEP.replace("  seed:", "  name: [a]\n  seed:"), ["s.yaml:6:3: 'name' in 'grid': the sweep gives each run its own"]),
    ("also is no list", SWEEP.replace("  - {pruning.method: none}", "  pruning.method: none"), ["s.yaml:8:3: 'also' must be a list of sections"]),
    ("also with an unknown key", SWEEP.replace("{pruning.method: none}", "{pruning.methods: none}"), ["s.yaml:8:6: unknown key 'methods'"]),
    ("a grid past all bounds", SWEEP.replace("[1, 2]", str(list(range(600)))), ["s.yaml:6:3: the grid has more than 1000 runs"]),
    ("not YAML", SWEEP.replace("[1, 2]", "[1, 2"), ["s.yaml:"]),
    ("empty", "# nothing\n", ["s.yaml"]),
]


class Check:
    def __init__(self):
        self.count, self.failures = 0, []

    def that(self, name, truth, detail=""):
        self.count += 1
        if not truth:
            self.failures.append(f"{name}: {detail}")
        return truth


def home_with(root, name, sweep=SWEEP, base=BASE):
    home = root / name
    home.mkdir()
    (home / "base.yaml").write_text(base)
    (home / "s.yaml").write_text(sweep)
    return home


def sweep_directory(home):
    (only,) = home.glob("runs/sweeps/tiny/*")
    return only


def charts(html):
    """Each outermost <svg> of a page, as parsed XML: one that is not well-formed raises."""
    found, begin, depth = [], 0, 0
    for tag in re.finditer(r"<svg\b|</svg>", html):
        if tag[0] == "<svg":
            begin = tag.start() if depth == 0 else begin
            depth += 1
        else:
            depth -= 1
            if depth == 0:
                found.append(ElementTree.fromstring(html[begin : tag.end()]))
    assert depth == 0
    return found


def titles(html):
    return [node.text for svg in charts(html) for node in svg.iter() if node.get("class") == "title"]


def check_page(check, name, html, expected):
    for outside in ("http:", "https:", "<script", "<link", "<img", "url("):
        check.that(name, outside not in html, f"{outside} in the page")
    found = titles(html)
    for title in expected:
        check.that(name, title in found, f"no chart '{title}' among {found}")


def end_to_end(check, binary, root):
    home = home_with(root, "whole")
    done = lacuna(binary, "sweep", "s.yaml", cwd=home)
    check.that("whole", done.returncode == 0, f"exit code {done.returncode}: {done.stderr[-500:]}")
    directory = sweep_directory(home)
    summary = json.loads((directory / "summary.json").read_text())
    runs, groups = summary["runs"], summary["groups"]
    check.that("whole", len(runs) == 10 and len(groups) == 5, f"{len(runs)} runs, {len(groups)} groups")
    check.that("whole", [r["status"] for r in runs] == ["finished"] * 10, str([r["status"] for r in runs]))
    check.that("order", [r["settings"]["seed"] for r in runs[:4]] == ["1", "2", "1", "2"], "the last key varies fastest")
    check.that("order", "pruning.sparsity" not in runs[8]["settings"] and runs[9]["settings"]["seed"] == "2", str(runs[8:]))
    for group in groups:
        mine = [r for r in runs if {k: v for k, v in r["settings"].items() if k != "seed"} == group["settings"]]
        for key in ("accuracy", "loss_nats", "step_time_ms", "forward_flops_per_example"):
            values = [r[key] for r in mine]
            check.that("mean", abs(group[key]["mean"] - statistics.mean(values)) <= 1e-9 * max(values), f"{key}: {group[key]} of {values}")
            check.that("std", abs(group[key]["std"] - statistics.stdev(values)) <= 1e-6 * max(values), f"{key}: {group[key]} of {values}")
    sparsities = [round(r["sparsity"], 2) for r in runs]
    check.that("sparsity", sparsities == [0.8, 0.8, 0.9, 0.9] * 2 + [0, 0], str(sparsities))
    check.that("flops", runs[0]["forward_flops_per_example"] < runs[8]["forward_flops_per_example"] == runs[0]["dense_forward_flops_per_example"], str(runs[0]))
    check.that("bytes", runs[2]["state_bytes"] < runs[0]["state_bytes"] < runs[8]["state_bytes"], str(runs[0]))
    check.that("seeds", runs[0]["loss_nats"] != runs[1]["loss_nats"], "two seeds with one loss")
    rows = list(csv.DictReader((directory / "summary.csv").open()))
    check.that("csv", len(rows) == 5 and rows[0]["pruning.method"] == "magnitude" and rows[0]["num_finished"] == "2", str(rows[:1]))
    check.that("csv", abs(float(rows[0]["loss_nats_mean"]) - groups[0]["loss_nats"]["mean"]) < 1e-6, str(rows[0]))
    check.that("csv", len(list(csv.DictReader((directory / "runs.csv").open()))) == 10)
    check.that("table", re.search(r"magnitude +0.8 +2 +[\d.]+ \+- [\d.]+ % +80.0 %", done.stdout), done.stdout[-1500:])

    page = (directory / "report.html").read_text()
    check_page(check, "sweep page", page, ["Accuracy", "Accuracy by cost", "Effective FLOPs", "Bytes", "Step time"])
    for run in runs:
        check.that("links", f'href="{run["directory"]}/report.html"' in page and (directory / run["directory"] / "report.html").is_file(), run["directory"])
    run_page = (directory / runs[0]["directory"] / "report.html").read_text()
    check_page(check, "run page", run_page, ["Sparsity by layer", "Dropped by layer", "FLOPs by layer", "Churn", "Effective FLOPs", "layers.0.weight"])

    # Each run by itself gives the same numbers.
    alone = lacuna(binary, "train", "base.yaml", "pruning.method=random", "pruning.sparsity=0.9", "seed=2", cwd=home)
    line = next(text for text in reversed(alone.stdout.splitlines()) if text.startswith("test:"))
    check.that("alone", line == f"test: {100 * runs[7]['accuracy']:.2f} % accuracy", f"{line}, in the sweep {runs[7]['accuracy']}")

    # A second start is a second sweep; resuming one that is done runs nothing and changes no result.
    before = {k: v for k, v in snapshot(directory).items() if k not in ("report.html",)}
    again = lacuna(binary, "sweep", "--resume", directory.relative_to(home), cwd=home)
    after = {k: v for k, v in snapshot(directory).items() if k not in ("report.html",)}
    check.that("done before", again.returncode == 0 and again.stdout.count("finished before") == 10, again.stdout[-400:])
    check.that("done before", before == after, str({k for k in before if before[k] != after.get(k)}))
    second = lacuna(binary, "sweep", "s.yaml", "training.steps=21", cwd=home)
    check.that("fresh", second.returncode == 0 and len(list(home.glob("runs/sweeps/tiny/*"))) == 2, second.stderr[-300:])
    check.that("fresh", {k: v for k, v in snapshot(directory).items() if k not in ("report.html",)} == after, "the first sweep changed")


def interrupted(check, binary, root):
    """Stopped by SIGTERM and killed by SIGKILL along the way, then resumed until it is done: the numbers of one left alone."""
    long = BASE.replace("steps: 30", "steps: 400")  # so that signals come in time
    home = home_with(root, "left alone", base=long)
    lacuna(binary, "sweep", "s.yaml", cwd=home)
    reference = json.loads((sweep_directory(home) / "summary.json").read_text())["runs"]
    home = home_with(root, "interrupted", base=long)
    command = [str(binary), "sweep", "s.yaml"]
    stops = 0
    for number, after in ((signal.SIGTERM, 5), (signal.SIGKILL, 100), (signal.SIGTERM, 30), (signal.SIGKILL, 5)):
        process = subprocess.Popen(command, cwd=home, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        seen = 0
        for line in process.stdout:
            seen += line.startswith("step ")
            if seen == after:
                process.send_signal(number)
                break
        rest = process.stdout.read()
        code = process.wait()
        stops += code in (75, -9, 128 + 15, -15)
        if number == signal.SIGTERM and code == 75:
            check.that("hint", "lacuna sweep --resume" in rest, rest[-300:])
        if not list(home.glob("runs/sweeps/tiny/*/overrides.json")):
            continue
        command = [str(binary), "sweep", "--resume", str(sweep_directory(home).relative_to(home))]
    check.that("interrupted", stops >= 3, f"{stops} of 4 stops were in time")
    done = subprocess.run(command, cwd=home, env=environment(), capture_output=True, text=True, timeout=120)
    check.that("interrupted", done.returncode == 0, f"exit code {done.returncode}: {done.stderr[-500:]}")
    runs = json.loads((sweep_directory(home) / "summary.json").read_text())["runs"]
    for mine, theirs in zip(runs, reference):
        for key in ("run", "settings", "status", "accuracy", "loss_nats", "sparsity", "forward_flops_per_example", "state_bytes"):
            check.that("interrupted", mine[key] == theirs[key], f"{mine['run']}: {key} {mine[key]}, not {theirs[key]}")
    check.that("interrupted", all(run["step_time_ms"] for run in runs), "a run without step time")


def failing(check, binary, root):
    """A run that diverges is reported, the others go on, the exit code is its own; mended, it is tried again."""
    home = home_with(root, "failing", SWEEP.replace("  pruning.method: [magnitude, random]\n", "  optimizer.lr: [1e30, 0.003]\n"))
    done = lacuna(binary, "sweep", "s.yaml", cwd=home)
    check.that("failing", done.returncode == 4, f"exit code {done.returncode}: {done.stderr[-300:]}")
    summary = json.loads((sweep_directory(home) / "summary.json").read_text())
    status = [run["status"] for run in summary["runs"]]
    check.that("failing", status == ["failed"] * 4 + ["finished"] * 6, str(status))
    check.that("failing", "not finite" in summary["runs"][0]["error"] and "not finite" in done.stderr, done.stderr[-300:])
    check.that("failing", "0 of 2" in done.stdout and done.stdout.count("failed   00") == 4, done.stdout[-900:])
    titles((sweep_directory(home) / "report.html").read_text())
    again = lacuna(binary, "sweep", "--resume", sweep_directory(home).relative_to(home), cwd=home)
    check.that("failing", again.returncode == 4 and again.stdout.count("finished before") == 6, again.stdout[-500:])


def broken(check, binary, root):
    home = home_with(root, "broken")
    for name, text, parts in BROKEN:
        (home / "s.yaml").write_text(text)
        before = snapshot(home)
        done = lacuna(binary, "sweep", "s.yaml", cwd=home)
        check.that(name, done.returncode == 2, f"exit code {done.returncode}: {done.stderr[:300]}")
        for part in parts:
            check.that(name, part in done.stderr, f"'{part}' is not in: {done.stderr[:500]}")
        check.that(name, len(done.stderr.strip().splitlines()) <= 2, f"too much is said: {done.stderr[:600]}")
        check.that(name, snapshot(home) == before and done.stdout == "", "something was written")
    (home / "s.yaml").write_text(SWEEP)
    for name, arguments, code, part in [
        ("nothing", [], 2, "must be a YAML file, or --resume"),
        ("both", ["s.yaml", "--resume", "x"], 2, "leave the file out"),
        ("no sweep there", ["--resume", "."], 3, "must be a sweep's directory"),
        ("key given twice", ["s.yaml", "seed=3"], 2, "s.yaml:6:3: 'seed' in 'grid' is also given on the command line"),
        ("bad override", ["s.yaml", "training.stepps=3"], 2, "override 'training.stepps=3': unknown key 'stepps'"),
    ]:
        done = lacuna(binary, "sweep", *arguments, cwd=home)
        check.that(name, done.returncode == code and part in done.stderr, f"exit code {done.returncode}: {done.stderr[:300]}")
    (home / "base.yaml").write_text(BASE.replace("steps: 30", "steps: many"))
    done = lacuna(binary, "sweep", "s.yaml", cwd=home)
    check.that("broken base", done.returncode == 2 and "base.yaml:13:19" in done.stderr and done.stderr.count("\n") == 1, done.stderr[:400])
    (home / "base.yaml").write_text(BASE)
    dry = lacuna(binary, "sweep", "s.yaml", "--dry-run", cwd=home)
    check.that("dry run", dry.returncode == 0 and "10 runs" in dry.stdout and not (home / "runs").exists(), dry.stdout)


def main():
    binary = pathlib.Path(sys.argv[1]).resolve()
    check = Check()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        root = pathlib.Path(temporary)
        end_to_end(check, binary, root)
        interrupted(check, binary, root)
        failing(check, binary, root)
        broken(check, binary, root)
    for failure in check.failures:
        print("FAILED", failure)
    print(f"{check.count} checks, {len(BROKEN)} broken sweeps, {time.monotonic() - started:.0f} s; {len(check.failures)} failures")
    return 1 if check.failures else 0


if __name__ == "__main__":
    sys.exit(main())
