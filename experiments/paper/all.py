#!/usr/bin/env python3
"""The paper's tables, all of them, in minutes of one GPU: what matters most first, each with a time limit of its own.

    python3 experiments/paper/all.py --time-limit 250 --data datasets     # the GPU otherwise idle
    python3 experiments/paper/all.py --small                              # on the CPU: that the scripts work

Calls the scripts beside it with `--budget`: fewer points and shorter measurements than they make alone. What is finished is kept, so the same
command goes on where it stopped. Leaves OUT/<table>/, OUT/README.md with what was done in which time, and OUT.tar.gz with the pages.
"""

import argparse
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import tarfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from common.page import Page  # noqa: E402
from common.program import INTERRUPTED, ROOT, find_lacuna, machine, revision, today  # noqa: E402
from paper.torch_server import TorchServer  # noqa: E402

PAGES = (".md", ".html", ".json", ".csv", ".txt")


@dataclasses.dataclass(frozen=True)
class Piece:
    """A call of a script: what it measures, seconds at most, seconds expected on an H100."""
    table: str
    what: str
    seconds: float
    expected: float
    only: tuple = ()  # parts of measurements' names
    torch: bool = False  # PyTorch's measurements, and no others


def networks(what, precision):
    return tuple(f"{what}, {kind} w{width}, {precision}" for width in ("1.0", "1.4", "1.8") for kind in ("dense", "sparse"))


PIECES = (
    Piece("attention", "ours", 35, 18),
    Piece("precision", "bf16 and TF32 against f32, three seeds (and PyTorch compiles beside it)", 60, 45),
    Piece("attention", "PyTorch", 60, 30, ("PyTorch",), True),
    Piece("transformer", "training, batch 1", 75, 62, ("training, batch 1,",)),
    Piece("mobilenet", "training in bf16", 30, 22, networks("training", "bf16")),
    Piece("mobilenet", "batch 1 latency, TF32", 30, 18, tuple(f"batch 1, w{w}, tf32" for w in ("1.0", "1.2", "1.3", "1.4", "1.5", "1.6", "1.7", "1.8"))),
    Piece("ablations", "techniques", 25, 14, ("techniques", "attention")),
    Piece("transformer", "forward, batch 1", 50, 38, ("forward, batch 1,",)),
    Piece("transformer", "PyTorch in bf16, batch 1", 75, 55, ("PyTorch, training, batch 1, bf16", "PyTorch, forward, batch 1, bf16, flash"), True),
    Piece("mobilenet", "PyTorch, TF32 latency and bf16 training", 75, 55, ("PyTorch, graph, w1.4, tf32", "PyTorch, training, w1.0, bf16",
                                                                           "PyTorch, training-compiled, w1.0, bf16"), True),
    Piece("ablations", "steps without a kernel", 60, 45, ("step,",)),
    Piece("ablations", "ops without a kernel", 45, 30, ("kernels,",)),
    Piece("mobilenet", "batch 256 inference in bf16", 20, 10, ("w1.0, bf16", "w1.4, bf16", "w1.8, bf16")),
    Piece("transformer", "batch 8 in bf16", 60, 45, ("training, batch 8, bf16", "forward, batch 8, bf16")),
    Piece("mobilenet", "the rest of ours", 90, 70),
    Piece("transformer", "the rest of ours", 150, 120),
)


