"""`lacuna bench infer`: what docs/inference.md promises of its JSON and its exit codes, on the CPU; `lacuna eval` beside it.

usage: bench_infer.py PATH/TO/lacuna
"""

import json
import pathlib
import sys
import tempfile

from lacuna_process import checkpoints, lacuna, run_directories, snapshot, write_config

CONFIG, DATA = 2, 3
FAILURES = []
TOP = ["schema", "version", "environment", "name", "source", "weights", "checkpoint", "checkpoint_step", "model", "dtype", "matmul_precision",
       "threads", "batch", "items", "items_per_batch", "input_shape", "output_shape", "twin", "agreement", "variants", "ratios"]
VARIANT = ["variant", "sparsity", "weights", "stored_weights", "weight_bytes", "pattern_bytes", "model_bytes", "forward_flops",
           "dense_forward_flops", "modes"]
MODE = ["mode", "latency_ms", "throughput_items_per_s", "peak_bytes", "graph_bytes", "samples", "calls_per_sample", "error"]
MOBILENET = {
    "model": "{type: mobilenet_v1, width: 0.1, stem: cifar, image_size: 16, num_classes: 4}",
    "data": "{type: synthetic, num_examples: 64, num_classes: 4, image_size: 16, valid_fraction: 0.2, test_fraction: 0.2}",
    "training": "{steps: 4, batch_size: 4, log_every: 1, eval_batch_size: 5}",
    "schedule": "{type: constant}",
    "pruning": "{method: magnitude, sparsity: 0.7, begin_step: 1, end_step: 2, frequency: 1}",
}


def check(name, truth, detail=""):
    if not truth:
        FAILURES.append(f"{name}: {detail}")


def bench(binary, home, *arguments):
    return lacuna(binary, "bench", "infer", "--seconds", "0.02", *arguments, cwd=home, timeout=240)


def measured(name, binary, home, *arguments):
    """The JSON of a run that must succeed; its general rules are checked."""
    out = home / f"{name}.json"
    done = bench(binary, home, *arguments, "--json", out)
    check(name, done.returncode == 0, done.stdout + done.stderr)
    if done.returncode != 0:
        return None
    data = json.loads(out.read_text())
    check(name, list(data) == TOP, list(data))
    check(name, (data["schema"], data["version"]) == ("lacuna.bench_infer", 1), data["schema"])
    for v in data["variants"]:
        check(name, list(v) == VARIANT, list(v))
        check(name, v["model_bytes"] == v["weight_bytes"] + v["pattern_bytes"], v)
        check(name, 0 < v["stored_weights"] <= v["weights"] and 0 < v["forward_flops"] <= v["dense_forward_flops"], v)
        for m in v["modes"]:
            check(name, list(m) == MODE, list(m))
            check(name, m["error"] is None and m["graph_bytes"] is None and m["samples"] >= 5, m)
            check(name, 0 < m["latency_ms"]["p10"] <= m["latency_ms"]["median"] <= m["latency_ms"]["p90"], m)
            check(name, abs(m["throughput_items_per_s"] * m["latency_ms"]["median"] * 1e-3 / data["items_per_batch"] - 1) < 1e-9, m)
            check(name, m["peak_bytes"] > v["model_bytes"], m)
    for r in data["ratios"]:
        sparse, dense = ([m for m in v["modes"] if m["mode"] == r["mode"]][0] for v in data["variants"])
        check(name, abs(r["speedup"] - dense["latency_ms"]["median"] / sparse["latency_ms"]["median"]) < 1e-9, r)
        check(name, abs(r["memory"] - dense["peak_bytes"] / sparse["peak_bytes"]) < 1e-9, r)
    check(name, "median ms" in done.stdout, done.stdout)
    return data


