"""Runs killed with SIGKILL at random moments and resumed until they are done end in the bits of the run that was left alone.

usage: kill_resume.py PATH/TO/lacuna
  LACUNA_KILL_RUNS   runs to kill (default 25; 100 is the full test)
  LACUNA_KILL_SEED   seed of the moments (default: a new one each time, printed)
"""

import math
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from lacuna_process import checkpoints, environment, lacuna, read_metrics, read_tensors, run_directories, write_config

DETERMINISTIC = ("step", "train_loss_nats", "gradient_norm", "learning_rate", "sparsity", "valid_loss_nats", "valid_accuracy",
                 "valid_bits_per_byte", "test_loss_nats", "test_accuracy", "test_bits_per_byte", "prunable_nnz", "topology_dropped",
                 "topology_grown", "empty_rows", "empty_columns", "itop", "forward_flops_per_example")

VARIANTS = {
    # Sparse attention, dropout, EMA, Adam, accumulation, pruning across kills; the log intervals are one step.
    "transformer": {
        "pruning": "{method: magnitude, sparsity: 0.8, begin_step: 4, end_step: 44, frequency: 4}",
        "training": "{steps: 60, batch_size: 4, accumulate: 2, clip_norm: 1.0, ema_decay: 0.9, log_every: 1, eval_every: 8, checkpoint_every: 3}",
    },
    # Batch norm's buffers, augmentation, global pruning, Nesterov momentum; log intervals of 2 straddle checkpoints at 3.
    "mobilenet": {
        "model": "{type: mobilenet_v1, width: 0.25, stem: cifar, strides: [2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1]}",
        "data": "{type: synthetic, num_examples: 40, image_size: 8, valid_fraction: 0.2, test_fraction: 0.2}",
        "optimizer": "{type: sgd, lr: 0.05, momentum: 0.9, nesterov: true, weight_decay: 0.001}",
        "pruning": "{method: magnitude, distribution: global, sparsity: 0.8, begin_step: 2, end_step: 18, frequency: 3}",
        "training": "{steps: 25, batch_size: 6, accumulate: 2, ema_decay: 0.9, log_every: 2, eval_every: 5, checkpoint_every: 3}",
        # What was ever active is state of its own; histograms come at every second update.
        "observe": "{itop: true, histogram_every: 2}",
    },
}


def outcome(run):
    """What must not depend on kills: the last checkpoint's file, and what the metrics say that is not time or memory."""
    last = checkpoints(run)[-1]
    records = [{k: v for k, v in record.items() if k in DETERMINISTIC or "/" in k} for record in read_metrics(run)]
    return last.name, last.read_bytes(), records


def difference(run, reference):
    """Why the two runs differ; "" when they do not."""
    (name, data, records), (ref_name, ref_data, ref_records) = outcome(run), outcome(reference)
    if name != ref_name:
        return f"last checkpoint {name}, not {ref_name}"
    metadata, tensors = read_tensors(checkpoints(run)[-1])
    ref_metadata, ref_tensors = read_tensors(checkpoints(reference)[-1])
    if tensors.keys() != ref_tensors.keys():
        return f"other tensors: {sorted(tensors.keys() ^ ref_tensors.keys())}"
    other = [key for key in tensors if tensors[key] != ref_tensors[key]]
    if other:
        return f"{len(other)} of {len(tensors)} tensors differ: {other[:5]}"
    if data != ref_data:
        return f"the files differ beside their tensors: {[k for k in metadata if metadata[k] != ref_metadata.get(k)]}"
    if records != ref_records:
        wrong = [(a, b) for a, b in zip(records, ref_records) if a != b]
        return f"{len(records)} metrics records, the reference has {len(ref_records)}; first difference {wrong[:1]}"
    left = [p.name for p in pathlib.Path(run, "checkpoints").iterdir() if ".tmp-" in p.name]
    return f"temporaries were left: {left}" if left else ""


