"""`lacuna export` and `lacuna import` against PyTorch and ONNX Runtime on the CPU.

usage: interop_torch.py torch|onnx PATH/TO/lacuna PATH/TO/test_app     (exit 77: skipped, the oracle is not installed)
"""

import os
import pathlib
import subprocess
import sys
import tempfile

from lacuna_process import environment, lacuna, read_tensors, write_config

MAPS = pathlib.Path(__file__).resolve().parents[2] / "examples" / "interop"
NAMES = ["mlp", "mobilenet", "mobilenet_imagenet", "transformer", "transformer_sparse_attention"]


def must(done):
    assert done.returncode == 0, (done.args, done.returncode, done.stderr)
    return done.stdout


class Samples:
    """Checkpoints with inputs and logits, written by the test program."""

    def __init__(self, binary, tests, root):
        self.binary, self.root = binary, root
        subprocess.run([tests, "--gtest_also_run_disabled_tests", "--gtest_filter=InteropSample.DISABLED_Write"],
                       env=environment(LACUNA_SAMPLES=str(root)), check=True, stdout=subprocess.DEVNULL)

    def checkpoint(self, name):
        return self.root / f"{name}.safetensors"

    def export(self, name, form, *extra, suffix="safetensors"):
        out = self.root / f"{name}.{form}.{len(list(self.root.iterdir()))}.{suffix}"
        must(lacuna(self.binary, "export", self.checkpoint(name), "--format", form, "--out", out, *extra, cwd=self.root))
        return out

    def inputs_and_logits(self, name):
        """Batch first, as other frameworks have them (docs/layout.md)."""
        import numpy as np
        _, tensors = read_tensors(self.root / f"{name}.io.safetensors")
        arrays = {key: np.frombuffer(raw, {"F32": np.float32, "I32": np.int32}[dtype]).reshape(shape) for key, (dtype, shape, raw) in tensors.items()}
        x, logits = arrays["inputs"], arrays["logits"]
        if name.startswith("transformer"):
            return x.reshape(-1, 16).astype(np.int64), logits.T.reshape(-1, 16, logits.shape[0])
        batch = logits.shape[1]
        side = round((x.shape[1] // batch) ** 0.5)
        x = x.reshape(x.shape[0], batch, side, side).transpose(1, 0, 2, 3)
        return (x.reshape(batch, -1) if name == "mlp" else x).copy(), logits.T


def close(name, found, expected):
    import numpy as np
    assert found.shape == expected.shape, (name, found.shape, expected.shape)
    spread, error = float(np.std(expected)), float(np.max(np.abs(found - expected)))
    assert spread > 0.05 and error < 1e-4, f"{name}: logits differ by {error}, their deviation is {spread}"
    return error


def same_bits(a, b):
    """Parameters and buffers of two checkpoints."""
    (_, left), (_, right) = read_tensors(a), read_tensors(b)
    assert left == right, sorted(k for k in left.keys() | right.keys() if left.get(k) != right.get(k))


# ---- PyTorch


def dense_from_csr(tensors, torch):
    result = {}
    for name, tensor in tensors.items():
        if name.endswith(".crow_indices"):
            base = name[: -len(".crow_indices")]
            crow, col, values = tensor, tensors[base + ".col_indices"], tensors[base + ".values"]
            result[base] = (crow, col, values)
        elif not name.endswith((".col_indices", ".values")):
            result[name] = tensor
    return result


def load_into(model, tensors, torch):
    """state_dict into a model; CSR triples become torch.sparse_csr tensors first, 1x1 kernels get their axes back."""
    state = model.state_dict()
    ready = {}
    for name, value in dense_from_csr(tensors, torch).items():
        shape = state[name].shape
        if isinstance(value, tuple):
            value = torch.sparse_csr_tensor(*value, size=(shape[0], shape[1:].numel())).to_dense().reshape(shape)
        ready[name] = value
    result = model.load_state_dict(ready, strict=False)
    assert not result.unexpected_keys and all(k.endswith("num_batches_tracked") for k in result.missing_keys), result
    return model.eval()


def forward(model, x, torch):
    with torch.no_grad():
        return model(torch.from_numpy(x)).numpy()


def torch_reads_what_we_write(samples, torch):
    from safetensors_torch import load
    from torch.nn.utils import prune
    from torch_models import sample_models
    for name, model in sample_models().items():
        x, expected = samples.inputs_and_logits(name)
        extra = ["--map-file", MAPS / "torch_encoder.map"] if name == "transformer" else []
        dense = load(samples.export(name, "torch-dense", *extra))
        close(name + " dense", forward(load_into(model, dense, torch), x, torch), expected)
        zeros = {key: int((value == 0).sum()) for key, value in dense.items() if value.dim() > 1}
        assert sum(count > 0 for count in zeros.values()) >= 2, zeros

        for parameter in model.parameters():
            parameter.data.zero_()
        csr = load(samples.export(name, "torch-sparse", *extra))
        assert sum(key.endswith(".crow_indices") for key in csr) >= 2
        close(name + " sparse", forward(load_into(model, csr, torch), x, torch), expected)

        # torch.nn.utils.prune's own modules take weight_orig and weight_mask by name.
        pruned = load(samples.export(name, "torch-prune", *extra))
        masked = [key[: -len("_mask")] for key in pruned if key.endswith("_mask")]
        assert masked
        for key in masked:
            module, _, parameter = key.rpartition(".")
            prune.identity(model.get_submodule(module), parameter)
        result = model.load_state_dict(pruned, strict=False)
        assert not result.unexpected_keys and all(k.endswith("num_batches_tracked") for k in result.missing_keys), result
        for key in masked:  # bakes orig * mask in, as PyTorch does before each forward
            module, _, parameter = key.rpartition(".")
            prune.remove(model.get_submodule(module), parameter)
        close(name + " prune", forward(model.eval(), x, torch), expected)


def we_read_what_we_write(samples):
    """Round trips through each format end in the same bits."""
    configs = {
        "mlp": dict(model="{type: mlp, hidden: [24, 12], activation: gelu}", data="{type: synthetic, num_examples: 64, image_size: 4}"),
        "mobilenet": dict(model="{type: mobilenet_v1, width: 0.25, stem: cifar}", data="{type: synthetic, num_examples: 64}"),
        "transformer": dict(model="{type: transformer, vocabulary: 256, layers: 2, hidden: 32, filter: 64, heads: 4}",
                            data="{type: synthetic_tokens, sequence_length: 16, num_examples: 64}"),
    }
    for name, sections in configs.items():
        if name == "mlp":  # the sample's images have two channels, which no data set has
            continue
        config = write_config(samples.root / f"{name}.yaml", **sections)
        extra = ["--map-file", MAPS / "torch_encoder.map"] if name == "transformer" else []
        for form in ("torch-sparse", "torch-prune"):
            back = samples.root / f"{name}.{form}.back.safetensors"
            must(lacuna(samples.binary, "import", samples.export(name, form, *extra), "--config", config, "--out", back, *extra, cwd=samples.root))
            same_bits(back, samples.checkpoint(name))
        back = samples.root / f"{name}.dense.back.safetensors"
        must(lacuna(samples.binary, "import", samples.export(name, "torch-dense", *extra), "--config", config, "--out", back, "--zeros-absent", *extra, cwd=samples.root))
        same_bits(back, samples.checkpoint(name))  # no stored value of the samples is an exact zero
        patterns = samples.export(name, "smtx", suffix="smtx")
        back = samples.root / f"{name}.smtx.back.safetensors"
        must(lacuna(samples.binary, "import", patterns, "--config", config, "--out", back, cwd=samples.root))
        (_, left), (_, right) = read_tensors(back), read_tensors(samples.checkpoint(name))
        indices = [key for key in right if key.endswith("_indices")]
        assert len(indices) >= 4 and all(left[key] == right[key] for key in indices)


def the_cifar_names_map_both_ways(samples, torch):
    from safetensors_torch import load, save
    from torch_models import CIFAR_NAMES, CIFAR_STRIDES, Mobilenet
    mapped = ["--map-file", MAPS / "pytorch_cifar_mobilenet.map"]
    model = Mobilenet(1, CIFAR_STRIDES, 10, CIFAR_NAMES)
    x, expected = samples.inputs_and_logits("mobilenet")
    load_into(model, load(samples.export("mobilenet", "torch-dense", *mapped)), torch)
    close("cifar names", forward(model, x, torch), expected)
    file, back = samples.root / "cifar.safetensors", samples.root / "cifar.back.safetensors"
    save(file, model.state_dict())
    said = must(lacuna(samples.binary, "import", file, "--config", samples.root / "mobilenet.yaml", "--out", back, "--zeros-absent", *mapped, cwd=samples.root))
    assert "27 num_batches_tracked left out" in said, said
    same_bits(back, samples.checkpoint("mobilenet"))


def we_read_what_torch_writes(samples, torch):
    """A pruned torch model, saved in each spelling and dtype; its logits by torch against those of the import, by torch again."""
    from safetensors_torch import load, save
    from torch.nn.utils import prune
    from torch_models import Mlp
    torch.manual_seed(1)
    root = samples.root
    config = write_config(root / "plain.yaml", model="{type: mlp, hidden: [20, 12]}", data="{type: synthetic, num_examples: 64, image_size: 6}")
    model = Mlp([108, 20, 12, 10], torch.relu)
    for layer in model.layers[:-1]:
        prune.l1_unstructured(layer, "weight", amount=0.75)
    x = torch.randn(7, 108)
    expected = model(x).detach()
    kept = {i: int(layer.weight_mask.sum()) for i, layer in enumerate(model.layers[:-1])}
    pruned = dict(model.state_dict())
    assert any(key.endswith("weight_orig") for key in pruned)

    dense = {key: value.detach() for key, value in Mlp([108, 20, 12, 10], torch.relu).state_dict().items()}
    csr = {}
    for i, layer in enumerate(model.layers):
        name = f"layers.{i}.weight"
        dense[name], dense[f"layers.{i}.bias"] = layer.weight.detach(), layer.bias.detach()
        if i < 2:
            matrix = layer.weight.detach().to_sparse_csr()
            assert matrix.crow_indices().dtype == torch.int64
            csr |= {name + ".crow_indices": matrix.crow_indices(), name + ".col_indices": matrix.col_indices(), name + ".values": matrix.values()}
        else:
            csr[name] = layer.weight.detach()
        csr[f"layers.{i}.bias"] = layer.bias.detach()
    masks_as_bool = {key: value.bool() if key.endswith("_mask") else value for key, value in pruned.items()}
    cases = {"prune": (pruned, []), "prune bool": (masks_as_bool, []), "csr": (csr, []), "dense": (dense, ["--zeros-absent"]),
             "dense f64": ({k: v.double() for k, v in dense.items()}, ["--zeros-absent"]),
             "renamed": ({k.replace("layers.", "net.body."): v for k, v in pruned.items()}, ["--map", "net.body.*.*=layers.*.*"]),
             "turned": ({k: v.T if v.dim() == 2 else v for k, v in dense.items()}, ["--zeros-absent", "--map", "layers.*.weight=layers.*.weight^T"]),
             "spare tensor": ({**dense, "step": torch.tensor(3)[None].float()}, ["--zeros-absent", "--map", "step="])}
    for dtype in (torch.float16, torch.bfloat16):
        cases[f"dense {dtype}"] = ({k: v.to(dtype) for k, v in dense.items()}, ["--zeros-absent"])
    checkpoint = {}
    for case, (tensors, extra) in cases.items():
        file, out = root / f"from {case}.safetensors", root / f"to {case}.safetensors"
        save(file, tensors, {"format": "pt"})
        said = must(lacuna(samples.binary, "import", file, "--config", config, "--out", out, *extra, cwd=root))
        assert "2 sparse" in said, said
        for dtype, word in (("float16", "f16"), ("f64", "f64"), ("bfloat", "bf16")):
            if dtype in case and not ("bfloat" in case and word == "f16"):
                assert f"6 tensors converted from {word} to f32" in said, said
        checkpoint[case] = out
        read = load(out)
        for i, count in kept.items():
            assert read[f"layers.{i}.weight.values"].numel() == count, (case, i)
        back = Mlp([108, 20, 12, 10], torch.relu)
        source = {k: v.float() for k, v in dense.items()} if "torch." not in case else {k: v.to(tensors[k].dtype).float() for k, v in dense.items()}
        want = load_into(Mlp([108, 20, 12, 10], torch.relu), source, torch)(x)
        got = load_into(back, read, torch)(x)
        assert torch.equal(got, want), (case, (got - want).abs().max())
        if "torch." not in case:
            assert torch.allclose(got, expected, atol=1e-6)
    for case in ("prune bool", "csr", "dense", "dense f64", "renamed", "turned", "spare tensor"):
        same_bits(checkpoint[case], checkpoint["prune"])
    must(lacuna(samples.binary, "eval", checkpoint["prune"], "--split", "valid", cwd=root))


# ---- ONNX


def onnx_agrees(samples, onnx, onnxruntime):
    worst = 0.0
    for name in NAMES:
        path = samples.export(name, "onnx", suffix="onnx")
        onnx.checker.check_model(onnx.load(path), full_check=True)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        x, expected = samples.inputs_and_logits(name)
        (logits,) = session.run(["logits"], {session.get_inputs()[0].name: x})
        worst = max(worst, close(name, logits, expected))
        (one,) = session.run(["logits"], {session.get_inputs()[0].name: x[:1]})  # the batch is free
        close(name + " alone", one, expected[:1])
    return worst


def main():
    oracle, binary, tests = sys.argv[1:]
    sys.dont_write_bytecode = True
    try:
        if oracle == "torch":
            import torch
            torch.set_num_threads(1)
        else:
            import onnx
            import onnxruntime
    except ImportError as error:
        print(f"skipped: {error} (scripts/install_dependencies.sh --oracles)")
        return 77
    with tempfile.TemporaryDirectory() as directory:
        samples = Samples(os.path.abspath(binary), os.path.abspath(tests), pathlib.Path(directory))
        if oracle == "torch":
            torch_reads_what_we_write(samples, torch)
            we_read_what_we_write(samples)
            the_cifar_names_map_both_ways(samples, torch)
            we_read_what_torch_writes(samples, torch)
            print("ok: torch", torch.__version__)
        else:
            worst = onnx_agrees(samples, onnx, onnxruntime)
            print(f"ok: onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}; logits within {worst:.1e} of ours")
    return 0


if __name__ == "__main__":
    sys.exit(main())