class Driver:
    def __init__(self, options):
        self.options, self.begun, self.rows = options, time.monotonic(), []
        self.lacuna = find_lacuna(options.lacuna)
        self.out = pathlib.Path(options.out or ROOT / "runs" / ("paper-all" + ("-small" if options.small else ""))).resolve()
        self.python = options.torch or sys.executable

    def left(self):
        return self.options.time_limit - (time.monotonic() - self.begun)

    def command(self, piece, seconds):
        o = self.options
        command = [sys.executable, str(pathlib.Path(__file__).with_name(f"{piece.table}.py")), "--budget", "--lacuna", self.lacuna,
                   "--out", self.out / piece.table, "--data", o.data, "--time-limit", f"{seconds:.0f}"]
        command += ["--torch", self.python] if piece.torch else ["--torch", "none"]
        if piece.table in ("transformer", "mobilenet") and not o.small:
            command += ["--precision", "f32,tf32,bf16"]
        return [str(c) for c in [*command, *(["--only", ";".join(piece.only)] if piece.only else []), *(["--small"] if o.small else []),
                                 *([] if o.small else ["--device", o.device]), *(["--dry-run"] if o.dry_run else [])]]

    def run(self, piece):
        """Runs a piece to its end or limit, whichever comes first; returns what became of it."""
        limit = min(piece.seconds, self.left() - 3)
        if limit < 5:
            return "no time left"
        with open(self.out / "log.txt", "a") as log:
            print(f"\n== {piece.table}: {piece.what}", file=log, flush=True)
            process = subprocess.Popen(self.command(piece, max(1, limit - 5)), stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
            try:
                code = process.wait(timeout=limit + 5)
            except subprocess.TimeoutExpired:  # its measurements so far are in its folder
                for number in (signal.SIGTERM, signal.SIGKILL):
                    try:
                        os.killpg(process.pid, number)
                        process.wait(timeout=3)
                    except (ProcessLookupError, subprocess.TimeoutExpired):
                        continue
                return "stopped"
        return {0: "done", INTERRUPTED: "its time was up"}.get(code, f"FAILED with {code}: log.txt")

    def compile_beside(self):
        """What PyTorch will compile is compiled while training runs, whose times do not count; into its caches. Returns how to stop it."""
        cases = [["attention", "flex", "bf16", str(path), "12288"] for path in sorted((self.out / "attention").glob("*/*random*.smtx"))]
        cases.append(["attention", "flex", "bf16", "band:256", "12288"])
        cases += [["transformer", "training", "bf16", "compiled", "1"], ["mobilenet", "training-compiled", "bf16", "1.0", "256"]]
        server = TorchServer(self.python)
        stopped = threading.Event()

        def work():
            try:
                for case in cases if server.has_cuda() else ():
                    if not stopped.is_set():
                        server.ask(case, 120)
            except (subprocess.TimeoutExpired, OSError, ValueError):
                pass  # it was an attempt to save time
        thread = threading.Thread(target=work, daemon=True)
        thread.start()

        def stop():
            stopped.set()
            server.stop()
            thread.join(timeout=5)
        return stop

    def summary(self):
        page = Page("The paper's tables")
        page.text(f"{' '.join(machine(self.lacuna)[1].split())}. {today()}, commit {revision()}. Command: `experiments/paper/all.py {' '.join(sys.argv[1:])}`. "
                  f"{time.monotonic() - self.begun:.0f} s in all.")
        page.table(["table", "piece", "seconds", "expected on an H100", ""], self.rows, left=2)
        page.text(*(f"- [{folder.name}]({folder.name}/results.md)" for folder in sorted(self.out.iterdir()) if (folder / "results.md").is_file()))
        (self.out / "README.md").write_text(page.markdown())
        with tarfile.open(f"{self.out}.tar.gz", "w:gz") as tar:  # of training runs and patterns nothing
            for path in sorted(self.out.rglob("*")):
                inside = path.relative_to(self.out)
                if path.is_file() and path.suffix in PAGES and "runs" not in inside.parts:
                    tar.add(path, pathlib.Path(self.out.name) / inside)
        return page.markdown()


def chosen(options):
    pieces = [p for p in PIECES if (not options.only or p.table in options.only.split(",")) and not (p.torch and options.torch == "none")]
    if options.small:  # one call a table: a miniature is no longer than a piece of it
        pieces = [Piece(table, "in small", 300, 10) for table in dict.fromkeys(p.table for p in pieces)]
    return pieces


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--time-limit", type=float, default=250, help="seconds in all (default: 250)")
    parser.add_argument("--only", default="", help="tables, such as attention,precision: " + ", ".join(dict.fromkeys(p.table for p in PIECES)))
    parser.add_argument("--small", action="store_true", help="a miniature of every table on the CPU: that the scripts work, no results")
    parser.add_argument("--dry-run", action="store_true", help="list the commands, run nothing")
    parser.add_argument("--out", help="directory of results (default: runs/paper-all); finished measurements in it are kept")
    parser.add_argument("--data", default=os.environ.get("LACUNA_DATA_DIR", "datasets"), help="directory of the data sets")
    parser.add_argument("--device", default="cuda", help="cpu, cuda, cuda:N (default: cuda; with --small the CPU)")
    parser.add_argument("--torch", help="a Python with PyTorch and CUDA (default: this one); 'none' measures no PyTorch")
    parser.add_argument("--lacuna", help="path of the program")
    options = parser.parse_args()
    unknown = [t for t in options.only.split(",") if t and t not in {p.table for p in PIECES}]
    if unknown:
        parser.error(f"--only {','.join(unknown)}: no such table")
    driver, pieces = Driver(options), chosen(options)
    if options.dry_run:
        for piece in pieces:
            print(f"{piece.table}: {piece.what}, at most {piece.seconds:.0f} s, about {piece.expected:.0f}: {' '.join(driver.command(piece, piece.seconds))}")
        print(f"{len(pieces)} pieces, about {sum(p.expected for p in pieces):.0f} s on an H100")
        return 0
    driver.out.mkdir(parents=True, exist_ok=True)
    for piece in pieces:
        begun = time.monotonic()
        beside = piece.table == "precision" and not options.small and options.torch != "none" and driver.left() > 10
        stop = driver.compile_beside() if beside else None
        became = driver.run(piece)
        if stop:
            stop()
        driver.rows.append([piece.table, piece.what, f"{time.monotonic() - begun:.0f}", f"{piece.expected:.0f}", became])
        print(f"[{time.monotonic() - driver.begun:5.0f} s] {piece.table}, {piece.what}: {became}", flush=True)
    print(driver.summary())
    print(f"{driver.out}.tar.gz")
    return 1 if any("FAILED" in row[-1] for row in driver.rows) else 75 if any(row[-1] != "done" for row in driver.rows) else 0


if __name__ == "__main__":
    sys.exit(main())
