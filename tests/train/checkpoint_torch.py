"""Reads a checkpoint with a reader of its own, by the format's description alone, and builds torch tensors from it.

usage: checkpoint_torch.py PATH/TO/test_train      (exit 77: skipped, no torch)
"""

import json
import os
import struct
import subprocess
import sys
import tempfile

MASK = (1 << 64) - 1
P1, P2, P3, P4, P5 = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)


def rotl(x, r):
    return ((x << r) | (x >> (64 - r))) & MASK


def mix(lane, word):
    return rotl((lane + word * P2) & MASK, 31) * P1 & MASK


def xxh64(data):
    lanes = [(P1 + P2) & MASK, P2, 0, -P1 & MASK]
    at = 0
    while at + 32 <= len(data):
        lanes = [mix(lane, word) for lane, word in zip(lanes, struct.unpack_from("<4Q", data, at))]
        at += 32
    h = P5
    if len(data) >= 32:
        h = sum(rotl(lane, r) for lane, r in zip(lanes, (1, 7, 12, 18))) & MASK
        for lane in lanes:
            h = ((h ^ mix(0, lane)) * P1 + P4) & MASK
    h = (h + len(data)) & MASK
    while at + 8 <= len(data):
        h = (rotl(h ^ mix(0, struct.unpack_from("<Q", data, at)[0]), 27) * P1 + P4) & MASK
        at += 8
    while at + 4 <= len(data):
        h = (rotl(h ^ (struct.unpack_from("<I", data, at)[0] * P1 & MASK), 23) * P2 + P3) & MASK
        at += 4
    for byte in data[at:]:
        h = rotl(h ^ (byte * P5 & MASK), 11) * P1 & MASK
    h = (h ^ (h >> 33)) * P2 & MASK
    h = (h ^ (h >> 29)) * P3 & MASK
    return h ^ (h >> 32)


def read_safetensors(path, torch):
    with open(path, "rb") as file:
        data = file.read()
    (size,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + size])
    metadata = header.pop("__metadata__")
    digits = metadata["checksum"].split(":")[1]
    zeroed = data.replace(digits.encode(), b"0" * 16, 1)
    assert xxh64(zeroed) == int(digits, 16), "checksum"
    dtypes = {"F32": torch.float32, "F64": torch.float64, "I32": torch.int32, "I64": torch.int64, "U8": torch.uint8}
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        dtype = dtypes[entry["dtype"]]
        assert (8 + size + begin) % torch.empty(0, dtype=dtype).element_size() == 0, "alignment of " + name
        tensors[name] = torch.frombuffer(bytearray(data[8 + size + begin : 8 + size + end]), dtype=dtype).reshape(entry["shape"])
    return metadata, tensors


def parameters(metadata, tensors, torch):
    result = {}
    for entry in json.loads(metadata["parameters"]):
        name = entry["name"]
        if entry["layout"] == "csr":
            parts = [tensors[name + "." + part] for part in ("crow_indices", "col_indices", "values")]
            result[name] = torch.sparse_csr_tensor(*parts, size=entry["shape"])
        else:
            result[name] = tensors[name]
    return result


def main():
    try:
        import torch
    except ImportError:
        print("skipped: this Python has no torch")
        return 77
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "sample.safetensors")
        subprocess.run(
            [sys.argv[1], "--gtest_also_run_disabled_tests", "--gtest_filter=CheckpointSample.DISABLED_Write"],
            env={**os.environ, "LACUNA_SAMPLE_CHECKPOINT": path}, check=True, stdout=subprocess.DEVNULL)
        metadata, tensors = read_safetensors(path, torch)
    values = parameters(metadata, tensors, torch)
    # tests/train/small_model.h: values are scale * (i + 1.1) in f32.
    counting = lambda n, scale: torch.tensor(scale, dtype=torch.float32) * (torch.arange(n, dtype=torch.float32) + 1.1)
    expected = torch.zeros(3, 4)
    for value, (row, column) in zip(counting(5, 0.5), [(0, 1), (0, 3), (2, 0), (2, 1), (2, 2)]):
        expected[row, column] = value
    weight = values["weight"]
    assert weight.layout == torch.sparse_csr and tuple(weight.shape) == (3, 4)
    assert torch.equal(weight.to_dense(), expected), weight.to_dense()
    x = torch.arange(8, dtype=torch.float32).reshape(4, 2)
    assert torch.allclose(weight.to_dense() @ x, expected @ x)
    assert torch.equal(values["dense"], counting(6, -7.25).reshape(2, 3))
    assert torch.equal(tensors["bias.slot.adam_v"], counting(3, 3e8))
    assert torch.equal(tensors["norm.running_mean"], counting(3, -1e-30))
    state = json.loads(metadata["training_state"])
    assert state["step"] == 1000 and state["seed"] == 0xFEDCBA9876543210 and state["extra"]["best"] == 0.1
    print("ok: torch", torch.__version__, "read", len(tensors), "tensors")
    return 0


if __name__ == "__main__":
    sys.exit(main())
