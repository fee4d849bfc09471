"""Measurements by the `lacuna` program, one after another: each alone on its device, kept as soon as it is there."""

import argparse
import functools
import json
import os
import pathlib
import re
import subprocess
import sys
import time
import types

from common.charts import number
from common.page import NOT_MEASURED, Page
from common.program import ROOT, find_lacuna, machine, processor, revision, today, write_json
from paper.torch_server import TorchServer

PRECISIONS = {  # overrides by name; what a build lacks is probed
    "f32": ("matmul_precision=highest",), "tf32": ("matmul_precision=tf32",), "bf16": ("training.precision=bf16",)}


def arguments(description, tables=()):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a miniature of everything on the CPU: that the script works, no results")
    parser.add_argument("--dry-run", action="store_true", help="list the commands, run nothing")
    parser.add_argument("--out", help="directory of results (default: runs/paper-<table>); finished measurements in it are kept")
    parser.add_argument("--only", help="measure only what has this text in its name; separate several by ';'")
    parser.add_argument("--time-limit", type=float, help="start no measurement after this many seconds; the same command goes on")
    parser.add_argument("--budget", action="store_true", help="minutes in place of an hour: fewer points, fewer steps; accuracy.py: short runs, "
                        "one seed, 1,500 s at the most")
    parser.add_argument("--data", default=os.environ.get("LACUNA_DATA_DIR", "datasets"), help="directory of the data sets")
    parser.add_argument("--device", default="", help="cpu, cuda, cuda:N (default: the config's auto; cpu with --small)")
    parser.add_argument("--torch", help="a Python with PyTorch and CUDA (default: this one); 'none' measures no PyTorch, and shows what is kept")
    parser.add_argument("--lacuna", help="path of the program")
    return parser


