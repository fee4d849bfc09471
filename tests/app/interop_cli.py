"""`lacuna export` and `lacuna import` on what is wrong: one clear line, the right exit code, nothing written or overwritten.

usage: interop_cli.py PATH/TO/lacuna
"""

import json
import os
import pathlib
import struct
import sys
import tempfile

from lacuna_process import checkpoints, lacuna, read_tensors, run_directories, snapshot, write_config

CONFIG, DATA, RUNTIME = 2, 3, 1
SMALL = dict(schedule="{type: constant}", model="{type: mlp, hidden: [6]}", data="{type: synthetic, num_examples: 64, image_size: 4}", optimizer="{type: adam, lr: 0.003}",
             pruning="{method: magnitude, sparsity: 0.5, begin_step: 1, end_step: 2, frequency: 1}")


def file_of(tensors, metadata=None):
    """Safetensors of (dtype, shape, bytes) by name."""
    header, data = ({"__metadata__": metadata} if metadata else {}), b""
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


class Check:
    def __init__(self, binary, home):
        self.binary, self.home, self.failures, self.count = binary, home, [], 0

    def that(self, name, truth, detail=""):
        self.count += 1
        if not truth:
            self.failures.append(f"{name}: {detail}")

    def refused(self, name, code, parts, *arguments, shell_before=""):
        before = snapshot(self.home)
        done = lacuna(self.binary, *arguments, cwd=self.home, shell_before=shell_before)
        said = done.stderr.strip()
        self.that(name, done.returncode == code, f"exit code {done.returncode}, not {code}: {said}")
        for part in parts:
            self.that(name, part in said, f"'{part}' is not in: {said}")
        lines = 2 if "--help" in said else 1  # the parser's own errors say where to read on
        self.that(name, len(said.split("\n")) == lines, f"not {lines} line(s): {said}")
        self.that(name, "terminate" not in said, said)
        after = snapshot(self.home)
        self.that(name, after == before, f"changed: {sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))}")


