"""experiments/paper/all.py: each of its pieces names measurements that exist, a time limit leaves nothing behind that runs, and all of it goes in small.

usage: paper_all.py PATH/TO/lacuna
"""

import importlib
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import types

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "experiments"))
driver = importlib.import_module("paper.all")
TorchServer = importlib.import_module("paper.torch_server").TorchServer
FAILURES = []


def check(name, truth, detail=""):
    if not truth:
        FAILURES.append(f"{name}: {detail}")


def run(command, timeout=300):
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": "1"}
    return subprocess.run([str(c) for c in command], env=environment, capture_output=True, text=True, timeout=timeout)


def pieces(binary, home):
    """The measurements each piece would make, from a dry run of its command."""
    options = types.SimpleNamespace(lacuna=str(binary), out=str(home / "dry"), torch=sys.executable, time_limit=250, small=False, dry_run=True,
                                    data="datasets", device="cuda", only="")
    calls, seen = driver.Driver(options), set()
    for piece in driver.PIECES:
        done = run(calls.command(piece, piece.seconds))
        listed = [line.split(": ")[0] for line in done.stdout.splitlines()[:-1]]
        check(piece, done.returncode == 0 and listed, done.stdout[-300:] + done.stderr[-300:])
        check(piece, all(name.startswith("PyTorch") == piece.torch for name in listed), listed)
        check(piece, not piece.only or all(any(part in name for name in listed) for part in piece.only), (piece.only, listed))
        check(piece, set(listed) - {name for table, name in seen if table == piece.table}, "nothing that pieces before it have not made")
        seen |= {(piece.table, name) for name in listed}
        check(piece, piece.expected < piece.seconds, "expected past its limit")


def limits(binary, home):
    """A limit that is too short for anything, and one that ends in the middle: 75, what there is is packed, and the same command goes on."""
    command = [sys.executable, ROOT / "experiments/paper/all.py", "--small", "--torch", "none", "--only", "attention,transformer", "--lacuna", binary]
    none = run([*command, "--time-limit", "1", "--out", home / "none"])
    check("no time", none.returncode == 75 and none.stdout.count("no time left") == 4, none.stdout[-600:])
    whole = run([*command, "--out", home / "whole"])
    check("whole", whole.returncode == 0 and whole.stdout.count(": done") == 2, whole.stdout[-600:] + whole.stderr[-300:])
    with tarfile.open(home / "whole.tar.gz") as tar:
        names = tar.getnames()
    check("whole", {"whole/README.md", "whole/attention/results.md", "whole/transformer/report.html", "whole/transformer/measurements.json"} <= set(names) and
          not any(name.endswith(".smtx") for name in names), names)
    before = json.loads((home / "whole/transformer/measurements.json").read_text())
    again = run([*command, "--out", home / "whole"])
    check("again", again.returncode == 0 and json.loads((home / "whole/transformer/measurements.json").read_text()) == before, "measured anew")
    wrong = run([*command[:2], "--only", "atention"])
    check("wrong", wrong.returncode == 2 and "atention: no such table" in wrong.stderr, wrong.stderr)


def precision(binary, home):
    """Three seeds in both precisions of the CPU, judged; a run of other settings is another run."""
    out = home / "precision"
    command = [sys.executable, ROOT / "experiments/paper/precision.py", "--small", "--lacuna", binary, "--out", out, "--steps", "6", "--data", home]
    done = run(command)
    text = (out / "results.md").read_text()
    check("precision", done.returncode == 0 and "12 of 12 runs finished" in done.stdout, done.stdout[-500:] + done.stderr[-300:])
    check("precision", text.count("| bf16 | 3 |") == 4 and text.count("reference") == 4, text)
    runs = json.loads((out / "results.json").read_text())["runs"]
    for model in ("transformer", "mobilenet"):
        losses = {r["precision"]: r["test"] for r in runs if r["model"] == model and r["seed"] == 1}
        check(model, losses["f32"] != losses["bf16"], f"{losses}: not two precisions")
        check(model, all(abs(r["sparsity_reached"] - 0.9) < 1e-3 and len(r["curve"]) >= 5 for r in runs if r["model"] == model), "sparsity, curves")
    refused = run([*command[:2], "--seeds", "1,x"])
    check("precision", refused.returncode == 2 and "whole numbers" in refused.stderr, refused.stderr)
    dry = run([*command, "--dry-run", "--device", "cuda"])  # what it would train on a GPU is taken
    check("precision", dry.returncode == 0 and "18 runs, 0 refused" in dry.stdout, dry.stdout[-500:])


def verdicts():
    judge = importlib.import_module("paper.precision").verdict_of
    of = lambda *losses: [{"test": loss, "seed": i} for i, loss in enumerate(losses)]
    check("verdict", judge(of(1.0, 1.1, 1.2), of(1.05, 1.15, 1.2), "test")[0] == "within noise", "the same")
    said, worse, two = judge(of(2.0, 2.1, 2.2), of(1.0, 1.1, 1.2), "test")
    check("verdict", said == "WORSE than f32" and abs(worse - 1) < 1e-9 and abs(two - 2 * (2 * 0.01 / 3) ** 0.5) < 1e-9, (said, worse, two))
    check("verdict", judge(of(0.5, 0.6, 0.7), of(1.0, 1.1, 1.2), "test")[0] == "better than f32", "lower")
    check("verdict", judge(of(1.0), of(1.1), "test")[0].startswith("one seed"), "one")
    check("verdict", judge([], of(1.1), "test")[1] is None, "none")


def server(home):
    """The process that stays: answers, an error that is one answer alone, a process that dies, one that never answers, no Python at all."""
    fake = home / "python"
    fake.write_text('#!/bin/sh\nwhile read -r line; do case "$line" in *die*) exit 1;; *sleep*) sleep 60;; *hello*) echo "{\\"cuda\\": true}";;'
                    ' *) echo "{\\"latency_ms\\": 2}";; esac; done\n')
    fake.chmod(0o755)
    torch = TorchServer(str(fake))
    check("server", torch.has_cuda() and torch.ask(["x"], 10) == {"latency_ms": 2}, "answers")
    check("server", "ended" in torch.ask(["die"], 10)["error"], "death")
    check("server", torch.ask(["x"], 10) == {"latency_ms": 2}, "a new process")
    try:
        torch.ask(["sleep"], 0.5)
        check("server", False, "no timeout")
    except subprocess.TimeoutExpired:
        check("server", torch.process is None, "still there")
    torch.stop()
    check("server", not TorchServer(str(home / "nowhere")).has_cuda(), "no such Python")


def main():
    binary = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as directory:
        home = pathlib.Path(directory)
        verdicts()
        server(home)
        pieces(binary, home)
        precision(binary, home)
        limits(binary, home)
    print("\n".join(map(str, FAILURES)))
    print(f"{len(driver.PIECES)} pieces, {len(FAILURES)} failures")
    return 1 if FAILURES else 0


if __name__ == "__main__":
    sys.exit(main())
