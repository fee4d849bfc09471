"""`lacuna bench kernels`: a small run on the CPU leaves what its page promises; bad input is refused before anything is written.

usage: bench_kernels.py PATH/TO/lacuna
"""

import csv
import json
import os
import pathlib
import sys
import tempfile

from lacuna_process import lacuna, snapshot

CONFIG, DATA = 2, 3
SMTX = "4, 6, 8\n0 2 2 5 8\n0 5 1 2 3 0 3 4\n"
FAILURES = []


def check(name, truth, detail=""):
    if not truth:
        FAILURES.append(f"{name}: {detail}")


def bench(binary, home, *arguments):
    device = () if "--device" in arguments else ("--device", "cpu")
    return lacuna(binary, "bench", "kernels", *device, *arguments, cwd=home, timeout=240)


def small_run(binary, home):
    folder = home / "dlmc/transformer/magnitude_pruning/0.5"
    folder.mkdir(parents=True)
    (folder / "layer.smtx").write_text(SMTX)
    done = bench(binary, home, "--suite", "quick", "--smtx", home / "dlmc", "--quick", "--budget-ms", "1",
                 "--filter", "uniform/512x512/0.9,uniform/333x257,transformer,attention", "--out", home / "out")
    check("run", done.returncode == 0, done.stdout[-2000:] + done.stderr)
    check("run", sorted(p.name for p in (home / "out").iterdir()) == ["report.html", "results.csv", "results.json"], "files")
    data = json.loads((home / "out/results.json").read_text())
    lines = list(csv.DictReader((home / "out/results.csv").open()))
    check("run", data["schema"] == "lacuna-bench-kernels/1", data["schema"])
    check("run", len(lines) == len(data["results"]) > 50, f"{len(lines)} lines")
    check("run", list(lines[0]) == list(data["results"][0]), "CSV and JSON have the same columns")
    for line in data["results"]:
        name = f"{line['op']} {line['matrix']} {line['contender']}"
        check(name, line["status"] == "ok" and line["median_us"] > 0, line["note"])
        check(name, line["p10_us"] <= line["median_us"] <= line["p90_us"], "order of quantiles")
        check(name, line["max_error"] is None or line["max_error"] <= line["bound"], f"{line['max_error']}")
        check(name, abs(line["sparsity"] - (1 - line["nnz"] / (line["m"] * line["k"]))) < 1e-9, "sparsity")
    ops = {line["op"] for line in data["results"]}
    check("run", ops == {"spmm", "spmm_transposed", "sddmm", "sparse_softmax", "sparse_softmax_backward", "attention", "attention_training"}, ops)
    check("run", {256, 2048} <= {line["n"] for line in data["results"] if line["family"] == "transformer"}, "the paper's N")
    kinds = {line["kind"] for line in data["results"]}
    check("run", kinds == {"ours", "sparse", "dense"}, kinds)
    html = (home / "out/report.html").read_text()
    check("run", "<svg" in html and "<script" not in html and "https://" not in html, "report is self-contained")
    check("run", "best sparse" in done.stdout and "0 failed checks" in done.stdout, done.stdout[-500:])

    causal = [line for line in data["results"] if line["contender"] == "lacuna_causal"]
    check("run", {line["op"] for line in causal} == {"attention", "attention_training"} and
          all("causal" in line["matrix"] and line["max_error"] is not None for line in causal), causal)

    saved = bench(binary, home, "--suite", "quick", "--filter", "attention/f32/attention/band64/", "--budget-ms", "1", "--save-patterns",
                  "--out", home / "saved")
    (pattern,) = (home / "saved").glob("*.smtx")
    check("saved", saved.returncode == 0 and pattern.name == "attention_band64_512.smtx" and
          pattern.read_text().startswith("512, 512, 30752\n0 1 3 6 "), (pattern.name, pattern.read_text()[:40]))
    same = bench(binary, home, "--smtx", pattern, "--n", "64", "--op", "attention", "--budget-ms", "1", "--out", home / "same")
    check("saved", same.returncode == 0 and "0 failed checks" in same.stdout, same.stdout + same.stderr)

    before = snapshot(home)
    again = bench(binary, home, "--m", "16", "--budget-ms", "1", "--out", home / "out")
    check("again", again.returncode == CONFIG and "must be a new folder" in again.stderr, again.stderr)
    check("again", snapshot(home) == before, "the first results changed")


