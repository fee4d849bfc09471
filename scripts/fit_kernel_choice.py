#!/usr/bin/env python3
"""Fits the constants of core/ops/kernel_choice.cpp, kernels/spmm_tensor/tiling.cpp and kernels/sddmm/sddmm_tiling.cpp to
measurements.

    lacuna bench kernels --suite dlmc --op spmm,sddmm --dtype f32,tf32 --contenders lacuna,route_,cublaslt --out A
    lacuna bench kernels --suite square --contenders lacuna,route_,cublaslt --out B
    scripts/fit_kernel_choice.py A/results.csv B/results.csv

Every model is a sum of terms with positive factors; squares of relative errors are least. Prints each model's constants
as they stand in C++, its error (root mean square, relative) and how many measurements it has seen; then what a choice by
the fitted models would lose against one that knew the times.
"""
import csv
import math
import sys
from collections import defaultdict

MULTIPROCESSORS = 132


def read(paths):
    """{problem: {contender: seconds}}; a problem is (op, dtype, m, k, nnz, n), m k n as `bench kernels` has them."""
    problems = defaultdict(dict)
    for path in paths:
        with open(path, newline="") as file:
            for line in csv.DictReader(file):
                if line["status"] != "ok" or int(line["batch"]) != 1:
                    continue
                key = (line["op"], line["dtype"], *(int(line[x]) for x in ("m", "k", "nnz", "n")))
                problems[key][line["contender"]] = float(line["median_us"]) * 1e-6
    return problems


def least_squares(rows):
    """Nonnegative w with the least sum of (row . w - 1)^2, by coordinate descent on the normal equations."""
    n = len(rows[0])
    scale = [max(math.sqrt(sum(r[j] ** 2 for r in rows)), 1e-300) for j in range(n)]
    a = [[sum(r[i] * r[j] for r in rows) / scale[i] / scale[j] for j in range(n)] for i in range(n)]
    b = [sum(r[j] for r in rows) / scale[j] for j in range(n)]
    w = [0.0] * n
    for _ in range(200000):
        change = 0.0
        for j in range(n):
            if a[j][j] == 0:
                continue
            new = max(0.0, w[j] + (b[j] - sum(a[j][i] * w[i] for i in range(n))) / a[j][j])
            change, w[j] = max(change, abs(new - w[j])), new
        if change < 1e-13 * max(w):
            break
    return [w[j] / scale[j] for j in range(n)]


def mean(xs):
    return f"{math.exp(sum(map(math.log, xs)) / len(xs)):.3f}" if xs else "-"


def fit(name, samples, terms):
    """samples: [(problem, seconds)]; terms: problem -> values whose weighted sum is the time. Returns a predictor."""
    rows = [[x / t for x in terms(*p)] for p, t in samples]
    if not rows or len(rows) < 2 * len(rows[0]):
        print(f"{name}: {len(rows)} measurements, too few to fit")
        return None
    weights = least_squares(rows)
    predict = lambda *p: sum(w * x for w, x in zip(weights, terms(*p)))  # noqa: E731
    error = math.sqrt(sum((predict(*p) / t - 1) ** 2 for p, t in samples) / len(samples))
    print(f"{name}: {len(samples)} measurements, error {100 * error:.1f} %")
    return predict, weights


def rate(weight):
    return f"{1 / weight:.3g}" if weight > 0 else "infinite (no such term was found)"


# ---- terms; m, k, nnz, n as of the bench: SpMM A [m, k] B [k, n]; SDDMM A [m, n] B [k, n] on a pattern [m, k]

def sparse_terms(m, k, nnz, n):
    return 1.0, 2.0 * nnz * n, 4.0 * (m + k) * n


CLUSTERS = (132, 66, 39, 30, 22, 17, 15, 15)  # of 1 to 8 blocks that run at once
SPMM_TILES = ((128, 128, 4.62, 0.924), (128, 64, 4.62, 0.563), (64, 64, 3.42, 0.357))  # rows, cols, us a tile, us a slab


def spmm_tensor_terms(m, k, nnz, n):
    """Of the tiling that the present constants choose: start, elements and entries made dense, tiles and slabs of each
    shape, cluster, bytes that tiles read, B copied."""
    slabs, best = math.ceil(k / 64), None
    for shape, (rows, cols, tile, slab) in enumerate(SPMM_TILES):
        tiles = math.ceil(m / rows) * math.ceil(n / cols)
        read = 256.0 * tiles * slabs * (rows + cols)
        for splits in range(1, min(8, slabs) + 1):
            rounds, each = math.ceil(tiles / CLUSTERS[splits - 1]), math.ceil(slabs / splits)
            time = rounds * (tile + each * slab) + (1.85 if splits > 1 else 0) + read / 39e6
            if best is None or time < best[0]:
                best = time, shape, rounds, rounds * each, splits > 1, read
    shapes = [0.0] * 6
    shapes[best[1]], shapes[3 + best[1]] = 1.0 * best[2], 1.0 * best[3]
    return 1.0, 1.0 * m * k, 1.0 * nnz, *shapes, float(best[4]), best[5], float(n % 4 > 0)


