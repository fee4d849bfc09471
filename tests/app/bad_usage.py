"""Forty ways to hold `lacuna` wrong: overrides, paths, permissions, numbers past all bounds, runs in use, sweeps and options.
Each gets one clear error with the place and what must hold, the right exit code, and leaves nothing behind.

usage: bad_usage.py PATH/TO/lacuna      (in the repository's root, for its scripts)
"""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from lacuna_process import checkpoints, environment, lacuna, run_directories, snapshot, write_config

RUNTIME, CONFIG, DATA, OUT_OF_MEMORY = 1, 2, 3, 5
FAILURES = []
TINY = {
    "model": "{type: mlp, hidden: [16]}",
    "data": "{type: synthetic, num_examples: 64, num_classes: 4, image_size: 8, num_workers: 0}",
    "schedule": "{type: constant}",
    "pruning": "{method: magnitude, sparsity: 0.8, begin_step: 1, end_step: 4, frequency: 1}",
    "training": "{steps: 6, batch_size: 4, log_every: 1, checkpoint_every: 2}",
}
LARGE = 9_000_000_000_000_000_000
TOKENS = ["data.type=synthetic_tokens", "model={type: transformer, layers: 1, hidden: 8, filter: 8, heads: 1}"]


def check(name, truth, detail=""):
    if not truth:
        FAILURES.append(f"{name}: {detail}")


def refused(name, done, code, parts, home=None, before=None):
    """One line of error (CLI11 adds a second that points at --help), nothing written."""
    said = done.stderr.strip()
    check(name, done.returncode == code, f"exit code {done.returncode}, not {code}: {said[:400]}")
    for part in parts:
        check(name, part in said, f"'{part}' is not in: {said[:500]}")
    lines = [line for line in said.split("\n") if line != "Run with --help for more information."]
    check(name, len(lines) == 1, f"{len(lines)} lines: {said[:500]}")
    check(name, "terminate" not in said and "what()" not in said, said[:300])
    if before is not None:
        check(name, snapshot(home) == before, "something was written, changed or lost")


def overrides_and_numbers(binary, home):
    config = write_config(home / "tiny.yaml", **TINY)
    before = snapshot(home)
    for code, overrides, *parts in [
        (CONFIG, [""], "override ' '", "must read KEY=VALUE"),
        (CONFIG, ["="], "override '='", "must read KEY=VALUE"),
        (CONFIG, ["training..steps=3"], "must read KEY=VALUE"),
        (CONFIG, ["tiny.yaml"], "override 'tiny.yaml'", "must read KEY=VALUE"),
        (CONFIG, ["steps=3"], "did you mean 'training.steps'"),
        (CONFIG, ["training=3"], "must be a section of keys"),
        (CONFIG, ["training.steps.x=3"], "is the value '6', not a section"),
        (CONFIG, ["model.hidden.5=3"], "it has no entry '5'"),
        (CONFIG, ["training.steps=[1"], "is a bracket left open?"),
        (CONFIG, ["training.steps=0", "training.epochs=1e300"], "'training.epochs' must be at most 1e+09"),
        (CONFIG, [f"model.hidden=[{LARGE}]"], "tiny.yaml:5:8: 'model' cannot be built", "2^62"),
        (OUT_OF_MEMORY, ["model.hidden=[3000000000]"], "[open_session] asked for"),
        (CONFIG, [f"data.num_examples={LARGE}"], "'data.num_examples' must be at most 2147483647"),
        (CONFIG, [f"data.num_examples={LARGE}", *TOKENS], "'data.num_examples' must be at most 2147483647"),
        (CONFIG, [f"data.sequence_length={LARGE}", *TOKENS], "'data.sequence_length' must be at most"),
        (CONFIG, [*TOKENS, f"model.layers={LARGE}"], "'model.layers' must be at most 10000"),
        (CONFIG, [f"data.image_size={LARGE}"], "'data.image_size' must be at most 32768"),
        (CONFIG, [f"data.num_classes={LARGE}"], "'data.num_classes' must be at most 1048576"),
        (CONFIG, ["data.num_workers=2000000000"], "'data.num_workers' must be at most 1024"),
        (CONFIG, ["data.prefetch=2000000000"], "'data.prefetch' must be at most 65536"),
        (DATA, [f"training.batch_size={LARGE}"], "must hold at least one batch"),
        (RUNTIME, ["output_dir=tiny.yaml"], "'tiny.yaml/tiny'", "output_dir must be a directory"),
        (RUNTIME, ["output_dir=/proc/nope"], "'/proc/nope/tiny'", "output_dir must be a directory"),
        (RUNTIME, ["output_dir=" + "a" * 300], "File name too long", "output_dir must be a directory"),
        (RUNTIME, ["output_dir=" + "a/" * 3000], "File name too long"),
        (DATA, ["training.init_from=nowhere.safetensors"], "'training.init_from' must be a checkpoint", "No such file"),
        (DATA, ["training.init_from=tiny.yaml"], "'training.init_from' must be a checkpoint", "safetensors"),
        (DATA, ["pruning={method: static, sparsity: 0.5, topology_from: nowhere}"], "'pruning.topology_from' must be a checkpoint", "No such file"),
    ]:
        done = lacuna(binary, "train", config.name, *overrides, cwd=home)
        refused(" ".join(overrides)[:60], done, code, parts, home, before)