def bad_input(binary, home):
    (home / "broken.smtx").write_text("4, 6, 8\n0 2 2 5 8\n0 5 1 2 3 0 3 6\n")
    (home / "plain.smtx").write_text(SMTX)
    (home / "empty").mkdir()
    out = ("--out", home / "bad")
    cases = [
        (CONFIG, (), ["nothing to measure"]),
        (CONFIG, ("--suite", "everything"), ["--suite", "everything", "dlmc, rnn, square, attention or quick"]),
        (CONFIG, ("--suite", "dlmc"), ["LACUNA_DATA_DIR"]),
        (CONFIG, ("--suite", "quick", "--op", "spmm,spmv"), ["--op", "spmv", "sddmm"]),
        (CONFIG, ("--suite", "quick", "--dtype", "fp8"), ["--dtype", "fp8", "bf16"]),
        (CONFIG, ("--suite", "quick", "--dtype", "bf16"), ["--dtype", "CPU"]),
        (CONFIG, ("--suite", "quick", "--filter", "no such name"), ["--filter", "no such name"]),
        (CONFIG, ("--suite", "quick", "--contenders", "mkl"), ["--contenders", "mkl", "lacuna"]),
        (CONFIG, ("--suite", "quick", "--m", "64"), ["--suite", "--m"]),
        (CONFIG, ("--m", "64", "--sparsity", "90"), ["--sparsity", "[0, 1)"]),
        (CONFIG, ("--m", "-3"), ["--m", "-3"]),
        (CONFIG, ("--m", "many"), ["--m"]),
        (CONFIG, ("--m", "64", "--pattern", "cov:x"), ["--pattern", "cov:x"]),
        (CONFIG, ("--m", "64", "--budget-ms", "-1"), ["--budget-ms"]),
        (CONFIG, ("--device", "gpu", "--m", "64"), ["gpu"]),
        (CONFIG, ("--unknown",), ["--unknown"]),
        (CONFIG, ("--smtx", home / "plain.smtx"), ["plain.smtx", "give --n"]),
        (DATA, ("--smtx", home / "absent"), ["absent", "no such file"]),
        (DATA, ("--smtx", home / "empty"), ["empty", "no .smtx files"]),
    ]
    for code, arguments, parts in cases:
        before = snapshot(home)
        done = bench(binary, home, *arguments, *out)
        name = " ".join(map(str, arguments)) or "(nothing)"
        check(name, done.returncode == code, f"exit code {done.returncode}: {done.stderr[:300]}")
        for part in parts:
            check(name, part in done.stderr, f"'{part}' is not in: {done.stderr[:300]}")
        check(name, "terminate" not in done.stderr, done.stderr[:300])
        check(name, snapshot(home) == before, "something was written")
    # A broken file among sound ones is found when its turn comes.
    done = bench(binary, home, "--smtx", home / "broken.smtx", "--n", "8", *out)
    check("broken.smtx", done.returncode == DATA and "broken.smtx:3: column 6 in row 3" in done.stderr, done.stderr[:300])


def main():
    os.environ.pop("LACUNA_DATA_DIR", None)  # data that is there would be benchmarked
    binary = pathlib.Path(sys.argv[1]).resolve()
    for part in (small_run, bad_input):
        with tempfile.TemporaryDirectory(prefix="lacuna-bench-") as directory:
            part(binary, pathlib.Path(directory))
    print("\n".join(FAILURES[:40]))
    print(f"{len(FAILURES)} failures")
    return 1 if FAILURES else 0


if __name__ == "__main__":
    sys.exit(main())
