"""The README's plot is in the README, is what experiments/headline.py draws from the README's table and the results, and draws what they say.

usage: headline.py
"""

import importlib
import pathlib
import subprocess
import sys
import tempfile
import xml.dom.minidom

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "experiments"))
headline = importlib.import_module("headline")
CSV = "op,dtype,m,k,n,sparsity,contender,status,median_us\n"
FAILURES = []


def check(name, truth, detail=""):
    if not truth:
        FAILURES.append(f"{name}: {detail}")


def main():
    readme = (ROOT / "README.md").read_text()
    checked = subprocess.run([sys.executable, ROOT / "experiments/headline.py", "--check"], capture_output=True, text=True)
    check("drawing", checked.returncode == 0, checked.stdout + checked.stderr)
    check("README", "](docs/headline.svg)" in readme, "does not show it")
    xml.dom.minidom.parse(str(ROOT / "docs/headline.svg"))
    items = headline.step_items("| f32, ms per step | 200 | 100.5 | 2x |\n| bf16, ms per step | | 17 | |\n| GiB | 1 | 2 | |\n")
    check("items", [(label, ms) for label, ms, _ in items[:-1]] == [("dense attention, f32", 200), ("sparse attention, f32", 100.5),
                                                                   ("sparse attention, bf16", 17)], items)
    with tempfile.TemporaryDirectory() as folder:
        results = pathlib.Path(folder) / "results.csv"
        results.write_text(CSV + "spmm,tf32,4096,4096,4096,0.9,lacuna_auto,ok,50\nspmm,tf32,4096,4096,4096,0.9,cublaslt,ok,100\n"
                           "spmm,tf32,4096,4096,4096,0.5,lacuna_auto,failed,\nspmm,f32,64,64,64,0.9,lacuna_auto,ok,1\n")
        series = headline.product_series(results)
        check("series", series == [("SpMM, TF32", [(90.0, 2.0, None)])], series)
        check("drawing", "200" in headline.drawing("| f32, ms per step | 200 | 100.5 | 2x |", results), "no bar")
    check("readme", len(headline.step_items(readme)) >= 5, "the README's table has changed its form")
    print("\n".join(map(str, FAILURES)))
    print(f"{len(FAILURES)} failures")
    return 1 if FAILURES else 0


if __name__ == "__main__":
    sys.exit(main())