def paths_and_options(binary, home):
    write_config(home / "tiny.yaml", **TINY)
    (home / "empty.yaml").touch()
    (home / "loop.yaml").symlink_to("loop.yaml")
    (home / "null.yaml").write_bytes(b"name: x\0\n")
    os.mkfifo(home / "pipe.yaml")
    before = {}
    infer = ["bench", "infer", "tiny.yaml"]
    for code, command, *parts in [
        (CONFIG, ["train", "training.steps=3"], "'training.steps=3' stands where the config should"),
        (CONFIG, ["plan", "training.steps=3"], "stands where the config should"),
        (CONFIG, ["train", "."], "is a directory"),
        (CONFIG, ["train", "empty.yaml"], "is empty"),
        (CONFIG, ["train", "loop.yaml"], "loop.yaml"),
        (CONFIG, ["train", "null.yaml"], "null.yaml"),
        (CONFIG, ["train", "tiny.yaml", "--steps", "3"], "not expected: --steps"),
        (CONFIG, ["train", "a" * 5000], "aaaa"),
        (DATA, ["train", "--resume", "tiny.yaml"], "'tiny.yaml' is no run"),
        (DATA, ["report", "tiny.yaml"], "'tiny.yaml/metrics.jsonl' is missing"),
        (DATA, ["eval", "tiny.yaml"], "must be a .safetensors file or a run directory"),
        (CONFIG, [*infer, "--json", "nowhere/x.json"], "[--json] 'nowhere' is not a directory"),
        (CONFIG, [*infer, "--sparsity", "1"], "--sparsity", "must be in [0, 1)"),
        (CONFIG, [*infer, "--sparsity", "nan"], "--sparsity", "must be in [0, 1)"),
        (CONFIG, [*infer, "--seconds", "nan"], "--seconds", "must be above 0"),
        (CONFIG, [*infer, "--seconds", "1e300"], "--seconds", "must be above 0 and at most 86400"),
        (OUT_OF_MEMORY, [*infer, "--batch", "99999999999"], "[bench infer] asked for"),
        (CONFIG, ["bench", "step", "tiny.yaml", "--sparsity", "nan"], "must be in [0, 1)"),
        (CONFIG, ["bench", "kernels", "--suite", "quik"], "'quik'", "quick"),
        (CONFIG, ["bench", "kernels", "--suite", "quick", "--out", "."], "must be a new folder"),
        (DATA, ["import", "tiny.yaml", "--config", "tiny.yaml", "--out", "y"], "is this a safetensors file?"),
        (CONFIG, ["sweep", "tiny.yaml"], "tiny.yaml"),
        (CONFIG, ["doctor", "now"], "not expected: now"),
    ]:
        before = {p.name for p in home.iterdir()}
        done = lacuna(binary, *command, cwd=home, timeout=30)
        lines_may_be_many = command == ["sweep", "tiny.yaml"]
        if lines_may_be_many:
            check("sweep of a config", done.returncode == CONFIG and all("tiny.yaml:" in line for line in done.stderr.strip().split("\n")), done.stderr)
        else:
            refused(" ".join(command)[:60], done, code, parts)
        check(" ".join(command)[:60], {p.name for p in home.iterdir()} == before, "something was written")


