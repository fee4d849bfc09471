"""Checkpoints that are wrong, one fault each: what cli_bad_input.py gives to `lacuna train --resume` and `lacuna eval`."""

import json
import os
import pathlib
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "train"))
from checkpoint_torch import xxh64  # noqa: E402

from lacuna_process import read_tensors  # noqa: E402


def assemble(metadata, entries, data, checksum=True):
    """A file from header entries as they are; the checksum is right, whatever else is wrong."""
    head = {"checksum": "xxh64:" + "0" * 16} if checksum else {}
    header = {"__metadata__": {**head, **{k: v for k, v in metadata.items() if k != "checksum"}}}
    text = json.dumps({**header, **dict(entries)}, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    whole = struct.pack("<Q", len(text)) + text + data
    return whole.replace(b"0" * 16, b"%016x" % xxh64(whole), 1) if checksum else whole


class Checkpoint:
    def __init__(self, path):
        self.metadata, tensors = read_tensors(path)
        self.tensors = {name: list(tensor) for name, tensor in tensors.items()}

    def bytes(self, checksum=True, edit=lambda entries: None, tail=b""):
        order = sorted(self.tensors, key=lambda n: {"F64": 0, "I64": 0, "U8": 9}.get(self.tensors[n][0], 1))
        entries, data = {}, b""
        for name in order:
            dtype, shape, content = self.tensors[name]
            entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
            data += content
        edit(entries)
        return assemble(self.metadata, entries, data + tail, checksum)

    # Faults of contents, in place.
    def numbers(self, name, change):
        kind = {"F32": "f", "I32": "i"}[self.tensors[name][0]]
        values = list(struct.unpack(f"<{len(self.tensors[name][2]) // 4}{kind}", self.tensors[name][2]))
        change(values)
        self.tensors[name][2] = struct.pack(f"<{len(values)}{kind}", *values)

    def json(self, key, change):
        value = json.loads(self.metadata[key])
        value = change(value) or value
        self.metadata[key] = json.dumps(value, separators=(",", ":"))


def cases(path):
    """name, the file's new content (bytes, or a function that puts something at a path), parts of the message."""
    raw = pathlib.Path(path).read_bytes()
    (size,) = struct.unpack_from("<Q", raw)
    result = []
    add = lambda name, content, *parts: result.append((name, content, parts))

    add("empty", b"", "0 bytes")
    add("seven bytes", raw[:7], "7 bytes")
    add("half", raw[: len(raw) // 2], "truncated")
    add("cut in the header", raw[: 8 + size // 2], "truncated")
    add("last byte missing", raw[:-1])
    add("a byte more", raw + b"\0", "follow")
    add("zeros", bytes(len(raw)))
    add("random bytes", os.urandom(4096))
    add("a zip file", b"PK\3\4" + raw[4:])
    add("text", b"not a checkpoint\n" * 100)
    add("header length overflows", struct.pack("<Q", 2**64 - 1) + raw[8:])
    add("header longer than the file", struct.pack("<Q", len(raw)) + raw[8:], "truncated")
    add("header not JSON", raw[:8] + b"{" * size + raw[8 + size :])
    add("header a list", struct.pack("<Q", 8) + b"[1,2,3] ")
    add("a bit of the data flipped", raw[:-9] + bytes([raw[-9] ^ 4]) + raw[-8:], "checksum")
    add("a digit of the header flipped", raw.replace(b'"step\\":', b'"Step\\":', 1), "checksum")
    add("a directory", lambda at: at.mkdir(), "not a regular file")
    add("a pipe", lambda at: os.mkfifo(at), "not a regular file")
    add("a dangling link", lambda at: at.symlink_to("nowhere"), "cannot open")

    def crafted(name, change, *parts, **options):
        c = Checkpoint(path)
        change(c)
        add(name, c.bytes(**options), *parts)

    names = Checkpoint(path).tensors
    sparse = next(n for n in names if n.endswith(".col_indices")).removesuffix(".col_indices")
    dense = next(n for n in names if n + ".slot.adam_m" in names and n + ".values" not in names)
    crow, col, values, moment = sparse + ".crow_indices", sparse + ".col_indices", sparse + ".values", sparse + ".slot.adam_m"
    nothing = lambda c: None

    def set_at(name, index, value):
        return lambda c: c.numbers(name, lambda v: v.__setitem__(index, value))

    # Of the format.
    crafted("no checksum", nothing, "checksum", checksum=False)
    crafted("shape overflows", nothing, values, "overflows", edit=lambda e: e[values].update(shape=[2**40, 2**40]))
    crafted("shape negative", nothing, values, edit=lambda e: e[values].update(shape=[-4]))
    crafted("shape of many axes", nothing, values, "axes", edit=lambda e: e[values].update(shape=[1] * 30))
    crafted("shape of other size", nothing, values, "bytes", edit=lambda e: e[values].update(shape=[3]))
    crafted("dtype unknown", nothing, values, "dtype", edit=lambda e: e[values].update(dtype="F8"))
    crafted("offsets past the end", nothing, values, "outside", edit=lambda e: e[values].update(data_offsets=[0, 2**62]))
    crafted("offsets swapped", nothing, values, edit=lambda e: e[values].update(data_offsets=e[values]["data_offsets"][::-1]))
    crafted("tensors overlap", nothing, edit=lambda e: e[moment].update(data_offsets=e[values]["data_offsets"]))
    crafted("bytes after the tensors", nothing, "follow", tail=bytes(8))
    # Of the contents.
    crafted("other version", lambda c: c.metadata.update(lacuna_checkpoint="99"), "99")
    crafted("no parameters", lambda c: c.metadata.pop("parameters"), "parameters")
    crafted("parameters malformed", lambda c: c.metadata.update(parameters="[{"), "malformed")
    crafted("layout unknown", lambda c: c.json("parameters", lambda p: next(e for e in p if e["name"] == sparse).update(layout="coo")), "coo")
    crafted("tensor missing", lambda c: c.tensors.pop(values), values)
    crafted("moment missing", lambda c: c.tensors.pop(moment), moment)
    crafted("tensor left over", lambda c: c.tensors.update(extra=["F32", [1], bytes(4)]), "extra")
    crafted("columns unsorted", lambda c: c.numbers(col, lambda v: v.__setitem__(slice(0, 2), v[1::-1])), sparse, "CSR")
    crafted("column twice", lambda c: c.numbers(col, lambda v: v.__setitem__(1, v[0])), sparse, "CSR")
    crafted("column out of range", set_at(col, -1, 2**30), sparse, "CSR")
    crafted("column negative", set_at(col, 0, -1), sparse, "CSR")
    crafted("offsets begin past 0", set_at(crow, 0, 1), sparse, "CSR")
    crafted("offsets run backwards", set_at(crow, 1, 2**30), sparse, "CSR")
    crafted("offsets end early", lambda c: c.numbers(crow, lambda v: v.__setitem__(-1, v[-1] - 1)), sparse, "CSR")
    crafted("an offset too few", lambda c: c.tensors.update({crow: ["I32", [len(c.tensors[crow][2]) // 4 - 1], c.tensors[crow][2][:-4]]}), sparse)
    crafted("indices of another dtype", lambda c: c.tensors[col].__setitem__(0, "F32"), sparse)
    crafted("NaN in the values", set_at(values, 0, float("nan")), values, "not finite")
    crafted("infinity in the values", set_at(values, -1, float("inf")), values, "not finite")
    crafted("NaN in a moment", set_at(moment, 0, float("nan")), moment, "NaN")
    crafted("values of another dtype", lambda c: c.tensors[values].__setitem__(0, "I32"), sparse)
    crafted("moment of another dtype", lambda c: c.tensors[moment].__setitem__(0, "I32"), moment)
    crafted("moment of another shape", lambda c: c.tensors.update({moment: ["F32", [1], bytes(4)]}), moment)
    crafted("dense weight of another shape", lambda c: c.tensors[dense].__setitem__(1, [1, *c.tensors[dense][1]]), dense)
    crafted("state not JSON", lambda c: c.metadata.update(training_state="?"), "malformed")
    crafted("step negative", lambda c: c.json("training_state", lambda s: s.update(step=-1)), "negative")
    crafted("step past 64 bits", lambda c: c.metadata.update(training_state=c.metadata["training_state"].replace('"step":', '"step":9999999999999999999')), "")
    crafted("extra a number", lambda c: c.json("training_state", lambda s: s.update(extra=3)), "extra")
    return result


def resume_cases(path):
    """Sound files that do not fit the run; `eval` may take them."""
    result = []

    def crafted(name, change, *parts):
        c = Checkpoint(path)
        change(c)
        result.append((name, c.bytes(), parts))

    crafted("another seed", lambda c: c.json("training_state", lambda s: s.update(seed=4)), "seed")
    crafted("step not its name's", lambda c: c.json("training_state", lambda s: s.update(step=s["step"] - 1)), "name")
    crafted("interval not a number", lambda c: c.json("training_state", lambda s: s["extra"].update(interval_loss_sum="x")), "malformed")

    def rename(c):
        c.tensors = {name.replace("blocks.0", "blocks.7"): tensor for name, tensor in c.tensors.items()}
        c.metadata["parameters"] = c.metadata["parameters"].replace("blocks.0", "blocks.7")

    crafted("another model's names", rename, "blocks.0")
    return result
