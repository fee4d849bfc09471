"""What the `lacuna` program does with what is wrong: one clear error, the right exit code, nothing written or changed.

usage: cli_bad_input.py PATH/TO/lacuna      (in the repository's root, for tests/configs_bad)
"""

import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import broken_checkpoints
import broken_data
from lacuna_process import checkpoints, environment, lacuna, read_metrics, read_tensors, run_directories, snapshot, write_config

CONFIG, DATA, DIVERGED, OUT_OF_MEMORY, INTERRUPTED = 2, 3, 4, 5, 75
MODEL = "{type: transformer, layers: 1, hidden: 16, filter: 16, heads: 2, dropout: {residual: 0.1}}"


class Check:
    """Collects what is wrong instead of stopping at the first."""

    def __init__(self, binary, root):
        self.binary, self.root, self.count, self.failures = binary, root, 0, []

    def that(self, name, truth, detail=""):
        self.count += 1
        if not truth:
            self.failures.append(f"{name}: {detail}")
        return truth

    def refused(self, name, done, code, parts, lines=1):
        """Exit code, parts of the message, its number of lines, no trace of an exception nobody caught."""
        said = done.stderr.strip()
        self.that(name, done.returncode == code, f"exit code {done.returncode}, not {code}: {said[:300]}")
        for part in parts:
            self.that(name, part in said, f"'{part}' is not in: {said[:400]}")
        self.that(name, lines is None or len(said.split("\n")) == lines, f"not {lines} line(s): {said[:400]}")
        self.that(name, "terminate" not in said and "what():" not in said, said[:400])

    def fresh(self, name):
        home = self.root / re.sub(r"\W+", "-", name)
        home.mkdir()
        return home


def broken_configs(check):
    files = sorted(pathlib.Path("tests/configs_bad").resolve().glob("*.yaml"))
    check.that("configs", len(files) >= 40, f"{len(files)} broken configs")
    home = check.fresh("configs")
    for file in files:
        head = file.read_text(errors="replace").splitlines()[:2]
        told = {k: line[len(k) + 4 :] for line in head for k in ("expect", "count") if line.startswith(f"# {k}: ")}
        done = lacuna(check.binary, "train", file, cwd=home)
        check.refused(file.name, done, CONFIG, ["/" + told["expect"]], int(told.get("count", 1)))
        check.that(file.name, done.stdout == "", done.stdout[:200])
    check.that("configs", snapshot(home) == {}, "something was written")
    return len(files)


def broken_data_files(check):
    cases = broken_data.Cases(check.root / "data").list
    for name, sections, path, parts in cases:
        home = check.fresh("out " + name)
        config = write_config(check.root / "broken-data.yaml", **{"schedule": "{type: constant}", "pruning": "{}", "training": "{steps: 2, batch_size: 4}", **sections})
        before = snapshot(check.root / "data")
        try:
            done = lacuna(check.binary, "train", config, cwd=home, timeout=20)
        except subprocess.TimeoutExpired:
            check.that(name, False, "hangs")
            continue
        check.refused(name, done, DATA, [path, *parts])
        lazily = "images" in name or "JPEG" in name or "PNG" in name  # decoded when their turn comes, after the run began
        check.that(name, lazily and name.startswith("folder") or snapshot(home) == {}, f"written: {list(snapshot(home))[:4]}")
        check.that(name, not list(home.rglob("*.safetensors")), "a checkpoint was saved")
        check.that(name, snapshot(check.root / "data") == before, "the data changed")
    return len(cases)


