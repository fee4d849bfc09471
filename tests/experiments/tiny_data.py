"""Small data sets in the public sets' formats, written by the tests themselves."""

import random
import struct
import zlib


def png(side, seed):
    """A PNG of side x side pixels, 8-bit RGB: a gradient with noise."""
    rng = random.Random(seed)
    rows = b""
    for y in range(side):
        rows += b"\0" + bytes(v for x in range(side) for v in ((x * 255 // side + seed * 37) % 256, y * 255 // side, rng.randrange(256)))
    chunk = lambda name, data: struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def image_folder(root, classes=2, images=140, side=24):
    """root/{train,val}/<class>/*.png; returns the root. A few distinct pictures, written often."""
    pictures = [png(side, seed) for seed in range(8)]
    for split, count in (("train", images), ("val", 4)):
        for label in range(classes):
            folder = root / split / f"class{label}"
            folder.mkdir(parents=True)
            for i in range(count):
                (folder / f"{i:03}.png").write_bytes(pictures[(i + label) % 8])
    return root


def cifar(root, records=60):
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    rng = random.Random(1)
    for name in [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]:
        (folder / name).write_bytes(b"".join(bytes([i % 10]) + rng.randbytes(3072) for i in range(records)))
    return folder


def idx(root, images=300):
    root.mkdir(parents=True, exist_ok=True)
    rng = random.Random(2)
    for split in ("train", "t10k"):
        (root / f"{split}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 0x803, images, 28, 28) + rng.randbytes(images * 784))
        (root / f"{split}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, images) + bytes(i % 10 for i in range(images)))
    return root


def text(path, size=400_000):
    words = [b"lacuna", b"a gap", b"an unfilled space", b"sparse", b"0.9", b"\n"]
    rng = random.Random(3)
    data = b" ".join(rng.choice(words) for _ in range(size // 6))
    path.write_bytes((data * 2)[:size])
    return path
