"""Before a comparison that must fit a time: what the device is fastest at (precision, CUDA graph, runs side by side), by short runs
of the comparison's own first network; and the lengths at which the runs fit. What was chosen is kept in `calibration.json` beside the
runs, so that the same command goes on with it."""

import dataclasses
import json
import math
import sys
import time

from common.program import INTERRUPTED, Pool, write_json
from common.single_runs import Run
from methods.runs import Experiment, runs_of

# The first is what the others must agree with: a loss more than LOSS_MARGIN above its loses a mode its place, whatever its speed.
MODES = (("as configured", {}), ("bf16", {"training.precision": "bf16"}),
         ("bf16, CUDA graph", {"training.precision": "bf16", "training.cuda_graph": True}))
ALWAYS = {"training.checkpoint_every": 0}  # at the end, and when stopped: these runs are short
LOSS_MARGIN = 0.10
GAIN = 1.05  # more runs side by side must be worth this much
SHARE = 0.9  # of the time left that the runs may take by prediction: sparse steps and pattern updates cost more than dense steps


@dataclasses.dataclass(frozen=True)
class Measured:
    """Equal runs side by side, `count` in all, `each` on a GPU (or on the CPU)."""
    each: int
    count: int
    seconds_per_step: float  # of each run
    overhead: float  # seconds of a run beside its steps: start, data, evaluation
    loss: float

    def cost(self, steps):
        """Seconds of the device that a run takes, where all slots are kept busy."""
        return (steps * self.seconds_per_step + self.overhead) / self.count


