"""results.json, results.md and report.html of a comparison of methods."""

import math
import statistics

from common.charts import lines, number
from common.page import NOT_MEASURED, Page
from common.program import revision, today, write_json

NUMBERS = ("accuracy", "bits_per_byte", "loss_nats", "forward_flops_per_example", "dense_forward_flops_per_example",
           "state_bytes", "peak_bytes", "step_time_ms", "training_s")
ENVIRONMENT = ("date_utc", "lacuna_version", "git", "build_type", "compiler", "os", "cpu", "cores_usable", "device", "device_name",
               "cuda_runtime", "cuda_driver")
# What is expected of any two methods, better first: magnitude and RigL above SET above static.
ORDER = (("magnitude", "set"), ("rigl", "set"), ("set", "static"))


def collect(out, runs):
    """One record per run: its tags, its settings and, once finished, its numbers."""
    records = []
    for run in runs:
        found = run.result(out)
        record = {**run.tags, "base": run.base, "settings": run.settings, "finished": found is not None}
        if found:
            record.update({name: found.get(name) for name in NUMBERS})
            record["sparsity_reached"] = found.get("sparsity")
            record["environment"] = {key: found["environment"].get(key) for key in ENVIRONMENT}
        records.append(record)
    return records


def mean_and_deviation(values):
    """Over what is there; the deviation of the sample, None of a single value."""
    values = [v for v in values if v is not None]
    if not values:
        return None, None
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def quality_of(records):
    """(key, scale, is a lower value better, decimals, what it is called)."""
    if any(r.get("bits_per_byte") is not None for r in records):
        return "bits_per_byte", 1, True, 4, "bits per byte"
    return "accuracy", 100, False, 2, "accuracy, %"


def groups_of(records):
    """Finished records in groups that differ in the seed alone: {(method, sparsity, width): records}; [] where none has finished."""
    groups = {}
    for r in records:
        groups.setdefault((r["method"], r["sparsity"], r.get("width")), []).extend([r] if r["finished"] else [])
    return groups


def compare(better, worse, key, lower_is_better):
    """Does `better` beat `worse`? Returns (verdict, difference, its standard error or None).

    With two or more seeds on both sides a difference under twice its standard error (of two means) is 'not resolved'; with one seed
    there is no error to judge by, and the verdict says so.
    """
    a, b = ([r[key] for r in side if r[key] is not None] for side in (better, worse))
    if not a or not b:
        return "missing", None, None
    difference = (statistics.fmean(a) - statistics.fmean(b)) * (-1 if lower_is_better else 1)
    if min(len(a), len(b)) < 2:
        return ("holds, one seed" if difference > 0 else "DEVIATES, one seed"), difference, None
    error = math.sqrt(statistics.variance(a) / len(a) + statistics.variance(b) / len(b))
    if abs(difference) <= 2 * error:
        return "not resolved", difference, error
    return ("holds" if difference > 0 else "DEVIATES"), difference, error


def checks_of(records):
    """The expected order at each sparsity of one experiment."""
    key, _, lower, _, _ = quality_of(records)
    groups, found = groups_of(records), []
    for sparsity in sorted({r["sparsity"] for r in records if r["sparsity"]}):
        of = lambda method: groups.get((method, sparsity, None), [])
        for better, worse in ORDER:
            if not any(r["method"] == better for r in records) or not any(r["method"] == worse for r in records):
                continue
            verdict, difference, error = compare(of(better), of(worse), key, lower)
            found.append({"sparsity": sparsity, "expected": f"{better} above {worse}", "verdict": verdict, "better_by": difference,
                          "standard_error": error})
    return found


def plus_minus(values, scale, decimals):
    mean, deviation = mean_and_deviation(values)
    if mean is None:
        return NOT_MEASURED
    return f"{scale * mean:.{decimals}f}" + (f" ± {scale * deviation:.{decimals}f}" if deviation is not None else "")


def methods_section(page, e, records):
    key, scale, lower, decimals, name = quality_of(records)
    groups = groups_of(records)
    methods = [m for m in e.methods if any(g[0] == m for g in groups)]
    values = lambda method, s, k=key: [r[k] for r in groups.get((method, s, None), [])]
    dense = [r[key] for r in groups.get(("dense", 0.0, None), [])]
    header = ["method"] + [f"{100 * s:g} %" for s in e.sparsities]
    rows = [[m] + [plus_minus(values(m, s), scale, decimals) for s in e.sparsities] for m in methods]
    page.text(f"{name[0].upper() + name[1:]} on the test set{', lower is better' if lower else ''}; mean ± standard deviation over seeds. "
              f"Dense: {plus_minus(dense, scale, decimals)}.")
    page.table(header, rows)
    points = lambda k, factor: [(m, [(100 * s, factor * mean_and_deviation(values(m, s, k))[0],
                                      factor * (mean_and_deviation(values(m, s, k))[1] or 0)) for s in e.sparsities
                                     if mean_and_deviation(values(m, s, k))[0] is not None]) for m in methods]
    reference = [("dense", scale * mean_and_deviation(dense)[0])] if dense else []
    marks = [100 * s for s in e.sparsities]
    dense_bytes = mean_and_deviation([r["state_bytes"] for r in groups.get(("dense", 0.0, None), [])])[0]
    dense_mib = [("dense", dense_bytes / 2**20)] if dense_bytes else []
    page.charts([lines(f"{e.title}: {name}", "sparsity, %", "lower is better" if lower else "higher is better", points(key, scale),
                       reference, x_ticks=marks),
                 lines("Weights, gradients, optimizer state, patterns", "sparsity, %", "MiB at the end of training",
                       points("state_bytes", 1 / 2**20), dense_mib, x_ticks=marks, from_zero=True)], methods)


