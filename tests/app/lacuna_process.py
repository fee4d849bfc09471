"""Runs the real `lacuna` program for the tests in this folder, and takes apart what it leaves."""

import hashlib
import json
import os
import pathlib
import struct
import subprocess

TINY = {
    "name": "tiny", "seed": "3", "device": "cpu", "threads": "1",
    "model": "{type: transformer, layers: 1, hidden: 32, filter: 64, heads: 2, dropout: {attention: 0.1, residual: 0.1, activation: 0.1}, "
             "attention: {type: band_and_random, band: 4, off_band_sparsity: 0.5}}",
    "data": "{type: synthetic_tokens, num_examples: 64, num_classes: 16, sequence_length: 16, valid_fraction: 0.1, test_fraction: 0.1}",
    "optimizer": "{type: adam, lr: 0.003}",
    "schedule": "{type: cosine, warmup_steps: 4}",
    "pruning": "{method: magnitude, sparsity: 0.8, begin_step: 4, end_step: 16, frequency: 4}",
    "training": "{steps: 24, batch_size: 4, accumulate: 2, clip_norm: 1.0, ema_decay: 0.9, log_every: 1, eval_every: 8, checkpoint_every: 3}",
}


def write_config(path, **sections):
    path.write_text("".join(f"{key}: {value}\n" for key, value in {**TINY, **sections}.items()))
    return path


def environment(**extra):
    return {**os.environ, "OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": "1", **extra}


def lacuna(binary, *arguments, cwd, timeout=120, shell_before="", **extra):
    """Runs to the end; returns the completed process. `shell_before` is a shell command run in the same shell before it."""
    command = [str(binary), *map(str, arguments)]
    if shell_before:
        command = ["/bin/sh", "-c", shell_before + '; exec "$0" "$@"', *command]
    return subprocess.run(command, cwd=cwd, env=environment(**extra), capture_output=True, text=True, timeout=timeout)


def run_directories(root):
    return sorted(path for path in pathlib.Path(root, "runs").glob("*/*") if path.is_dir())


def checkpoints(run):
    return sorted(pathlib.Path(run, "checkpoints").glob("step-*.safetensors"))


def read_tensors(path):
    """Metadata, and of each tensor its dtype, shape and bytes."""
    data = pathlib.Path(path).read_bytes()
    (size,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + size])
    metadata = header.pop("__metadata__")
    start = 8 + size
    return metadata, {name: (e["dtype"], e["shape"], data[start + e["data_offsets"][0] : start + e["data_offsets"][1]]) for name, e in header.items()}


def read_metrics(run):
    return [json.loads(line) for line in pathlib.Path(run, "metrics.jsonl").read_text().splitlines()]


def snapshot(root):
    """Every path below root with the hash of its contents: equal snapshots mean that nothing was written or changed."""
    root = pathlib.Path(root)
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else "directory" for p in sorted(root.rglob("*"))}
