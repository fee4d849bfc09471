#!/usr/bin/env python3
"""Sparse training methods compared: trains every method at every sparsity over several seeds, and writes one page of results.

    python3 experiments/methods/run.py --preset budget --data datasets   # 10 minutes of one GPU
    python3 experiments/methods/run.py --preset cpu --data datasets      # minutes of two CPU cores

The same command again skips what is finished and goes on with what was stopped. See README.md beside this file.
"""

import argparse
import dataclasses
import fnmatch
import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from common.program import INTERRUPTED, ROOT, Pool, data_directory, find_lacuna  # noqa: E402
from common.single_runs import check  # noqa: E402
from methods import results  # noqa: E402
from methods.calibrate import calibrate  # noqa: E402
from methods.runs import experiments, in_order, runs_of  # noqa: E402

PRESETS = {  # seeds, seconds, calibrated
    "full": ((1, 2, 3), None, False),
    "budget": ((1,), 600, True),
    "cpu": ((1, 2, 3), None, False),
    "smoke": ((1, 2), None, False),
}
LENGTHS = (0.45, 1.4)  # of the preset's, when calibration fits them to the time
CALIBRATION_STEPS = {"smoke": 20}


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="full",
                        help="full: hours; budget: 10 minutes of one GPU; cpu: minutes of two cores; smoke: seconds, no results")
    parser.add_argument("--budget", action="store_const", const="budget", dest="preset", help="the same as --preset budget")
    parser.add_argument("--gpus", help="numbers of the GPUs, such as 0,1; one run on each at a time (default: 0; none for cpu)")
    parser.add_argument("--per-gpu", type=int, help="runs side by side on each GPU (default: 1, or what calibration finds best); "
                        "times then mean nothing")
    parser.add_argument("--calibrate", action=argparse.BooleanOptionalAction, default=None,
                        help="first find out by short runs which precision, CUDA graph or not, and how many runs side by side are fastest, "
                        "and fit the lengths to --time-limit (default: for budget)")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1),
                        help="runs side by side on CPUs, one thread each (default: 2)")
    parser.add_argument("--seeds", help="such as 1,2,3")
    parser.add_argument("--epochs", type=float, help="passes of the image runs")
    parser.add_argument("--steps", type=int, help="steps of the text runs")
    parser.add_argument("--only", action="append", default=[], help="glob over run names, such as 'cifar10_rigl_*'; may repeat")
    parser.add_argument("--data", default=os.environ.get("LACUNA_DATA_DIR", "datasets"), help="directory of the data sets")
    parser.add_argument("--out", help="directory of runs and results (default: runs/methods-<preset>)")
    parser.add_argument("--time-limit", type=float, help="seconds after which runs are stopped, to go on later (budget: 600)")
    parser.add_argument("--lacuna", help="path of the program")
    parser.add_argument("--dry-run", action="store_true", help="check every run's config, list the runs, train nothing")
    options = parser.parse_args(arguments)
    seeds, limit, calibrated = PRESETS[options.preset]
    try:
        options.seeds = tuple(int(s) for s in options.seeds.split(",")) if options.seeds else seeds
    except ValueError:
        parser.error(f"--seeds {options.seeds}: must be whole numbers with commas between")
    options.time_limit = options.time_limit or limit
    options.calibrate = calibrated if options.calibrate is None else options.calibrate
    options.out = pathlib.Path(options.out or ROOT / "runs" / f"methods-{options.preset}").resolve()
    options.data = data_directory(options.data)
    if min(options.per_gpu or 1, options.jobs) < 1:
        parser.error("--per-gpu and --jobs must be at least 1")
    return options


def main(arguments=None):
    options = parse(arguments)
    lacuna = find_lacuna(options.lacuna)
    on_cpu = options.preset in ("cpu", "smoke") and not options.gpus
    device = "cpu" if on_cpu else "cuda"
    def slots_for(count):
        return [{"OMP_NUM_THREADS": "1"}] * count if on_cpu else \
            [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in (options.gpus or "0").split(",")] * count
    def select(listed):
        runs = in_order(listed, [run for e in listed for run in runs_of(e, device, options.seeds)], options.seeds)
        return [r for r in runs if not options.only or any(fnmatch.fnmatch(r.label(), glob) for glob in options.only)]
    listed = experiments(options.preset, options.data, options.epochs, options.steps)
    runs = select(listed)
    if not runs:
        sys.exit(f"--only {' '.join(options.only)}: no run has such a name")
    started, side_by_side = time.monotonic(), options.jobs if on_cpu else options.per_gpu or 1
    if options.calibrate and not options.dry_run:
        given = options.epochs or options.steps
        counts = [options.per_gpu] if options.per_gpu else [n for n in (1, 2, 3) if not on_cpu or n <= options.jobs]
        chosen = calibrate(listed, runs, device, CALIBRATION_STEPS.get(options.preset, 300), counts, slots_for,
                           None if given else LENGTHS, started + options.time_limit if options.time_limit else None, lacuna, options.out)
        side_by_side = chosen["side_by_side"]
        listed = [dataclasses.replace(e, steps=chosen["steps"].get(e.name, e.steps), settings={**e.settings, **chosen["settings"]})
                  for e in listed]
        runs = select(listed)
    slots = slots_for(side_by_side)
    pool = Pool(slots, options.time_limit and max(1.0, options.time_limit - (time.monotonic() - started)))
    if options.dry_run:
        refused = check(runs, lacuna, options.out, pool)
        for run in runs:
            print(run.label(), "finished before" if run.result(options.out) else "")
        for run, said in refused:
            print(f"REFUSED {run.label()}: {said}")
        print(f"{len(runs)} runs, {len(refused)} refused")
        return 1 if refused else 0

    left = [run for run in runs if run.result(options.out) is None]
    print(f"{len(runs)} runs, {len(runs) - len(left)} finished before, {len(slots)} side by side, in {options.out}", flush=True)
    failed, done = [], [0]

    def work(run, environment):
        begun = time.monotonic()
        code = run.train(lacuna, options.out, pool, environment)
        if code == 0:
            done[0] += 1
        elif code != INTERRUPTED:
            failed.append(run)
        said = {0: "done", INTERRUPTED: "stopped"}.get(code, f"FAILED with {code}: {run.directory(options.out) / 'log.txt'}")
        print(f"[{time.monotonic() - started:6.0f} s] {run.label()}: {said}, {time.monotonic() - begun:.0f} s", flush=True)

    pool.run(left, work)
    page = results.write(options.out, listed, runs, " ".join(["experiments/methods/run.py", *(arguments or sys.argv[1:])]))
    print(page.read_text())
    print(f"{done[0]} trained, {len(failed)} failed, {len(left) - done[0] - len(failed)} left; {options.out / 'report.html'}")
    return 1 if failed else INTERRUPTED if done[0] < len(left) else 0


if __name__ == "__main__":
    sys.exit(main())