class Killer:
    def __init__(self, binary, variant, root, rng):
        self.binary, self.rng, self.root = binary, rng, root
        self.config = write_config(root / f"{variant}.yaml", **VARIANTS[variant])
        self.seconds = math.inf  # of the quickest of three, so that moments fall inside the runs on a busy machine too
        for i in range(3):
            self.reference_home = root / f"{variant}-reference-{i}"
            self.reference_home.mkdir()
            started = time.monotonic()
            done = lacuna(binary, "train", self.config, cwd=self.reference_home)
            self.seconds = min(self.seconds, time.monotonic() - started)
            assert done.returncode == 0, done.stderr
            (run,) = run_directories(self.reference_home)
            problem = difference(run, self.reference) if i > 0 else ""
            assert not problem, f"two runs that were left alone differ: {problem}"
            report = (run / "report.html").read_text()
            assert all(f">{title}<" in report for title in ("Loss", "Learning rate", "Sparsity", "Memory")), "charts are missing"
            self.reference = run
        _, tensors = read_tensors(checkpoints(self.reference)[-1])
        kinds = [".crow_indices", ".slot.ema", ".slot.adam_m" if variant == "transformer" else ".running_mean"]
        assert all(any(kind in name for name in tensors) for kind in kinds), "the reference must hold what the test is about"
        self.kills = self.starts = self.restarts = 0

    def usable(self, home):
        """The run directory to resume; None while there is none that holds its config."""
        runs = [r for r in run_directories(home) if (r / "config.resolved.yaml").exists() and (r / "checkpoints").is_dir()]
        return runs[-1] if runs else None

    def start(self, home):
        run = self.usable(home)
        if run is None:
            self.restarts += 1
            shutil.rmtree(home / "runs", ignore_errors=True)
        arguments = ["train", "--resume", str(run)] if run else ["train", str(self.config)]
        self.starts += 1
        return subprocess.Popen([str(self.binary), *arguments], cwd=home, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def kill_until_done(self, home):
        home.mkdir()
        for attempt in range(1000):
            process = self.start(home)
            # Later attempts get more time: on a machine much busier than it was, the run must still end.
            longest = 0.6 * self.seconds * (1 + attempt / 8)
            try:
                _, error = process.communicate(timeout=self.rng.uniform(0, longest))
            except subprocess.TimeoutExpired:
                process.kill()
                _, error = process.communicate()
            if process.returncode == -signal.SIGKILL:
                self.kills += 1
                continue
            if process.returncode != 0:
                return f"exit code {process.returncode}: {error}"
            return difference(self.usable(home), self.reference)
        return "makes no progress"

    def interrupt(self, home, number):
        """SIGTERM or SIGINT, twice as timeout(1) sends it, once the run is under way; then it must exit 75, resume and end alike."""
        home.mkdir()
        process = self.start(home)
        while process.poll() is None and not (self.usable(home) and checkpoints(self.usable(home))):
            time.sleep(0.001)
        time.sleep(self.rng.uniform(0, 0.2 * self.seconds))
        process.send_signal(number)
        time.sleep(self.rng.choice((0, 0.002)))
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
        if process.returncode == 0:
            return None  # it was done already
        if process.returncode != 75:
            return f"exit code {process.returncode} after signal {number}, not 75: {error}"
        done = lacuna(self.binary, "train", "--resume", self.usable(home), cwd=home)
        if done.returncode != 0:
            return f"exit code {done.returncode} on resuming: {done.stderr}"
        return difference(self.usable(home), self.reference)

    def resume_before_first_checkpoint(self, home):
        """A run killed after its directory was made, and metrics perhaps begun, but before any checkpoint."""
        shutil.copytree(self.reference_home, home)
        run = self.usable(home)
        for checkpoint in checkpoints(run):
            checkpoint.unlink()
        lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
        (run / "metrics.jsonl").write_text(lines[0] + lines[1][: len(lines[1]) // 2])  # the last record torn
        (run / "checkpoints" / "step-00000003.safetensors.tmp-999999999").write_bytes(b"half a checkpoint")
        done = lacuna(self.binary, "train", "--resume", run, cwd=home)
        if done.returncode != 0:
            return f"exit code {done.returncode}: {done.stderr}"
        return difference(run, self.reference)

    def resume_after_the_end(self, home):
        """Killed after its last checkpoint: evaluates and reports again, and records nothing twice."""
        shutil.copytree(self.reference_home, home)
        run = self.usable(home)
        (run / "report.html").unlink()
        done = lacuna(self.binary, "train", "--resume", run, cwd=home)
        if done.returncode != 0 or not (run / "report.html").exists():
            return f"exit code {done.returncode}, no report: {done.stderr}"
        return difference(run, self.reference)


def stop_while_evaluating(binary, root):
    """A signal in the last, long evaluation is heeded there; the resumed run evaluates and ends."""
    root.mkdir()
    config = write_config(
        root / "evaluating.yaml", training="{steps: 1, batch_size: 1, log_every: 1}", pruning="{method: none}", schedule="{type: constant}",
        data="{type: synthetic_tokens, num_examples: 20000, num_classes: 16, sequence_length: 16, valid_fraction: 0.1, test_fraction: 0.8}")
    process = subprocess.Popen([str(binary), "train", str(config)], cwd=root, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not any(checkpoints(run) for run in run_directories(root)):
        time.sleep(0.001)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    (run,) = run_directories(root)
    if process.returncode != 75 or (run / "report.html").exists():
        return f"exit code {process.returncode}, not 75: {error}"
    done = lacuna(binary, "train", "--resume", run, cwd=root)
    tested = [record for record in read_metrics(run) if "test_loss_nats" in record]
    return "" if done.returncode == 0 and len(tested) == 1 else f"exit code {done.returncode} on resuming, {len(tested)} test records: {done.stderr}"


def main():
    binary = pathlib.Path(sys.argv[1]).resolve()
    runs = int(os.environ.get("LACUNA_KILL_RUNS", "25"))
    seed = int(os.environ.get("LACUNA_KILL_SEED", str(time.time_ns() % 1000000)))
    print(f"{runs} runs, LACUNA_KILL_SEED={seed}", flush=True)
    rng = random.Random(seed)
    failures = []
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lacuna-kill-") as directory:
        killers = [Killer(binary, variant, pathlib.Path(directory), rng) for variant in VARIANTS]
        problem = stop_while_evaluating(binary, pathlib.Path(directory, "evaluating"))
        if problem:
            failures.append(f"stopped while evaluating: {problem}")
        for killer, variant in zip(killers, VARIANTS):
            checks = {"before the first checkpoint": killer.resume_before_first_checkpoint, "after the end": killer.resume_after_the_end}
            for i in range(6):
                number = (signal.SIGTERM, signal.SIGINT)[i % 2]
                checks[f"signal {number}, {i}"] = lambda home, number=number: killer.interrupt(home, number)
            finished_early = 0
            for i, (name, check) in enumerate(checks.items()):
                problem = check(killer.root / f"{variant}-check-{i}")
                finished_early += problem is None
                if problem:
                    failures.append(f"{variant}, {name}: {problem}")
            if finished_early > 4:
                failures.append(f"{variant}: nearly every signal came too late to test anything")
        for i in range(runs):
            killer = killers[i % len(killers)]
            home = pathlib.Path(directory, f"run-{i}")
            problem = killer.kill_until_done(home)
            if problem:
                failures.append(f"run {i} ({killer.config.stem}): {problem}")
            shutil.rmtree(home)
        for killer in killers:
            print(f"{killer.config.stem}: {killer.seconds:.2f} s when left alone; {killer.kills} kills, {killer.starts} starts, "
                  f"{killer.restarts} of them without a run directory")
            if runs >= 10 and killer.kills < runs // len(killers) // 2:
                failures.append(f"{killer.config.stem}: only {killer.kills} kills: the moments miss the runs")
    print(f"{time.monotonic() - started:.0f} s; {len(failures)} failures")
    print("\n".join(failures))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
