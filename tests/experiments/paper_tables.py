"""The scripts of experiments/paper, each end to end in small, and dry runs of what they would do on a GPU.

usage: paper_tables.py PATH/TO/lacuna
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
TABLES = ("kernels", "attention", "transformer", "mobilenet", "accuracy", "ablations")
FAILURES = []


def check(name, truth, detail=""):
    if not truth:
        FAILURES.append(f"{name}: {detail}")


def run(binary, table, *arguments):
    command = [sys.executable, str(ROOT / f"experiments/paper/{table}.py"), "--lacuna", str(binary), *map(str, arguments)]
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)


def dry(binary, home):
    said = {}
    for table in TABLES:
        done = run(binary, table, "--dry-run", "--out", home / table)
        check(table, done.returncode == 0, done.stderr[-400:])
        check(table, not (home / table).exists() or not list((home / table).iterdir()), "a dry run wrote something")
        said[table] = done.stdout
    check("kernels", "bench kernels --suite dlmc" in said["kernels"], said["kernels"])
    for batch in (1, 8):
        for precision in ("f32", "tf32", "bf16"):
            for route in ("dense, materialised", "dense, fused", "sparse attention", "sparse attention, 90 % sparse weights",
                          "sparse attention, 95 % sparse weights"):
                for what in ("forward", "training"):
                    check("transformer", f"{what}, batch {batch}, {precision}, {route}: " in said["transformer"], (what, batch, precision, route))
    check("transformer", "training, batch 1, bf16, captured, sparse attention: " in said["transformer"], "captured steps")
    for width in (1.0, 1.3, 1.8):
        check("mobilenet", f"batch 256, w{width}, bf16: " in said["mobilenet"], width)
    check("mobilenet", "--made-up-data --resident-batch" in said["mobilenet"], "no data is waited for")
    check("accuracy", "bytes_sparse_1" in said["accuracy"] and "widths_magnitude_0.9_1.8_1" in said["accuracy"], said["accuracy"])
    check("ablations", "LACUNA_KERNELS_OFF=spmm_panel,spmm_tensor,sddmm_tensor,sddmm_groups,half_product,fused_attention,bf16_product,gemm_parts,token_rows,dependent_launch lacuna bench step" in said["ablations"], said["ablations"])
    check("ablations", "--contenders ablation,lacuna" in said["ablations"], said["ablations"])


def small(binary, home, table):
    out = home / table
    done = run(binary, table, "--small", "--out", out)
    check(table, done.returncode == 0, done.stdout[-500:] + done.stderr[-500:])
    text, html = (out / "results.md").read_text(), (out / "report.html").read_text()
    check(table, "A miniature" in text and "Traceback" not in done.stderr, text[:500])
    check(table, "paper, V100" in text or table in ("ablations", "attention"), "the paper's figures")
    check(table, "<svg" in html and not any(x in html for x in ("<script", "http:", "https:")), "report.html stands alone")
    if table == "accuracy":
        runs = json.loads((out / "results.json").read_text())["runs"]
        check(table, len(runs) == 7 and all(r["finished"] for r in runs), [r["finished"] for r in runs])
        return
    kept = json.loads((out / "measurements.json").read_text())
    errors = {name: m["error"] for name, m in kept.items() if "error" in m}
    check(table, not errors and kept, errors)
    for m in kept.values():
        check(table, m["commit"] is not None and m["date"] and str(home) not in m["command"], m)
    again = run(binary, table, "--small", "--out", out)
    made = json.loads((out / "measurements.json").read_text())
    check(table, again.returncode == 0 and made == kept, "a second call measured anew")
    numbers(table, text, kept)


def numbers(table, text, kept):
    """Rows of what the miniature does not measure hold no figures of ours; a table that measured anything says so."""
    if table in ("transformer", "mobilenet"):
        for line in text.split("## Not measured")[0].splitlines():
            cells = [cell.strip() for cell in line.split("|")[1:-1]]
            if len(cells) > 4 and cells[1] in ("tf32", "bf16", "bf16, captured"):
                check(table, cells[2] in ("not measured", "-") or cells[0] in ("materialised", "flash", "flash, compiled"), line)
        check(table, "| tf32, bf16 | not on a CPU |" in text, text[-600:])
    if table == "ablations":
        header = (ROOT / "core/kernel_set.h").read_text()
        listed = re.search(r"^KERNELS = \{(.*?)\}", (ROOT / "experiments/paper/ablations.py").read_text(), re.M | re.S)[1]
        check(table, re.findall(r'"(\w+)":', listed) == re.findall(r"bool (\w+) = true;", header), "not the kernels of core/kernel_set.h")
        check(table, any(m["command"].startswith("LACUNA_KERNELS_OFF=spmm_panel lacuna bench") for m in kept.values()), list(kept))


def main():
    binary = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as directory:
        home = pathlib.Path(directory)
        dry(binary, home)
        for table in TABLES:
            small(binary, home, table)
    print("\n".join(map(str, FAILURES)))
    print(f"{', '.join(TABLES)} in small, {len(FAILURES)} failures")
    return 1 if FAILURES else 0


if __name__ == "__main__":
    sys.exit(main())