class Session:
    """One table's directory: measurements by name, in measurements.json. Environment and commit are the measurement's own."""

    def __init__(self, table, options):
        self.table, self.options = table, options
        self.lacuna = find_lacuna(options.lacuna)
        self.device = options.device or ("cpu" if options.small else "")
        name = f"paper-{table}" + ("-small" if options.small else "")
        self.out = pathlib.Path(options.out or ROOT / "runs" / name).resolve()
        self.file = self.out / "measurements.json"
        self.kept = json.loads(self.file.read_text()) if self.file.is_file() else {}
        self.started, self.planned, self.left = time.monotonic(), [], []
        self.missing = {}  # what this build or machine cannot do: why
        self.torch = None

    def wanted(self, name):
        return not self.options.only or any(part in name for part in self.options.only.split(";"))

    @functools.cached_property
    def on_cpu(self):
        return self.device == "cpu" or (not self.device and any(re.match(r"CUDA\s+none", line) for line in machine(self.lacuna)))

    @functools.cached_property
    def can_infer(self):
        listed = subprocess.run([str(self.lacuna), "bench", "--help"], capture_output=True, text=True).stdout
        found = re.search(r"^ +infer\b", listed, re.M) is not None
        if not found:
            self.missing["forward passes, latencies"] = "this build has no `lacuna bench infer`"
        return found

    def overrides(self):
        return [f"device={self.device}"] if self.device else []

    def measure(self, name, command, read, timeout=900, environment=None, where=(), run=None):
        """The measurement of this name: kept, or made now. `read` turns standard output into a dict; `environment` adds variables.
        `where` are arguments that only say where output goes: they are not part of what makes two measurements the same.
        `run` makes it in another way than by a process: (seconds) -> returncode, stdout, stderr.

        Returns None where it was not wanted or time is up; {'error': ...} where it could not be made, which is tried again next time.
        """
        command, variables = [str(c) for c in command], environment or {}
        shown = " ".join([f"{key}={value}" for key, value in variables.items()]
                         + [c if re.fullmatch(r"[\w@%+=:,./-]+", c) else f"'{c}'" for c in command])
        for long, short in ((str(self.lacuna), "lacuna"), (sys.executable, "python3"), (str(self.out), "OUT"), (f"{ROOT}/", "")):
            shown = shown.replace(long, short)
        if self.wanted(name):
            self.planned.append((name, shown))
        kept = self.kept.get(name)
        if kept and kept.get("command") == shown and "error" not in kept:
            return kept
        if not self.wanted(name):
            return kept if kept and kept.get("command") == shown else None
        if self.options.dry_run:
            return None
        if self.options.time_limit:
            seconds = self.options.time_limit - (time.monotonic() - self.started)
            if seconds <= 0:
                self.left.append(name)
                return kept if kept and kept.get("command") == shown else None
            if self.options.budget:  # nor may what has begun go on for long
                timeout = min(timeout, seconds + 10)
        print(f"[{time.monotonic() - self.started:5.0f} s] {name}", flush=True)
        result = {"command": shown, "date": today(), "commit": revision()}
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            done = run(timeout) if run else subprocess.run(
                [*command, *map(str, where)], cwd=ROOT, capture_output=True, text=True, timeout=timeout,
                env={**os.environ, "LACUNA_DATA_DIR": str(self.options.data), **variables})
            if done.returncode == 0:
                result.update(read(done.stdout))
            else:
                said = [line for line in done.stderr.strip().splitlines() if line] or done.stdout.strip().splitlines() or ["nothing said"]
                result.update(error=said[0][:400], exit_code=done.returncode)
        except subprocess.TimeoutExpired:
            result["error"] = f"took more than {timeout:.0f} s"
        except (ValueError, KeyError, OSError, AttributeError) as error:
            result["error"] = f"its output could not be read: {error!r}"
        if "error" in result:
            print(f"          {result['error']}", flush=True)
        self.kept[name] = result
        write_json(self.file, self.kept)
        return result

    def step(self, name, config, overrides=(), steps=None, sparsity=None, environment=None, resident=False):
        """`lacuna bench step`."""
        steps = 2 if self.options.small else steps or 20
        command = [self.lacuna, "bench", "step", config, *self.overrides(), *overrides, "--steps", steps]
        if sparsity is not None:
            command += ["--sparsity", sparsity]
        if resident:  # a batch of made-up data that stays on the device
            command += ["--made-up-data", "--resident-batch"]
        return self.measure(name, command, read_step, environment=environment)

    def infer(self, name, config, overrides=(), batch=1, sparsity=None, twin="none"):
        """`lacuna bench infer` (docs/inference.md); None where this build has none."""
        if not self.options.dry_run and not self.can_infer:
            return None
        out = self.out / "infer.json"
        command = [self.lacuna, "bench", "infer", config, *overrides, "--batch", batch, "--twin", twin,
                   "--seconds", 0.05 if self.options.small else 0.2 if self.options.budget else 1]
        if self.device:
            command += ["--device", self.device]
        if sparsity is not None:
            command += ["--sparsity", sparsity]
        return self.measure(name, command, lambda _: read_infer(json.loads(out.read_text())), where=["--json", out])

    def dense_twin_of(self, name, measured):
        """What `infer` found for the twin in the same run, as a measurement of its own; None where there is none."""
        if not good(measured) or "twin" not in measured:
            return None
        return {**measured, **measured["twin"], "name": name}

    def accepts(self, config, *overrides):
        """Whether `lacuna plan` takes the config with these overrides: how a script finds out what this build can do."""
        done = subprocess.run([str(self.lacuna), "plan", config, *self.overrides(), *overrides], cwd=ROOT, capture_output=True, text=True)
        return done.returncode == 0

    def precisions(self, config, *overrides):
        """Names of PRECISIONS that this build takes on this device; all of them in a dry run."""
        if self.options.dry_run:
            return list(PRECISIONS)
        if self.on_cpu:  # computes in f32 whatever `matmul_precision` says
            self.missing["tf32, bf16"] = "not on a CPU"
            return ["f32"]
        listed = [name for name, keys in PRECISIONS.items() if name == "f32" or self.accepts(config, *overrides, *keys)]
        self.missing.update({name: f"this build refuses {' '.join(keys)}" for name, keys in PRECISIONS.items() if name not in listed})
        return listed

    def torch_measure(self, name, *what):
        """What torch_models.py prints for `what`, by the Python that --torch names, in one process for all of a session's; None where
        there is no PyTorch with CUDA."""
        if self.options.torch == "none" or (self.options.small and not self.options.torch):
            return self.kept.get(name)
        python = self.options.torch or sys.executable
        self.torch = self.torch or TorchServer(python)
        if not self.options.dry_run and self.wanted(name) and not self.torch.has_cuda():
            return None
        command = [python, pathlib.Path(__file__).with_name("torch_models.py"), *what]

        def ask(seconds):
            reply = self.torch.ask([str(w) for w in what], seconds)
            return types.SimpleNamespace(returncode=5 if reply.get("out_of_memory") else int("error" in reply), stdout=json.dumps(reply),
                                         stderr=reply.get("error", ""))
        return self.measure(name, command, json.loads, 300, run=ask)

    def page(self, title, intro):
        page = Page(title)
        page.text(intro)
        if self.options.small:
            page.text("**A miniature on the CPU** (`--small`), made to test the script. Its numbers mean nothing.")
        page.text(f"'{NOT_MEASURED}': could be, but was not here. '-': there is no such thing, or it does not apply.")
        page.notes(self.out / "notes.md")
        return page

    def facts(self):
        """Hardware, build, dates, commits, command: of what is kept."""
        distinct = lambda key: ", ".join(sorted({m[key] for m in self.kept.values() if m.get(key)})) or "none"
        devices = distinct("device_name")
        return (f"Hardware: {devices if devices != 'none' else ' '.join(machine(self.lacuna)[1].split())}; {processor()}. Measured {distinct('date')}, "
                f"commits {distinct('commit')}. Command: "
                f"`{' '.join(['experiments/paper/' + pathlib.Path(sys.argv[0]).name, *sys.argv[1:]])}`.")

    def finish(self, page):
        """Writes the page and prints it, or what would have run; returns the exit code: 0, or 75 where time was up."""
        if self.torch:
            self.torch.stop()
        if self.options.dry_run:
            for name, command in self.planned:
                print(f"{name}: {command}")
            print(f"{len(self.planned)} measurements")
            return 0
        page.blocks.insert(1, ("text", self.facts()))
        if not any(name.startswith("PyTorch") for name, _ in self.planned):
            self.missing["PyTorch, this run"] = "a miniature" if self.options.small else "--torch none, or no PyTorch with CUDA"
        failed = [(name, f"`{m['error']}`") for name, m in self.kept.items() if "error" in m]
        page.heading("Not measured")
        page.table(["what", "why"], [*self.missing.items(), *failed], left=2)
        page.heading("Commands")
        page.table(["measurement", "command"], [[name, f"`{m['command']}`"] for name, m in self.kept.items()], left=2)
        print(page.write(self.out).read_text().split("## Commands")[0])
        print(f"{self.out / 'report.html'}" + (f"; {len(self.left)} measurements left: run it again" if self.left else ""))
        return 75 if self.left else 0