def widths_section(page, records, note):
    """Wider and sparser beside narrower and dense: accuracy, FLOPs, bytes."""
    key, scale, lower, decimals, name = quality_of(records)
    rows, points = [], {}
    for (method, sparsity, width), group in groups_of(records).items():
        flops, state = (mean_and_deviation([r[k] for r in group])[0] for k in ("forward_flops_per_example", "state_bytes"))
        rows.append([f"{width:g} wide, " + (f"{100 * sparsity:g} % sparse ({method})" if sparsity else "dense"), str(len(group)),
                     plus_minus([r[key] for r in group], scale, decimals), number(flops) if group else NOT_MEASURED,
                     f"{state / 2**20:.2f} MiB" if group else NOT_MEASURED])
        if not group:
            continue
        mean, deviation = mean_and_deviation([r[key] for r in group])
        points.setdefault("dense" if not sparsity else method, []).append((flops / 1e6, scale * mean, scale * (deviation or 0)))
    page.text(note)
    page.table(["network", "runs", name, "FLOPs forward, one image", "state"], rows)
    page.charts([lines("Accuracy against cost", "MFLOPs of a forward pass, one image", name, list(points.items()), log_x=True)], points)


def checks_section(page, checks, scale, lower, decimals):
    if not checks:
        return
    page.heading("Expected order", 3)
    page.text("Magnitude and RigL above SET above static. 'not resolved': the difference is within two standard errors.")
    unit = "bits" if lower else "points"
    rows = []
    for c in checks:
        by = NOT_MEASURED if c["better_by"] is None else f"{scale * c['better_by']:+.{decimals}f} {unit}"
        error = "" if c["standard_error"] is None else f" (error {scale * c['standard_error']:.{decimals}f})"
        rows.append([f"{100 * c['sparsity']:g} %", c["expected"], by + error, c["verdict"]])
    page.table(["sparsity", "expected", "by", "verdict"], rows, left=2)


def distinct(records, key):
    """What the environments of the finished runs say, each once."""
    return sorted({str(r["environment"][key]) for r in records if r["finished"] and r["environment"].get(key)})


def facts(records, command):
    """Hardware, dates, commit and command in a paragraph."""
    said = lambda key: ", ".join(distinct(records, key)) or "-"
    dates = sorted({date[:10] for date in distinct(records, "date_utc")})
    return (f"{sum(r['finished'] for r in records)} of {len(records)} runs finished. Hardware: {said('device_name')}; {said('cpu')}. Trained "
            f"{' to '.join(dict.fromkeys((dates[0], dates[-1]))) if dates else 'never'}, built from {said('git')}. Command: `{command}`.")


def write(out, listed, runs, command):
    """Writes the three files into `out` from whatever has finished; returns the Markdown's path. Notes come from out/notes.md."""
    records = collect(out, runs)
    result = {"schema": "lacuna-methods/1", "date": today(), "commit": revision(), "command": command, "devices": distinct(records, "device_name"),
              "runs": records, "checks": {}}
    page = Page("Sparse training methods compared")
    page.text(facts(records, command),
              "Sparsity is that of the pruned weights; what a config leaves dense is not counted. All methods of an experiment have the "
              "same length, learning rates and share of nonzeros by layer. Step times are in results.json; they mean something only "
              "where runs had a device to themselves.")
    page.notes(out / "notes.md")
    for e in listed:
        of_it = [r for r in records if r["experiment"] == e.name]
        if not any(r["finished"] for r in of_it):
            continue
        page.heading(e.title)
        length = f"{e.steps / e.steps_per_epoch:g} epochs ({e.steps} steps)" if e.steps_per_epoch else f"{e.steps} steps"
        page.text(f"`{e.base}`, {length}, distribution `{e.distribution}`; {sum(r['finished'] for r in of_it)} of {len(of_it)} runs.")
        if e.widths:
            widths_section(page, of_it, e.note)
            continue
        methods_section(page, e, of_it)
        _, scale, lower, decimals, _ = quality_of(of_it)
        result["checks"][e.name] = checks_of(of_it)
        checks_section(page, result["checks"][e.name], scale, lower, decimals)
    write_json(out / "results.json", result)
    return page.write(out)