def dense_terms(m, k, nnz, n):
    return 1.0, 2.0 * m * k * n


def spmm_half_terms(m, k, nnz, n):
    return 1.0, 6.0 * k * n + 12.0 * nnz + 2.0 * m * k, 2.0 * m * k * n


NOT_IN_L2 = 40e6  # bytes of B


def sddmm_blocks(m, k, nnz, n):
    """Whether SDDMM's row kernel hands over to blocks of a few entries."""
    return n >= 2048 and nnz < 256 * MULTIPROCESSORS


def sddmm_rows_terms(m, k, nnz, n):
    far = 4.0 * k * n > NOT_IN_L2
    return 1.0, 1.0 * nnz * n * (not far), 1.0 * nnz * n * far, 1.0 * (m + k) * n, 1.0 * min(m + k, 8192) * n


def sddmm_short_terms(m, k, nnz, n):
    return 1.0, 1.0 * nnz * n


def sddmm_blocks_terms(m, k, nnz, n):
    return 1.0, 1.0 * nnz * n, 1.0 * (m + k) * n


def groups_terms(m, k, nnz, n):
    pieces, far = math.ceil(n / 128), 4.0 * k * n > NOT_IN_L2
    return 1.0, 1.0 * pieces, 1.0 * pieces * nnz, 1.0 * nnz * n * (not far), 1.0 * nnz * n * far, 1.0 * (m + k) * n


def groups_odd_terms(m, k, nnz, n):
    return 1.0, 1.0 * nnz * n