def networks(binary, home):
    images = write_config(home / "mobilenet.yaml", **MOBILENET)
    for batch in (1, 3):
        data = measured(f"mobilenet{batch}", binary, home, images, "--batch", batch, "--unfolded")
        if data is None:
            return
        check("mobilenet", (data["twin"], data["items"], data["items_per_batch"], data["input_shape"]) ==
              ("weights", "images", batch, [3, 256 * batch]), data["input_shape"])
        check("mobilenet", data["output_shape"] == [4, batch], data["output_shape"])
        sparse, dense = data["variants"]
        check("mobilenet", [m["mode"] for m in sparse["modes"]] == ["unfolded", "eager"], sparse["modes"])
        check("mobilenet", abs(sparse["sparsity"] - 0.7) < 0.02 and dense["sparsity"] == 0, sparse["sparsity"])
        check("mobilenet", sparse["weights"] == dense["weights"] == dense["stored_weights"] > sparse["stored_weights"], sparse)
        check("mobilenet", dense["pattern_bytes"] == 0 < sparse["pattern_bytes"], dense)
        check("mobilenet", 0 <= data["agreement"]["relative"] <= data["agreement"]["bound"], data["agreement"])
        check("mobilenet", len(data["ratios"]) == 2, data["ratios"])
    denser = measured("denser", binary, home, images, "--sparsity", "0.3")
    check("denser", denser and abs(denser["variants"][0]["sparsity"] - 0.3) < 0.02, denser)
    alone = measured("alone", binary, home, images, "--sparsity", "0")
    check("alone", alone and [v["variant"] for v in alone["variants"]] == ["dense"] and alone["ratios"] == [] and
          alone["agreement"] is None and alone["twin"] == "none", alone)

    text = write_config(home / "transformer.yaml")
    for twin, agrees in (("weights", True), ("attention", False), ("all", False)):
        data = measured(twin, binary, home, text, "--twin", twin, "--batch", 2)
        check(twin, data and data["items"] == "tokens" and data["items_per_batch"] == 32 and len(data["variants"]) == 2, data)
        check(twin, data and (data["agreement"] is not None) == agrees, data)
        check(twin, data and (data["variants"][1]["pattern_bytes"] == 0) == (twin == "all"), data)


def runs(binary, home):
    config = write_config(home / "run.yaml", **MOBILENET)
    trained = lacuna(binary, "train", config, cwd=home)
    check("train", trained.returncode == 0, trained.stderr)
    run = run_directories(home)[0]
    data = measured("run", binary, home, run)
    check("run", data and (data["weights"], data["checkpoint_step"], data["twin"]) == ("checkpoint", 4, "weights"), data)
    check("run", data and abs(data["variants"][0]["sparsity"] - 0.7) < 0.02, data)
    file = measured("file", binary, home, checkpoints(run)[-1], "model.dropout=0")
    check("file", file and file["variants"][0]["stored_weights"] == data["variants"][0]["stored_weights"], file)
    # The folded network's accuracy is the trainer's own: last line of training, and of eval (batches of 5 do not divide the set).
    told = trained.stdout.split("test: ")[1].split(" % accuracy")[0]
    done = lacuna(binary, "eval", run, cwd=home)
    check("eval", done.returncode == 0 and f"accuracy {told} %" in done.stdout, done.stdout + done.stderr + told)
    refused = bench(binary, home, run, "--sparsity", "0.5")
    check("run with --sparsity", refused.returncode == CONFIG and "its own patterns" in refused.stderr, refused.stderr)


def refusals(binary, home):
    text, dense = write_config(home / "text.yaml"), write_config(home / "dense.yaml", pruning="{method: none}",
                                                                 model="{type: transformer, layers: 1, hidden: 16, filter: 16, heads: 2}")
    before = snapshot(home)
    for name, code, message, *arguments in [
        ("no file", CONFIG, "nowhere", "nowhere.yaml"),
        ("nothing sparse", CONFIG, "nothing of it is sparse", dense, "--twin", "weights"),
        ("batch", CONFIG, "--batch", text, "--batch", "0"),
        ("twin", CONFIG, "--twin", text, "--twin", "both"),
        ("sparsity", CONFIG, "--sparsity", text, "--sparsity", "2"),
        ("key", CONFIG, "did you mean", text, "pruning.sparsty=0.5"),
        ("no checkpoint", DATA, "gone", "gone.safetensors"),
    ]:
        done = bench(binary, home, *arguments, "--json", home / "out.json")
        check(name, done.returncode == code and message in done.stderr, f"{done.returncode}: {done.stdout}{done.stderr}")
    check("refusals", snapshot(home) == before, "something was written")


def main(binary):
    for part in (networks, runs, refusals):
        with tempfile.TemporaryDirectory() as folder:
            part(binary, pathlib.Path(folder))
    print("\n".join(FAILURES) or "all as docs/inference.md says")
    return 1 if FAILURES else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]).resolve()))