def measure(e: Experiment, device, settings, each, steps, lacuna, out, slots):
    """Short dense runs of an experiment, one on each slot at once; None where one failed or never got to its end."""
    count = len(slots)
    short = dataclasses.replace(e, steps=steps, settings={**e.settings, **ALWAYS, **settings}, widths=(), methods=(), sparsities=())
    runs = [Run(r.base, {**r.settings, "training.log_every": max(1, steps // 20)}, {**r.tags, "experiment": f"calibrate_{e.name}_{each}"})
            for r in runs_of(short, device, range(101, 101 + count))]
    pool, took = Pool(slots, None), []
    def work(run, environment):
        begun = time.monotonic()
        if run.result(out) is None and run.train(lacuna, out, pool, environment) == 0:
            took.append(time.monotonic() - begun)
    pool.run(runs, work)
    if pool.stopped.is_set():
        sys.exit(INTERRUPTED)
    results = [run.result(out) for run in runs]
    if len(took) < count or any(r is None or not math.isfinite(r.get("loss_nats") or math.nan) for r in results):
        return None
    seconds = sum(r["step_time_ms"] for r in results) / count / 1000
    return Measured(each, count, seconds, max(0.0, sum(took) / count - steps * seconds), sum(r["loss_nats"] for r in results) / count)


def choose_mode(measured):
    """The name of the fastest mode among {name: Measured or None}, those with a worse loss left out."""
    first = measured[MODES[0][0]]
    if first is None:
        sys.exit("the first run of the calibration failed: runs/calibrate_*/log.txt says why")
    sound = {n: m for n, m in measured.items() if m and m.loss <= first.loss * (1 + LOSS_MARGIN)}
    return min(sound, key=lambda n: sound[n].seconds_per_step)


def choose_count(measured):
    """Runs side by side, from a list of Measured with rising counts."""
    best = measured[0]
    for m in measured[1:]:
        if m and m.count / m.seconds_per_step > GAIN * best.count / best.seconds_per_step:
            best = m
    return best


def run_seconds(run, steps, measured):
    """Predicted seconds of the device. A step is bound by memory, so it grows with the width; a little more for its products."""
    width = run.tags.get("width") or 1
    m = measured[run.tags["experiment"]]
    return dataclasses.replace(m, seconds_per_step=m.seconds_per_step * max(width, 0.5) ** 1.2).cost(steps)


def length(e, factor):
    """The experiment's steps times `factor`, in whole epochs where it has them."""
    if e.steps_per_epoch:
        return max(1, round(factor * e.steps / e.steps_per_epoch)) * e.steps_per_epoch
    return max(1, round(factor * e.steps))


def fit(listed, runs, measured, seconds, least, most):
    """(factor on every experiment's length, how many runs fit): all runs, as long as they may be; at `least` those that come first."""
    by_name = {e.name: e for e in listed}
    total = lambda factor, some: sum(run_seconds(r, length(by_name[r.tags["experiment"]], factor), measured) for r in some)
    for step in range(50, -1, -1):
        factor = least + (most - least) * step / 50
        if total(factor, runs) <= SHARE * seconds:
            return factor, len(runs)
    fits = 0
    while fits < len(runs) and total(least, runs[:fits + 1]) <= SHARE * seconds:
        fits += 1
    return least, fits


def calibrate(listed, runs, device, steps, counts, slots_for, lengths, deadline, lacuna, out):
    """Settings for every run, runs side by side and a factor on the lengths, as a dict; from calibration.json where that is there.

    steps: of a short run. counts: of runs side by side to try, rising. slots_for(count): the pool's slots. lengths: (least, most)
    factor, None to leave lengths alone. deadline: of the whole comparison, on time.monotonic's clock.
    """
    file = out / "calibration.json"
    if file.exists():
        chosen = json.loads(file.read_text())
        print(f"as calibrated before ({file}): {chosen['said']}", flush=True)
        return chosen
    # An experiment of widths has the network of the one before it; its width enters the prediction.
    kinds = {}
    for e in listed:
        kinds.setdefault(e.base, []).append(e)
    image = listed[0]
    begun = time.monotonic()
    said = lambda name, m: print(f"[{time.monotonic() - begun:4.0f} s] {name}: " + (
        f"{1000 * m.seconds_per_step:.2f} ms a step, {m.count / m.seconds_per_step:.0f} steps/s together, {m.overhead:.1f} s beside, "
        f"loss {m.loss:.4f}" if m else "failed"), flush=True)
    short = lambda e, settings, each: measure(e, device, settings, each, steps, lacuna, out, slots_for(each))
    modes = {}
    for name, settings in MODES:
        if device == "cpu" and "training.cuda_graph" in settings:
            continue
        modes[name] = short(image, settings, counts[0])
        said(f"{name}, {counts[0]} side by side", modes[name])
    mode = choose_mode(modes)
    settings = dict(MODES)[mode]
    tried = [modes[mode]]
    for count in counts[1:]:
        tried.append(short(image, settings, count))
        said(f"{mode}, {count} side by side", tried[-1])
    best = choose_count(tried)
    measured = {e.name: best for e in kinds[image.base]}
    for base, group in kinds.items():
        if base == image.base:
            continue
        m = short(group[0], settings, best.each)
        said(f"{group[0].name}, {best.each} side by side", m)
        measured.update({e.name: m or best for e in group})
    factor, fits = 1.0, len(runs)
    if lengths and deadline:
        factor, fits = fit(listed, runs, measured, deadline - time.monotonic(), *lengths)
    lasts = {e.name: length(e, factor) if lengths else e.steps for e in listed}
    text = f"{mode}, {best.each} side by side, steps {lasts}; {fits} of {len(runs)} runs predicted to fit"
    chosen = {"said": text, "mode": mode, "settings": {**ALWAYS, **settings}, "side_by_side": best.each, "steps": lasts, "fit": fits,
              "tried": {**{n: m and dataclasses.asdict(m) for n, m in modes.items()},
                        **{f"{mode}, {m.each}": dataclasses.asdict(m) for m in tried if m}}}
    write_json(file, chosen)
    print(f"[{time.monotonic() - begun:4.0f} s] chosen: {text}", flush=True)
    return chosen