def tiles_terms(math_of):
    """Of the cut that the tiling's present constants choose: start, item, piece, entry, and the adding of parts."""
    piece = {"split_tf32": 32, "tf32": 32, "half": 64}[math_of]
    now = {128: (5e-6, 2e-6, 1.06e-6) if math_of == "split_tf32" else (4e-6, 1e-6, 0.35e-6), 256: (4e-6, 2e-6, 0.68e-6)}

    def terms(m, k, nnz, n):
        pieces, best = math.ceil(n / piece), None
        for cols in (256, 128):
            if cols == 256 and math_of == "split_tf32":
                continue
            tiles = math.ceil(m / 128) * math.ceil(k / cols)
            for splits in range(1, min(64, pieces) + 1):
                rounds, each = math.ceil(tiles * splits / MULTIPROCESSORS), math.ceil(pieces / splits)
                entries = nnz / (m * k) * 128 * cols
                start, item, one = now[cols]
                time = start + rounds * (item + each * one + 0.5e-9 * entries)
                added = 8.0 * nnz * splits if splits > 1 else 0.0
                time += 0.5e-6 + added / 3e12 if splits > 1 else 0.0
                if best is None or time < best[0]:
                    wide = cols == 256
                    best = time, (1.0, rounds * (not wide), rounds * wide, rounds * each * (not wide),
                                  rounds * each * wide, rounds * entries, float(splits > 1), added)
        copies = 6.0 * (m + k) * n if math_of == "half" else 0.0
        return [float(x) for x in (*best[1], copies)]
    return terms


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    problems = read(sys.argv[1:])
    forward = ("spmm", "spmm_transposed")  # a transposed case multiplies [k, m]; its gather counts as start

    def samples(contender, ops, dtype, keep=lambda times: True):
        return [((k, m, nnz, n) if op == "spmm_transposed" else (m, k, nnz, n), times[contender])
                for (op, kind, m, k, nnz, n), times in problems.items()
                if op in ops and kind == dtype and contender in times and keep(times)]

    models = {}

    def model(name, key, got, terms, lines):
        found = fit(name, got, terms)
        if found is None:
            return
        models[key], w = found
        for line in lines(w):
            print(f"    {line}")

    def panels(times):
        return times["route_sparse"] < 0.97 * times.get("lacuna", 0)

    model("SpMM, row kernel (spmm_row_seconds of kernels/spmm/spmm_plan.cpp)", ("spmm", "f32", "row"), samples("lacuna", ("spmm",), "f32"), sparse_terms,
          lambda w: (f"double start = {w[0]:.3g};", f"double spmm_rate = {rate(w[1])};",
                     f"double spmm_bandwidth = {rate(w[2])};"))
    model("SpMM, panels where they won (a line, for comparison: spmm_plan.cpp has a model by tilings)", ("spmm", "f32", "route_sparse"),
          samples("route_sparse", ("spmm",), "f32", panels), sparse_terms,
          lambda w: (f"double panel_start = {w[0]:.3g};", f"double panel_rate = {rate(w[1])};",
                     f"double panel_bandwidth = {rate(w[2])};"))
    enough = [(p, t) for p, t in samples("route_tensor", ("spmm",), "f32") if p[2] >= 8 * p[0]]
    model("SpMM, tensor cores", ("spmm", "f32", "route_tensor"), enough, spmm_tensor_terms,
          lambda w: ("kTiles[] = {" + ", ".join(f"{{{r}, {c}, {w[3 + i]:.3g}, {w[6 + i]:.3g}}}"
                                                 for i, (r, c, *_) in enumerate(SPMM_TILES)) + "};",
                     f"kStart = {w[0]:.3g}; kElement = {w[1]:.3g}; kEntry = {w[2]:.3g}; kCluster = {w[9]:.3g};",
                     f"kReadRate = {rate(w[10])}; kCopiedB = {w[11]:.3g};"))
    for dtype, name in (("f32", "dense_rate"), ("tf32", "tf32_rate")):
        contender = next((c for times in problems.values() for c in times if c.startswith("cublaslt")), "cublaslt")
        model(f"cuBLASLt {dtype}", ("spmm", dtype, contender), samples(contender, ("spmm",), dtype), dense_terms,
              lambda w, name=name: (f"double dense_start = {w[0]:.3g};", f"double {name} = {rate(w[1])};"))
    model("SpMM, scaled f16", ("spmm", "tf32", "route_half"), samples("route_half", forward, "tf32"), spmm_half_terms,
          lambda w: (f"start of all = {w[0]:.3g} (dense_start + 3 copy_start)", f"bandwidth = {rate(w[1])}",
                     f"double half_rate = {rate(w[2])};"))
    def sddmm(contender, keep):
        return [(p, t) for p, t in samples(contender, ("sddmm",), "f32") if keep(*p)]

    model("SDDMM, row kernel, long sums", ("sddmm", "f32", "lacuna"),
          sddmm("lacuna", lambda m, k, nnz, n: n >= 128 and not sddmm_blocks(m, k, nnz, n)), sddmm_rows_terms,
          lambda w: (f"double rows_start = {w[0]:.3g}; double rows_step = {w[1]:.3g}; double rows_far = {w[2]:.3g};",
                     f"double rows_operand = {w[3]:.3g}; double rows_first = {w[4]:.3g};"))
    model("SDDMM, row kernel, short sums", ("sddmm", "f32", "short"), sddmm("lacuna", lambda m, k, nnz, n: n < 128),
          sddmm_short_terms, lambda w: (f"double short_start = {w[0]:.3g}; double short_step = {w[1]:.3g};",))
    model("SDDMM, blocks of entries", ("sddmm", "f32", "blocks"), sddmm("lacuna", sddmm_blocks), sddmm_blocks_terms,
          lambda w: (f"double blocks_start = {w[0]:.3g}; double blocks_step = {w[1]:.3g};",
                     f"double blocks_operand = {w[2]:.3g};"))
    model("SDDMM, groups", ("sddmm", "f32", "route_groups"),
          sddmm("route_groups", lambda m, k, nnz, n: n % 4 == 0), groups_terms,
          lambda w: (f"double groups_start = {w[0]:.3g}; double groups_piece = {w[1]:.3g};",
                     f"double groups_entry = {w[2]:.3g}; double groups_step = {w[3]:.3g};",
                     f"double groups_far = {w[4]:.3g}; double groups_operand = {w[5]:.3g};"))
    model("SDDMM, groups, odd sums", ("sddmm", "f32", "odd"), sddmm("route_groups", lambda m, k, nnz, n: n % 2 == 1),
          groups_odd_terms, lambda w: (f"double groups_odd_step = {w[1]:.3g};",))
    if ("sddmm", "f32", "odd") in models and ("sddmm", "f32", "route_groups") in models:
        even, odd = models["sddmm", "f32", "route_groups"], models["sddmm", "f32", "odd"]
        models["sddmm", "f32", "route_groups"] = lambda *p: (odd if p[3] % 2 else even)(*p)
    for math_of, dtype, route in (("split_tf32", "f32", "route_tensor"), ("tf32", "tf32", "route_tensor"),
                                  ("half", "tf32", "route_half")):
        model(f"SDDMM tiles, {math_of}", ("sddmm", dtype, route), samples(route, ("sddmm",), dtype), tiles_terms(math_of),
              lambda w: (f"tiles of 128: {{{w[0]:.3g}, {w[1]:.3g}, {w[3]:.3g}}}, of 256: {{{w[0]:.3g}, {w[2]:.3g}, {w[4]:.3g}}}",
                         f"double entry = {w[5]:.3g}; double add_start = {w[6]:.3g}; double add_bandwidth = {rate(w[7])};",
                         f"bandwidth of the copies = {rate(w[8])}"))

    print("\nchosen over the best measured route, geometric mean (1: an oracle's choice)")
    for op, dtype in (("spmm", "f32"), ("spmm", "tf32"), ("sddmm", "f32"), ("sddmm", "tf32")):
        now, fitted = [], []
        for (o, kind, m, k, nnz, n), times in problems.items():
            routes = {c: t for c, t in times.items() if c.startswith("route_")}
            if (o, kind) != (op, dtype) or len(routes) < 2:
                continue
            best = min(routes.values())
            if "lacuna_auto" in times:
                now.append(times["lacuna_auto"] / best)
            known = {c: models[op, dtype, c](m, k, nnz, n) for c in routes if (op, dtype, c) in models}
            if known:
                fitted.append(routes[min(known, key=known.get)] / best)
        print(f"    {op} {dtype}: the op as it is {mean(now)}, by the fitted models {mean(fitted)}, {len(fitted)} problems")


if __name__ == "__main__":
    main()