def run(binary, home):
    check = Check(binary, home)
    config = write_config(home / "small.yaml", **SMALL, training="{steps: 4, batch_size: 4, ema_decay: 0.5}")
    done = lacuna(binary, "train", config, cwd=home)
    assert done.returncode == 0, done.stderr
    (directory,) = run_directories(home)
    checkpoint = checkpoints(directory)[-1]
    dense = write_config(home / "dense.yaml", **{**SMALL, "pruning": "{}"}, name="dense", training="{steps: 2, batch_size: 4}")
    assert lacuna(binary, "train", dense, cwd=home).returncode == 0
    (dense_run,) = (d for d in run_directories(home) if d.parent.name == "dense")

    # What is right, so that what follows is refused for its own reason.
    good = home / "good.safetensors"
    done = lacuna(binary, "export", directory, "--format", "torch-sparse", "--out", good, cwd=home)
    check.that("export", done.returncode == 0 and "moving averages of 4 weights" in done.stdout, done.stdout + done.stderr)
    last = home / "last.safetensors"
    assert lacuna(binary, "export", directory, "--format", "torch-sparse", "--last", "--out", last, cwd=home).returncode == 0
    _, averaged = read_tensors(good)
    _, at_last = read_tensors(last)
    _, trained = read_tensors(checkpoint)
    check.that("averages", averaged["layers.0.weight.values"] == trained["layers.0.weight.slot.ema"], "exported weights are not the averages")
    check.that("--last", at_last["layers.0.weight.values"] == trained["layers.0.weight.values"] != averaged["layers.0.weight.values"])
    patterns = home / "patterns"
    assert lacuna(binary, "export", checkpoint, "--format", "smtx", "--out", f"{patterns}/", cwd=home).returncode == 0
    assert [p.name for p in patterns.iterdir()] == ["layers.0.weight.smtx"]
    assert lacuna(binary, "import", patterns / "layers.0.weight.smtx", "--config", config, "--out", home / "one.safetensors", cwd=home).returncode == 0

    export = lambda name, code, parts, *rest, source=checkpoint, form="torch-dense", out="new", **more: check.refused(
        "export " + name, code, parts, "export", source, "--format", form, "--out", out, *rest, **more)
    for form in ("torch-sparse", "torch-prune", "torch-dense", "onnx", "smtx"):
        export(f"over a file, {form}", CONFIG, ["good.safetensors' exists", "nothing is overwritten"], form=form, out=good)
        export(f"over a directory, {form}", CONFIG, ["exists"], form=form, out=patterns)
        export(f"into nowhere, {form}", CONFIG, ["'absent' is not a directory"], form=form, out="absent/new")
    (home / "link").symlink_to("nowhere")
    export("over a dangling link", CONFIG, ["exists"], out="link")
    export("of nothing", DATA, ["'absent'", "no checkpoint"], source="absent")
    export("of a text", DATA, ["small.yaml"], source=config)
    export("of a torch file", DATA, ["good.safetensors", "no Lacuna checkpoint"], source=good)
    export("of a dense model, smtx", DATA, ["every weight is dense"], source=dense_run, form="smtx")
    export("with a rule that matches nothing", CONFIG, ["--map: 'x=layers.0.wieght'", "did you mean 'layers.0.weight'?"], "--map", "x=layers.0.wieght")
    export("with a broken rule", CONFIG, ["--map: 'layers.0.weight'", "one '='"], "--map", "layers.0.weight")
    export("with two of one name", DATA, ["both be named 'x'"], "--map", "x=layers.0.weight", "--map", "x=layers.1.weight")
    export("with an absent map", DATA, ["absent.map"], "--map-file", "absent.map")
    (home / "bad.map").write_text("# ours\nlayers.* = body.**\n")
    export("with a broken map", CONFIG, ["bad.map:2:", "same wildcards"], "--map-file", "bad.map")
    export("with a map, onnx", CONFIG, ["an ONNX graph has its own names"], "--map", "a=b", form="onnx")
    export("to a name with a slash, smtx", CONFIG, ["'a/b' cannot name a file"], "--map", "a/b=layers.0.weight", form="smtx")
    other = write_config(home / "other.yaml", model="{type: mlp, hidden: [6, 6]}", data="{type: synthetic, image_size: 4}", pruning="{}")
    export("with another config, onnx", DATA, ["the config must be that of the checkpoint"], "--config", other, form="onnx")
    # A limit on the size of files: nothing half-written is left.
    export("onto a full disk", DATA, ["was not saved"], out="full.safetensors", shell_before="ulimit -f 1")
    export("onto a full disk, onnx", RUNTIME, ["cannot write"], form="onnx", out="full.onnx", shell_before="ulimit -f 1")

    count = lambda shape: shape[0] * (shape[1] if len(shape) > 1 else 1)
    number = lambda shape: ("F32", shape, struct.pack(f"<{count(shape)}f", *(i / 8 for i in range(count(shape)))))
    sound = {"layers.0.weight": number([6, 48]), "layers.0.bias": number([6]), "layers.1.weight": number([10, 6]), "layers.1.bias": number([10])}
    source = home / "source.safetensors"

    def imported(name, code, parts, content, *rest, out="new.safetensors", config=config):
        if content is not None:
            source.write_bytes(content)
        check.refused("import " + name, code, parts, "import", source, "--config", config, "--out", out, *rest)

    source.write_bytes(file_of(sound))
    done = lacuna(binary, "import", source, "--config", config, "--out", home / "imported.safetensors", cwd=home)
    check.that("import", done.returncode == 0 and "4 parameters dense, 0 sparse" in done.stdout, done.stderr)
    done = lacuna(binary, "eval", home / "imported.safetensors", "--split", "valid", cwd=home)
    check.that("eval of an import", done.returncode == 0, done.stderr)
    changed = lambda **tensors: file_of({**sound, **{k.replace("__", "."): v for k, v in tensors.items()}})
    without = lambda name: file_of({k: v for k, v in sound.items() if k != name})
    imported("over a file", CONFIG, ["exists"], None, out=good)
    imported("an empty file", DATA, ["source.safetensors", "0 bytes long"], b"")
    imported("a cut file", DATA, ["truncated"], file_of(sound)[:-3])
    imported("a pickle", DATA, ["safetensors"], b"PK\x03\x04" + b"\0" * 100)
    imported("a missing bias", DATA, ["'layers.0.bias' [6] is missing"], without("layers.0.bias"))
    imported("another shape", DATA, ["[5, 48]", "[6, 48]"], changed(layers__0__weight=number([5, 48])))
    imported("a transpose", DATA, ["[48, 6]", "--map 'layers.0.weight=layers.0.weight^T'"], changed(layers__0__weight=number([48, 6])))
    imported("a spare tensor", DATA, ["'head.weight' [2] belongs to nothing"], changed(head__weight=number([2])))
    imported("integers", DATA, ["'layers.0.bias' is i64", "--map 'layers.0.bias='"], changed(layers__0__bias=("I64", [6], b"\0" * 48)))
    imported("an unknown dtype", DATA, ["F8_E4M3", "BOOL"], changed(layers__0__bias=("F8_E4M3", [6], b"\0" * 6)))
    imported("NaN", DATA, ["'layers.0.bias' holds nan"], changed(layers__0__bias=("F32", [6], struct.pack("<6f", *[float("nan")] * 6))))
    imported("a half of infinity", DATA, ["inf"], changed(layers__0__bias=("F16", [6], b"\x00\x7c" * 6)))
    imported("a rule that matches nothing", CONFIG, ["every rule must match"], file_of(sound), "--map", "a.*=b.*")
    imported("a broken config", CONFIG, ["small_bad.yaml:"], None, config=write_config(home / "small_bad.yaml", **{**SMALL, "pruning": "{methud: none}"}))
    check.refused("import of nothing", DATA, ["'absent': no such file"], "import", "absent", "--config", config, "--out", "new")
    check.refused("import of a directory without patterns", DATA, ["holds no .smtx files"], "import", directory, "--config", config, "--out", "new")
    check.refused("zeros of patterns", CONFIG, ["--zeros-absent"], "import", patterns, "--config", config, "--out", "new", "--zeros-absent")

    pattern = home / "layers.0.weight.smtx"
    text = (patterns / "layers.0.weight.smtx").read_text()
    for name, content, parts in [
            ("cut pattern", text[: len(text) // 2], ["layers.0.weight.smtx:"]),
            ("pattern of words", "six, 48, 2\n0\n", ["layers.0.weight.smtx:1:"]),
            ("pattern of another shape", "2, 3, 1\n0 1 1\n2\n", ["[2, 3]", "[6, 48]"]),
            ("empty pattern file", "", ["layers.0.weight.smtx:1:"])]:
        pattern.write_text(content)
        check.refused(name, DATA, parts, "import", pattern, "--config", config, "--out", "new")
    for name, parts in [("layers.0.wieght", ["'layers.0.wieght'", "did you mean 'layers.0.weight'?"]), ("layers.1.weight", ["may be sparse"])]:
        path = home / f"{name}.smtx"
        path.write_text(text)
        check.refused("pattern for " + name, DATA, parts, "import", path, "--config", config, "--out", "new")
    check.refused("no format", CONFIG, ["--format"], "export", checkpoint, "--out", "new")
    check.that("no temporaries", not [p for p in home.rglob("*.tmp-*")], "a temporary is left")
    return check


def main():
    with tempfile.TemporaryDirectory() as directory:
        check = run(os.path.abspath(sys.argv[1]), pathlib.Path(directory))
    print("\n".join(check.failures))
    print(f"{check.count} checks, {len(check.failures)} failed")
    return 1 if check.failures else 0


if __name__ == "__main__":
    sys.exit(main())
