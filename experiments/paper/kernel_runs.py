"""What kernels.py and ablations.py share: a run of `lacuna bench kernels`, and its ratios as a table."""

import json
import re
import time


def bench_kernels(session, name, what, environment=None):
    """Runs `lacuna bench kernels` into a new folder of the session; its summary, and every contender's times."""
    folder = session.out / f"{re.sub('[^a-z_]+', '-', name)}-{int(time.time())}"
    command = [session.lacuna, "bench", "kernels", *what]
    if session.device:
        command += ["--device", session.device]

    def read(_):
        result = json.loads((folder / "results.json").read_text())
        keep = ("op", "dtype", "matrix", "n", "batch", "sparsity", "contender", "kind", "median_us", "status")
        summary = result["summary"]
        return {"folder": folder.name, "problems": summary["problems"], "failed": summary["failed"], "comparisons": summary["comparisons"],
                "device_name": result["environment"].get("device_name"),
                "lines": [{**{key: line[key] for key in keep}, "matrix_rows": line["m"]} for line in result["results"]]}
    return session.measure(name, command, read, 3600, environment, ["--out", folder])


def ratios_table(page, comparisons):
    page.table(["op", "precision", "ours", "baseline", "problems", "geometric mean", "10 % to 90 %", "peak", "slower on"],
               [[c["op"], c["dtype"], c["ours"], c["baseline"], str(c["count"]), f"{c['geometric_mean']:.2f}x",
                 f"{c['p10']:.2f} to {c['p90']:.2f}", f"{c['max']:.2f}x", f"{100 * c['slower_share']:.0f} %"]
                for c in comparisons if c["geometric_mean"]], left=4)