def bytes_of(text):
    size, unit = text.split()
    return float(size) * {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}[unit]


def read_step(text):
    """The printed table of `lacuna bench step`."""
    found = {"phases_ms": {}}
    for line in text.splitlines():
        cells = re.match(r"(data|pruning|forward|backward|optimizer|between phases)\s+([\d.]+)\s", line)
        if cells:
            found["phases_ms"][cells[1]] = float(cells[2])
    found["step_ms"] = float(re.search(r"step, untimed\s+([\d.]+)", text)[1])
    rate = re.search(r"^([\d.e+]+) (tokens|images) per second; waiting for data ([\d.]+) ms per step; peak memory ([\d.]+ \w+)", text, re.M)
    found.update(items=rate[2], items_per_s=float(rate[1]), data_wait_ms=float(rate[3]), peak_bytes=bytes_of(rate[4]))
    idle = re.search(r"waits for the host ([\d.]+) %", text)
    found["idle_share"] = float(idle[1]) / 100 if idle else None
    found["device_name"] = re.match(r".* on \S+ \((.*)\), sparsity", text)[1]
    return found


def read_infer(result):
    """The fastest mode of the first variant (the network as it is), and under `twin` that of its dense twin."""
    def fastest(variant):
        modes = [m for m in variant["modes"] if m.get("error") is None and m["latency_ms"]["median"]]
        best = min(modes, key=lambda m: m["latency_ms"]["median"])
        return {"mode": best["mode"], "latency_ms": best["latency_ms"]["median"], "items_per_s": best["throughput_items_per_s"],
                "peak_bytes": best["peak_bytes"], "model_bytes": variant["model_bytes"], "sparsity": variant["sparsity"],
                "modes_ms": {m["mode"]: m["latency_ms"]["median"] for m in modes}}
    found = {**fastest(result["variants"][0]), "items": result["items"], "device_name": result["environment"].get("device_name")}
    if len(result["variants"]) > 1:
        found["twin"] = fastest(result["variants"][1])
    return found


def good(measurement):
    return bool(measurement) and "error" not in measurement


def cell(measurement, key, show=number):
    """What was measured, or what stands in its place: 'not measured', 'error', 'out of memory'."""
    if good(measurement):
        return show(measurement[key]) if measurement.get(key) is not None else NOT_MEASURED
    return NOT_MEASURED if not measurement else "out of memory" if measurement.get("exit_code") == 5 else "error"


def rate(measurement):
    """'109.7 k', items a second."""
    return cell(measurement, "items_per_s")


def gib(measurement):
    return cell(measurement, "peak_bytes", lambda size: f"{size / 2**30:.2f}")


def ratio(ours, theirs):
    """'2.00x', ours over theirs; both must have been measured."""
    return f"{ours / theirs:.2f}x" if ours and theirs else NOT_MEASURED