def names_of_any_kind(binary, home):
    """Unicode, blanks and quotes in paths are no mistake."""
    place = home / "ünï côdé 'q\" 日本"
    place.mkdir()
    write_config(place / "tïny.yaml", **TINY)
    done = lacuna(binary, "train", "tïny.yaml", "output_dir=läufe 日本", cwd=place)
    runs = list((place / "läufe 日本" / "tiny").glob("*"))
    check("unicode", done.returncode == 0 and len(runs) == 1, done.stderr)
    for command in (["train", "--resume", runs[0], "training.steps=8"], ["eval", runs[0]], ["report", runs[0]],
                    ["export", runs[0], "--format", "smtx", "--out", "müster"]):
        done = lacuna(binary, *command, cwd=place)
        check(f"unicode {command[0]}", done.returncode == 0, done.stderr)


def runs_of_others(binary, home):
    config = write_config(home / "tiny.yaml", **TINY)
    done = lacuna(binary, "train", config, cwd=home)
    assert done.returncode == 0, done.stderr
    (run,) = run_directories(home)
    before = snapshot(home)
    for code, overrides, *parts in [
        (DATA, ["seed=9"], "seed 3, the config says 9"),
        (DATA, ["model={type: mlp, hidden: [8]}"], "step-00000006.safetensors", "'layers.0.weight' is f32[16, 192]; the model's is f32[8, 192]"),
        (CONFIG, ["pruning=null"], "must be a section"),
        (CONFIG, ["training.steps=3"], "config.resolved.yaml:", "'pruning.end_step' must be at most"),
    ]:
        refused("resume " + overrides[0], lacuna(binary, "train", "--resume", run, *overrides, cwd=home), code, parts, home, before)
    for split in ("train", "valid", "test"):
        done = lacuna(binary, "eval", run, "--split", split, "data.valid_fraction=0", "data.test_fraction=0", cwd=home)
        if split == "train":
            check("eval train", done.returncode == 0, done.stderr)
        else:
            refused(f"eval {split}", done, DATA, [f"no {split} data", f"data.{split}_fraction"], home, before)

    # In use: a second process is refused, reading goes on, and after a kill -9 the lock is gone.
    command = [str(binary), "train", "--resume", str(run), "training.steps=100000000", "training.checkpoint_every=1000000"]
    first = subprocess.Popen(command, cwd=home, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for line in first.stdout:
        if "resumed at step" in line:
            break
    os.set_blocking(first.stdout.fileno(), False)
    held = {path: path.read_bytes() for path in checkpoints(run)}
    refused("in use", lacuna(binary, "train", "--resume", run, cwd=home), RUNTIME, [run.name, "is in use", "wait for it or end it"])
    for reading in ("eval", "report"):
        done = lacuna(binary, reading, run, cwd=home)
        check(f"{reading} of a run in use", done.returncode == 0, done.stderr)
    first.send_signal(signal.SIGKILL)
    first.wait()
    check("in use", {path: path.read_bytes() for path in checkpoints(run)} == held, "a checkpoint changed")
    done = lacuna(binary, "train", "--resume", run, "training.steps=8", cwd=home)
    check("after a kill", done.returncode == 0, done.stderr)


def permissions(binary, home):
    """As nobody, for root may read and write everything."""
    if os.geteuid() != 0:
        print("permissions: skipped, needs root to become somebody else")
        return
    copy = home / "lacuna"
    shutil.copy(binary, copy)
    config = write_config(home / "tiny.yaml", **TINY)
    closed = write_config(home / "closed.yaml", **TINY)
    done = lacuna(copy, "train", config, cwd=home)
    (run,) = run_directories(home)
    for path in [home, *home.rglob("*")]:
        path.chmod(0o755 if path.is_dir() or path == copy else 0o644)
    closed.chmod(0o600)
    newest = checkpoints(run)[-1]
    before = snapshot(home)

    def as_nobody(*arguments):
        return subprocess.run([copy, *map(str, arguments)], cwd=home, env=environment(), capture_output=True, text=True, user=65534, group=65534)

    if as_nobody("--version").returncode != 0:
        print("permissions: skipped, another user cannot run the program here")
        return
    refused("closed config", as_nobody("train", "closed.yaml"), CONFIG, ["closed.yaml: cannot be opened for reading"], home, before)
    refused("closed output_dir", as_nobody("train", "tiny.yaml"), RUNTIME, ["Permission denied", "output_dir"], home, before)
    refused("closed run", as_nobody("train", "--resume", run, "training.steps=8"), RUNTIME, ["Permission denied"], home, before)
    refused("closed out", as_nobody("export", run, "--format", "onnx", "--out", "model.onnx"), RUNTIME, ["model.onnx", "Permission denied"], home, before)
    newest.chmod(0o600)
    refused("closed checkpoint", as_nobody("eval", newest), DATA, [newest.name, "Permission denied"], home, before)


def sweeps(binary, home):
    write_config(home / "tiny.yaml", **TINY)
    head = "name: s\nbase: tiny.yaml\n"
    for name, text, overrides, *parts in [
        ("unknown key", head + "grid: {pruning.sparsty: [0.5]}\n", [], "s.yaml:3:8", "did you mean 'sparsity'"),
        ("unknown section", head + "grid: {prunning.sparsity: [0.5]}\n", [], "s.yaml:3:8", "did you mean 'pruning'"),
        ("grid empty", head + "grid: {}\n", [], "s.yaml:3:", "grid"),
        ("value no list", head + "grid: {seed: 1}\n", [], "s.yaml:3:", "list"),
        ("override without '='", head + "grid: {seed: [1]}\n", ["oops"], "must read KEY=VALUE"),
        ("override unknown", head + "grid: {seed: [1]}\n", ["training.stepps=2"], "did you mean 'steps'"),
    ]:
        (home / "s.yaml").write_text(text)
        before = snapshot(home)
        refused("sweep: " + name, lacuna(binary, "sweep", "s.yaml", *overrides, cwd=home), CONFIG, parts, home, before)
    (home / "s.yaml").write_text(head + "grid: {seed: [1]}\n")
    before = snapshot(home)
    gone = ["data={type: text, path: gone}", "model={type: transformer, layers: 1, hidden: 8, filter: 8, heads: 1}"]
    refused("sweep: no data", lacuna(binary, "sweep", "s.yaml", *gone, cwd=home), DATA, ["run 1 of 1", "'gone'"], home, before)
    refused("sweep: resume of nothing", lacuna(binary, "sweep", "--resume", "nowhere", cwd=home), DATA, ["nowhere"], home, before)
    # A sweep that runs is not joined by another.
    command = [str(binary), "sweep", "s.yaml", "training.steps=100000000"]
    first = subprocess.Popen(command, cwd=home, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for line in first.stdout:
        if line.startswith("run "):
            break
    os.set_blocking(first.stdout.fileno(), False)
    (directory,) = (home / "runs" / "sweeps" / "s").glob("*")
    refused("sweep in use", lacuna(binary, "sweep", "--resume", directory, cwd=home), RUNTIME, [directory.name, "is in use"])
    first.send_signal(signal.SIGKILL)
    first.wait()


def download_script(_, home):
    """Without a network (a curl that always fails): one error, no directory that looks like a data set."""
    script = pathlib.Path("scripts/download_data.sh").resolve()
    tools = home / "tools"
    tools.mkdir()
    (tools / "curl").write_text("#!/bin/sh\necho 'curl: (6) Could not resolve host' >&2\nexit 6\n")
    (tools / "curl").chmod(0o755)
    for name in ("fashion-mnist", "cifar10", "tinyshakespeare"):
        done = subprocess.run([script, name], cwd=home, env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}, capture_output=True, text=True)
        check(name, done.returncode == 1 and "is this machine online?" in done.stderr, f"{done.returncode}: {done.stderr}")
        check(name, not list(home.glob("datasets/*/*")) and not (home / "datasets" / "fashion-mnist").exists(), list(home.rglob("*")))


def main(binary):
    for part in (overrides_and_numbers, paths_and_options, names_of_any_kind, runs_of_others, permissions, sweeps, download_script):
        started, failures = time.monotonic(), len(FAILURES)
        with tempfile.TemporaryDirectory(prefix="lacuna-usage-") as folder:
            part(binary, pathlib.Path(folder))
        print(f"{part.__name__}: {len(FAILURES) - failures} failures, {time.monotonic() - started:.1f} s", flush=True)
        print("".join(f"  {failure}\n" for failure in FAILURES[failures:]), end="", flush=True)
    return 1 if FAILURES else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]).resolve()))
