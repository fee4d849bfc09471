"""What experiments/methods/calibrate.py concludes from measurements, and the order in which runs go."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "experiments"))

from methods.calibrate import MODES, Measured, choose_count, choose_mode, fit, length, run_seconds  # noqa: E402
from methods.runs import experiments, in_order, runs_of  # noqa: E402

FAILURES = []


def check(name, got, expected):
    if got != expected:
        FAILURES.append(f"{name}: {got}, not {expected}")


def m(seconds, loss=1.0, each=1, overhead=0.0):
    return Measured(each, each, seconds, overhead, loss)


def modes():
    names = [name for name, _ in MODES]
    check("fastest", choose_mode(dict(zip(names, (m(0.008), m(0.005), m(0.004))))), names[2])
    check("a failed one", choose_mode(dict(zip(names, (m(0.008), m(0.005), None)))), names[1])
    check("a worse loss", choose_mode(dict(zip(names, (m(0.008), m(0.005), m(0.004, 1.2))))), names[1])
    check("a loss that is no number", choose_mode(dict(zip(names, (m(0.008), m(0.005, float("nan")), m(0.009))))), names[0])
    try:
        choose_mode(dict(zip(names, (None, m(0.005), None))))
        FAILURES.append("went on without a reference")
    except SystemExit:
        pass


def counts():
    check("twice at once for free", choose_count([m(0.004), m(0.004, each=2), m(0.0062, each=3)]).each, 2)
    check("nothing gained", choose_count([m(0.004), m(0.0079, each=2), m(0.0119, each=3)]).each, 1)
    check("one that failed", choose_count([m(0.004), None, m(0.005, each=3)]).each, 3)
    check("cost", m(0.004, each=2, overhead=4.0).cost(1000), 4.0)


def order_and_fit():
    listed = experiments("budget", "datasets")
    runs = in_order(listed, [run for e in listed for run in runs_of(e, "cuda", (1,))], (1,))
    check("runs", len(runs), 41)
    tags = [(r.tags["experiment"], r.tags["sparsity"]) for r in runs]
    check("first", tags[:11], [("cifar10", 0.0)] + [("cifar10", 0.9)] * 5 + [("cifar10", 0.95)] * 5)
    check("then", tags[11:21], [("cifar10", 0.8)] * 5 + [("cifar10", 0.98)] * 5)
    check("last", tags[21:], [("widths", 0.9)] * 2 + [("widths", 0.0)] * 2 + [("transformer", 0.0)] + [("transformer", 0.9)] * 5 +
          [("transformer", 0.95)] * 5 + [("transformer", 0.8)] * 5)
    seeds = in_order(listed, [run for e in listed for run in runs_of(e, "cuda", (2, 1))], (2, 1))
    check("seeds", [r.tags["seed"] for r in seeds], [2] * 41 + [1] * 41)
    wide = next(r for r in runs if r.tags.get("width") == 1.8)
    measured = {"cifar10": m(0.004, each=2, overhead=4), "widths": m(0.004, each=2, overhead=4), "transformer": m(0.008, each=2, overhead=3)}
    if not run_seconds(wide, 1000, measured) > 1.8 * 2.0 + 2:
        FAILURES.append("a wider network costs no more")
    previous = 0
    for seconds in (50, 200, 400, 700, 5000):
        factor, fits = fit(listed, runs, measured, seconds, 0.45, 1.4)
        by_name = {e.name: e for e in listed}
        total = sum(run_seconds(r, length(by_name[r.tags["experiment"]], factor), measured) for r in runs[:fits])
        if total > seconds or factor < previous or not 0.45 <= factor <= 1.4:
            FAILURES.append(f"{seconds} s: factor {factor}, {fits} runs, {total} s")
        previous = factor
    check("little time", fit(listed, runs, measured, 50, 0.45, 1.4)[1] < 41, True)
    check("much time", fit(listed, runs, measured, 5000, 0.45, 1.4), (1.4, 41))
    check("whole epochs", [length(e, 0.5) % (e.steps_per_epoch or 1) for e in listed], [0, 0, 0])


def main():
    modes()
    counts()
    order_and_fit()
    print("\n".join(FAILURES))
    print(f"{len(FAILURES)} failures")
    return 1 if FAILURES else 0


if __name__ == "__main__":
    sys.exit(main())
