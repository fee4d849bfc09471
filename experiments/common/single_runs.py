"""Training runs as one-run sweeps: each has a sweep file of its own, so that runs can go in parallel, be stopped, and be resumed alone.

A run's directory is named after its settings: with other settings it is another run, and nothing old is taken for new.
"""

import dataclasses
import hashlib
import json
import pathlib

from common.program import ROOT


@dataclasses.dataclass(frozen=True)
class Run:
    """One training. `tags` say what it is, in the results' words (experiment, method, sparsity, seed, ...)."""
    base: str  # config, relative to the repository
    settings: dict  # dotted config key: value
    tags: dict

    def label(self):
        return "_".join(str(v).replace(" ", "-") for v in self.tags.values())

    def sweep_text(self, name, output_dir):
        lines = [f"# {self.label()}", f"name: {name}", f"base: {self.base}", f"output_dir: {json.dumps(str(output_dir))}", "grid:"]
        return "\n".join(lines + [f"  {key}: [{json.dumps(value)}]" for key, value in self.settings.items()]) + "\n"

    def directory(self, out):
        content = json.dumps([self.base, (ROOT / self.base).read_text(), self.settings], sort_keys=True)
        return pathlib.Path(out) / "runs" / f"{self.label()}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"

    def result(self, out):
        """The finished run's numbers with its environment; None while there are none."""
        for path in self.directory(out).glob("sweep/*/runs/*/result.json"):
            result = json.loads(path.read_text())
            if result.get("status") == "finished":
                run = path.parents[2] / result["directory"]
                result["environment"] = json.loads((run / "env.json").read_text())
                return result
        return None

    def train(self, lacuna, out, pool, environment, overrides=()):
        """Trains, or goes on; returns lacuna's exit code."""
        directory = self.directory(out)
        directory.mkdir(parents=True, exist_ok=True)
        file = directory / "sweep.yaml"
        begun = sorted(directory.glob("sweep/*/overrides.json"))
        if begun:
            command = [lacuna, "sweep", "--resume", begun[-1].parent]
        else:
            file.write_text(self.sweep_text("sweep", directory))
            command = [lacuna, "sweep", file, *overrides]
        return pool.call(command, environment, directory / "log.txt")


def check(runs, lacuna, out, pool):
    """`lacuna sweep --dry-run` of every run; returns [(run, what was said)] of those refused. Leaves nothing but the sweep files."""
    refused = []
    for run in runs:
        directory = run.directory(out)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "sweep.yaml").write_text(run.sweep_text("sweep", directory))
        log = directory / "dry_run.txt"
        if pool.call([lacuna, "sweep", directory / "sweep.yaml", "--dry-run"], {}, log) != 0:
            refused.append((run, log.read_text().strip()))
        log.unlink()
    return refused