def train_until_first_checkpoint(check, config, home):
    """A run stopped by SIGTERM once it has saved; returns its directory."""
    for _ in range(20):
        process = subprocess.Popen([check.binary, "train", config], cwd=home, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not any(checkpoints(run) for run in run_directories(home)):
            time.sleep(0.0005)
        process.send_signal(signal.SIGTERM)
        if process.wait(60) == INTERRUPTED:
            (run,) = run_directories(home)
            return run
        shutil.rmtree(home / "runs")
    raise RuntimeError("every run ended before the signal came")


def broken_checkpoint_files(check):
    home = check.fresh("checkpoints")
    config = write_config(check.root / "small.yaml", model=MODEL, pruning="{method: magnitude, sparsity: 0.8, begin_step: 1, end_step: 2, frequency: 1}",
                          training="{steps: 6, batch_size: 4, checkpoint_every: 3, keep_checkpoints: 2, ema_decay: 0.9}")
    done = lacuna(check.binary, "train", config, cwd=home)
    assert done.returncode == 0, done.stderr
    (good,) = run_directories(home)
    older, newest = checkpoints(good)
    intact = newest.read_bytes()
    own = broken_checkpoints.Checkpoint(newest).bytes()
    check.that("checkpoints", lacuna(check.binary, "eval", good, cwd=home).returncode == 0, "a sound one evaluates")
    check.that("override", lacuna(check.binary, "eval", good, "training.batch_size=2", cwd=home).returncode == 0, "eval takes overrides")
    check.refused("override", lacuna(check.binary, "eval", good, "training.batch_sise=2", cwd=home), CONFIG, ["did you mean 'batch_size'"])
    check.refused("config for a run", lacuna(check.binary, "eval", config, cwd=home), DATA, ["small.yaml", "must be a .safetensors file or a run directory"])
    drawn = (good / "report.html").read_bytes()
    done = lacuna(check.binary, "report", good, cwd=home)
    html = (good / "report.html").read_text()
    for part in ("<h2>Layers</h2>", "blocks.0.attention.query.weight", "sparsity of pruned weights", "test accuracy"):
        check.that("report anew", done.returncode == 0 and part in html, f"'{part}' is not in it: {done.stderr}")
    (good / "report.html").write_bytes(drawn)
    longer = shutil.copytree(good, home / "longer")
    for step in ("6", "8"):  # the second time without the override
        done = lacuna(check.binary, "train", "--resume", longer, *(["training.steps=8"] if step == "6" else []), cwd=home)
        check.that("longer", done.returncode == 0 and f"resumed at step {step}" in done.stdout, done.stdout + done.stderr)
        check.that("longer", ("config.resolved.yaml is rewritten" in done.stdout) == (step == "6"), done.stdout)
        check.that("longer", checkpoints(longer)[-1].name == "step-00000008.safetensors", str(checkpoints(longer)))
    # Killed with other settings: the next --resume goes on with those of the newest checkpoint.
    process = subprocess.Popen([str(check.binary), "train", "--resume", str(longer), "training.steps=1000000", "training.checkpoint_every=1"],
                               cwd=home, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while time.monotonic() < until and checkpoints(longer)[-1].name <= "step-00000009.safetensors":
        time.sleep(0.01)
    process.kill()
    process.wait()
    check.that("killed with other settings", "steps: 1000000" in (longer / "config.resolved.yaml").read_text(), "the config is of the run before")
    shutil.rmtree(longer)
    older_bytes = older.read_bytes()
    older.unlink()
    newest.write_bytes(own)
    check.that("checkpoints", lacuna(check.binary, "eval", newest, cwd=home).returncode == 0, "one that this script wrote evaluates")
    run_only = broken_checkpoints.resume_cases(newest)
    cases = broken_checkpoints.cases(newest)
    for name, content, parts in cases + run_only:
        newest.unlink()
        content(newest) if callable(content) else newest.write_bytes(content)
        before = snapshot(home)
        parts = [part for part in (newest.name, *parts) if part]
        try:
            check.refused("resume: " + name, lacuna(check.binary, "train", "--resume", good, cwd=home, timeout=20), DATA, parts)
            if name not in [n for n, _, _ in run_only]:
                check.refused("eval: " + name, lacuna(check.binary, "eval", newest if not newest.is_dir() else good, cwd=home, timeout=20), DATA, parts,
                              lines=1 if not newest.is_dir() else None)
        except subprocess.TimeoutExpired:
            check.that(name, False, "hangs")
        check.that(name, snapshot(home) == before, "something was written or changed")
        shutil.rmtree(newest) if newest.is_dir() else newest.unlink()
        newest.write_bytes(b"")

    # With a sound older one beside it, the newest is passed over, and training goes on to the same end.
    older.write_bytes(older_bytes)
    newest.write_bytes(intact[: len(intact) // 2])
    done = lacuna(check.binary, "train", "--resume", good, cwd=home)
    check.that("older one", done.returncode == 0 and newest.name in done.stdout and "resumed at step 3" in done.stdout, done.stdout + done.stderr)
    check.that("older one", newest.read_bytes() == intact, "the end is another")
    # Broken files of the run that are no checkpoints.
    for name, text in (("half a config", "name: x\nmodel: {"), ("config gone", None)):
        run = shutil.copytree(good, home / re.sub(r"\W", "-", name))
        (run / "config.resolved.yaml").unlink()
        if text:
            (run / "config.resolved.yaml").write_text(text)
        before = snapshot(run)
        check.refused(name, lacuna(check.binary, "train", "--resume", run, cwd=home), CONFIG, ["config.resolved.yaml"])
        check.that(name, snapshot(run) == before, "something changed")
    (good / "metrics.jsonl").write_text('{"step": 1}\nnonsense\n')
    before = snapshot(good)
    check.refused("metrics broken", lacuna(check.binary, "train", "--resume", good, cwd=home), DATA, ["metrics.jsonl:2"])
    check.that("metrics broken", snapshot(good) == before, "something changed")
    for command in (("train", "--resume"), ("eval",)):
        check.refused(f"{command[0]}: no such run", lacuna(check.binary, *command, "absent", cwd=home), DATA, ["absent"])
    return len(cases) + len(run_only) + 1


def mistyped_commands(check):
    home = check.fresh("commands")
    cases = [
        (["trian", "x.yaml"], ["unknown command 'trian'", "did you mean 'train'", "bench"]),
        (["bench", "kernel"], ["unknown command 'kernel'", "did you mean 'kernels'"]),
        (["quux"], ["unknown command 'quux'", "must be one of"]),
    ]
    for command, parts in cases:
        check.refused(" ".join(command), lacuna(check.binary, *command, cwd=home), CONFIG, parts)
    for command in ([], ["bench"], ["train"], ["bench", "step", "x.yaml", "--sparsity", "90"], ["bench", "step", "x.yaml", "--steps", "0"], ["eval", "x", "--split", "tset"]):
        done = lacuna(check.binary, *command, cwd=home)
        check.that(" ".join(command), done.returncode == CONFIG, f"exit code {done.returncode}: {done.stderr}")
    for command in (["--help"], ["train", "--help"], ["bench", "step", "--help"], ["--version"]):
        done = lacuna(check.binary, *command, cwd=home)
        check.that(" ".join(command), done.returncode == 0 and done.stdout and not done.stderr, f"exit code {done.returncode}: {done.stderr}")
    check.that("commands", snapshot(home) == {}, "something was written")
    sweep = home / "s.yaml"
    sweep.write_text("name: s\nbase: x.yaml\ngrid: {seed: [1, 2]}\n")
    check.refused("train of a sweep", lacuna(check.binary, "train", sweep, cwd=home), CONFIG, ["unknown key 'grid'", "lacuna sweep"], lines=None)
    return len(cases)


def divergence(check):
    home = check.fresh("divergence")
    config = write_config(check.root / "long.yaml", training="{steps: 60, batch_size: 4, accumulate: 2, ema_decay: 0.9, checkpoint_every: 3}")
    run = train_until_first_checkpoint(check, config, home)
    before = {path.name: path.read_bytes() for path in checkpoints(run)}
    for optimizer in ("adam", "sgd"):
        done = lacuna(check.binary, "train", "--resume", run, f"optimizer={{type: {optimizer}, lr: 1e30}}", "schedule={type: constant}", cwd=home)
        check.refused(f"{optimizer} at lr 1e30", done, DIVERGED, ["not finite", "optimizer.lr"])
        check.that("diverged", {path.name: path.read_bytes() for path in checkpoints(run)} == before, "a checkpoint changed")
    overflow = lacuna(check.binary, "train", "--resume", run, "optimizer.lr=1e300", "training.checkpoint_every=1", cwd=home)
    check.refused("lr 1e300, saving at once", overflow, DIVERGED, ["not finite"])
    check.that("diverged", {path.name: path.read_bytes() for path in checkpoints(run)} == before, "a checkpoint changed")
    done = lacuna(check.binary, "train", "--resume", run, cwd=home)
    check.that("diverged", done.returncode == 0, "the run goes on with its own learning rate: " + done.stderr)


def out_of_memory(check):
    home = check.fresh("memory")
    config = write_config(check.root / "memory.yaml", model=MODEL)
    done = lacuna(check.binary, "train", config, cwd=home)
    (run,) = run_directories(home)
    peak = max(record.get("memory_peak_bytes", 0) for record in read_metrics(run))
    assert done.returncode == 0 and peak > 0, done.stderr
    ops = set()
    for i in range(12):
        limit = int(peak * (i + 1) / 13)
        done = lacuna(check.binary, "train", config, cwd=home, LACUNA_MEMORY_LIMIT=str(limit))
        check.refused(f"limit {limit} of {int(peak)}", done, OUT_OF_MEMORY, [])
        match = re.match(r"\[(\w+)\] asked for (\d+) bytes on cpu, (\d+) in use, (\d+) free; ", done.stderr)
        if check.that(f"limit {limit}", match, "op, request, bytes in use and free bytes: " + done.stderr):
            ops.add(match[1])
            check.that(f"limit {limit}", int(match[3]) + int(match[4]) == limit and int(match[2]) > int(match[4]), done.stderr)
    check.that("limits", len(ops) >= 2, f"they stop in different ops: {ops}")
    check.that("limit above the peak", lacuna(check.binary, "train", config, cwd=home, LACUNA_MEMORY_LIMIT=str(int(4 * peak))).returncode == 0, "fits")
    check.refused("limit of words", lacuna(check.binary, "train", config, cwd=home, LACUNA_MEMORY_LIMIT="much"), CONFIG, ["LACUNA_MEMORY_LIMIT", "much"])
    before = checkpoints(run)[-1].read_bytes()
    check.refused("limit on resuming", lacuna(check.binary, "train", "--resume", run, cwd=home, LACUNA_MEMORY_LIMIT="30000"), OUT_OF_MEMORY, ["asked for"])
    check.that("limit on resuming", checkpoints(run)[-1].read_bytes() == before, "the checkpoint changed")


def end_of(check, config):
    home = check.fresh("reference for full disks")
    done = lacuna(check.binary, "train", config, cwd=home)
    assert done.returncode == 0, done.stderr
    return checkpoints(run_directories(home)[0])[-1]


def full_disks(check):
    config = write_config(check.root / "full.yaml", training="{steps: 60, batch_size: 4, accumulate: 2, ema_decay: 0.9, checkpoint_every: 3}")
    reference = end_of(check, config)
    size = reference.stat().st_size
    # A limit on the size of files: below a checkpoint's, above all others'.
    home = check.fresh("file size limit")
    run = train_until_first_checkpoint(check, config, home)
    before = {path.name: path.read_bytes() for path in checkpoints(run)}
    limited = subprocess.run([check.binary, "train", "--resume", run], cwd=home, env=environment(), capture_output=True, text=True,
                             preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size // 3, size // 3)))
    check.refused("file size limit", limited, DATA, ["File too large", "earlier checkpoints are untouched and valid"])
    check.that("file size limit", {path.name: path.read_bytes() for path in checkpoints(run)} == before, "an earlier checkpoint changed")
    check.that("file size limit", not list(run.rglob("*.tmp-*")), "a temporary was left")
    done = lacuna(check.binary, "train", "--resume", run, cwd=home)
    check.that("file size limit", done.returncode == 0 and checkpoints(run)[-1].read_bytes() == reference.read_bytes(), "resumes to the same end: " + done.stderr)
    # A file system that is full after the first checkpoint.
    home, kept = check.fresh("full file system"), check.fresh("full file system kept")
    script = (f'mount -t tmpfs -o size={size * 9 // 5} none "{home}" && cd "{home}" || exit 77\n'
              f'"{check.binary}" train "{config}" >/dev/null; code=$?; cp -r runs "{kept}"; exit $code')
    if os.geteuid() != 0 or not shutil.which("unshare"):
        print("full file system: skipped, needs root and unshare")
    else:
        full = subprocess.run(["unshare", "-m", "sh", "-c", script], env=environment(), capture_output=True, text=True)
        if full.returncode == 77 or "unshare" in full.stderr:
            print("full file system: skipped,", full.stderr.strip())
        else:
            check.refused("full file system", full, DATA, ["No space left on device", "earlier checkpoints are untouched and valid"])
            (run,) = run_directories(kept)
            check.that("full file system", checkpoints(run), "a checkpoint from before is there")
            done = lacuna(check.binary, "train", "--resume", run, cwd=kept)
            check.that("full file system", done.returncode == 0 and checkpoints(run)[-1].read_bytes() == reference.read_bytes(), "resumes to the same end: " + done.stderr)
    # A console that takes nothing must not stop a run.
    home = check.fresh("full console")
    with open("/dev/full", "w") as full:
        done = subprocess.run([check.binary, "train", config], cwd=home, env=environment(), stdout=full, stderr=subprocess.PIPE, text=True)
    (run,) = run_directories(home)
    check.that("full console", done.returncode == 0 and read_tensors(checkpoints(run)[-1])[1] == read_tensors(reference)[1], f"exit code {done.returncode}: {done.stderr}")


def main():
    with tempfile.TemporaryDirectory(prefix="lacuna-bad-") as directory:
        check = Check(pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(directory))
        for part in (mistyped_commands, broken_configs, broken_data_files, broken_checkpoint_files, divergence, out_of_memory, full_disks):
            started, failures = time.monotonic(), len(check.failures)
            number = part(check)
            print(f"{part.__name__}: {f'{number} cases, ' if number else ''}{len(check.failures) - failures} failures, {time.monotonic() - started:.1f} s")
            print("".join(f"  {failure}\n" for failure in check.failures[failures:]), end="", flush=True)
        print(f"{check.count} checks, {len(check.failures)} failures")
        return 1 if check.failures else 0


if __name__ == "__main__":
    sys.exit(main())
