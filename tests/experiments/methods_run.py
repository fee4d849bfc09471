"""experiments/methods/run.py end to end on made-up data: results, resumption, selection, refusals, and that every preset's configs hold.

usage: methods_run.py PATH/TO/lacuna
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
FAILURES = []


def check(name, truth, detail=""):
    if not truth:
        FAILURES.append(f"{name}: {detail}")


def run(binary, *arguments):
    command = [sys.executable, str(ROOT / "experiments/methods/run.py"), "--lacuna", str(binary), *map(str, arguments)]
    return subprocess.run(command, env={**os.environ, "OMP_WAIT_POLICY": "passive"}, capture_output=True, text=True, timeout=300)


def end_to_end(binary, home):
    out = home / "out"
    part = run(binary, "--preset", "smoke", "--out", out, "--only", "tiny_set_*", "--only", "tiny_dense*_1")
    check("part", part.returncode == 0 and "5 trained, 0 failed, 0 left" in part.stdout, part.stdout[-400:] + part.stderr[-300:])
    stopped = run(binary, "--preset", "smoke", "--out", out, "--time-limit", "0.05")
    check("stopped", stopped.returncode == 75 and "time is up" in stopped.stdout, f"{stopped.returncode} {stopped.stdout[-400:]}")
    whole = run(binary, "--preset", "smoke", "--out", out, "--jobs", "2")
    check("whole", whole.returncode == 0, whole.stdout[-400:] + whole.stderr[-300:])
    before = int(re.search(r"30 runs, (\d+) finished before", whole.stdout)[1])
    check("whole", before >= 5, f"{before} finished before")
    results = json.loads((out / "results.json").read_text())
    check("results", results["schema"] == "lacuna-methods/1" and len(results["runs"]) == 30, str(len(results["runs"])))
    for r in results["runs"]:
        name = f"{r['method']} {r['sparsity']} {r['seed']}"
        check(name, r["finished"] and 0 < r["accuracy"] <= 1 and r["state_bytes"] > 0, str(r)[:300])
        check(name, abs(r["sparsity_reached"] - r["sparsity"]) < 2e-3, r["sparsity_reached"])
        check(name, r["environment"]["device"] == "cpu" and "command_line" not in r["environment"], str(r["environment"]))
    check("results", len(results["checks"]["tiny"]) == 6, str(results["checks"]))
    text, html = (out / "results.md").read_text(), (out / "report.html").read_text()
    equal = {r["width"]: r["state_bytes"] for r in results["runs"] if r["experiment"] == "widths"}
    check("widths", sorted(equal) == [0.25, 1, 2] and "2 wide, 90 % sparse (rigl)" in text and "Nothing to say." in text, text)
    check("page", all(m in text for m in ("magnitude", "rigl", "set", "static", "one_shot", "±")), text)
    check("page", "<svg" in html and not any(x in html for x in ("<script", "http:", "https:")), "report.html")
    check("page", str(home) not in json.dumps(results["runs"][0]["environment"]), "a path of this machine")
    again = run(binary, "--preset", "smoke", "--out", out)
    check("again", again.returncode == 0 and "30 finished before" in again.stdout and "0 trained" in again.stdout, again.stdout[-300:])
    longer = run(binary, "--preset", "smoke", "--out", out, "--seeds", "3", "--only", "tiny_static*")
    check("another seed", "2 trained" in longer.stdout, longer.stdout[-300:])
    # The same seed, the same numbers: what a stop and a resumption must not change.
    fresh = run(binary, "--preset", "smoke", "--out", home / "fresh", "--only", "tiny_rigl_0.9_*")
    check("fresh", fresh.returncode == 0, fresh.stderr[-300:])
    numbers = lambda records: {r["seed"]: r["loss_nats"] for r in records
                               if (r["experiment"], r["method"], r["sparsity"]) == ("tiny", "rigl", 0.9)}
    mine = numbers(json.loads((home / "fresh/results.json").read_text())["runs"])
    check("fresh", mine == numbers(results["runs"]), f"{mine} {numbers(results['runs'])}")


def calibrated(binary, home):
    """The choice is made by runs, kept, and gone on with; a program that fails ends it with a message."""
    arguments = ("--preset", "smoke", "--calibrate", "--out", home / "out", "--seeds", "1", "--only", "tiny_set*", "--jobs", "2", "--time-limit", "250")
    once = run(binary, *arguments)
    check("calibrated", once.returncode == 0 and "2 trained, 0 failed, 0 left" in once.stdout, once.stdout[-600:] + once.stderr[-300:])
    check("calibrated", "bf16, 1 side by side: " in once.stdout and "failed" not in once.stdout.split("chosen:")[0], once.stdout[:600])
    chosen = json.loads((home / "out/calibration.json").read_text())
    results = json.loads((home / "out/results.json").read_text())
    steps = {r["settings"]["training.steps"] for r in results["runs"]}
    check("calibrated", steps == {chosen["steps"]["tiny"]} and 9 <= min(steps) <= 28, f"{steps} {chosen}")
    check("calibrated", all(r["settings"].get("training.precision") == chosen["settings"].get("training.precision") for r in results["runs"]),
          str(chosen))
    again = run(binary, *arguments)
    check("calibrated again", again.returncode == 0 and "as calibrated before" in again.stdout and "0 trained" in again.stdout, again.stdout[-300:])
    failing = run(pathlib.Path("/bin/false"), "--preset", "smoke", "--calibrate", "--out", home / "failing")
    check("calibration fails", failing.returncode == 1 and "first run of the calibration failed" in failing.stderr and
          "Traceback" not in failing.stderr, failing.stderr[-300:])


def presets(binary, home):
    for preset, count in (("full", 123), ("budget", 41), ("cpu", 75)):
        # The first seed of each: others differ in the seed alone.
        dry = run(binary, "--preset", preset, "--out", home / preset, "--seeds", "1", "--dry-run", "--data", "/nowhere")
        check(preset, dry.returncode == 0 and f"{count // (1 if preset == 'budget' else 3)} runs, 0 refused" in dry.stdout, dry.stdout[-600:])
        check(preset, not list((home / preset).glob("runs/*/sweep")), "something was trained")


def refusals(binary, home):
    for arguments, part in ((("--preset", "tests"), "invalid choice"), (("--seeds", "one"), "whole numbers"), (("--jobs", "0"), "at least 1"),
                            (("--preset", "smoke", "--only", "nothing", "--out", home / "x"), "no run has such a name")):
        done = run(binary, *arguments)
        check(str(arguments), done.returncode != 0 and part in done.stderr and "Traceback" not in done.stderr, done.stderr[-300:])
    failing = run(pathlib.Path("/bin/false"), "--preset", "smoke", "--out", home / "failing", "--only", "tiny_set_0.8_1")
    check("failing", failing.returncode == 1 and "1 failed" in failing.stdout, failing.stdout[-300:])


def main():
    binary = pathlib.Path(sys.argv[1]).resolve()
    for part in (end_to_end, calibrated, presets, refusals):
        with tempfile.TemporaryDirectory() as directory:
            part(binary, pathlib.Path(directory))
    print("\n".join(FAILURES))
    print(f"{len(FAILURES)} failures")
    return 1 if FAILURES else 0


if __name__ == "__main__":
    sys.exit(main())
