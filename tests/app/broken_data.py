"""Data that is wrong, one fault each: what cli_bad_input.py gives to `lacuna train`."""

import gzip
import os
import struct
import zlib

MLP = "{type: mlp, hidden: [8]}"


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def cifar(count, fine=False, label=1):
    return (bytes([0, label]) if fine else bytes([label])) * 1 + bytes(3072) if count == 1 else cifar(1, fine, label) * count


def idx(extents, values, kind=8):
    return bytes([0, 0, kind, len(extents)]) + b"".join(struct.pack(">I", e) for e in extents) + values


def png(width, height, cut=0, flip=False):
    chunk = lambda name, body: struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    rows = b"".join(b"\0" + os.urandom(3 * min(width, 64)) for _ in range(min(height, 64)))
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    if flip:
        data = data[:60] + bytes([data[60] ^ 0x55]) + data[61:]
    return data[: len(data) - cut]


class Cases:
    """Each entry: name, sections of the config, a part of the path that the message must hold, more parts."""

    def __init__(self, root):
        self.root, self.list = root, []
        self.text(), self.cifar(), self.idx(), self.folder(), self.smtx()

    def add(self, name, path, *parts, **sections):
        self.list.append((name, sections, str(path), parts))

    # ---- text --------------------------------------------------------------------------------------------------------
    def text(self):
        def add(name, path, *parts, options=""):
            self.add("text: " + name, path, *parts, data=f"{{type: text, path: {path}, sequence_length: 16{options}}}")

        root = self.root / "text"
        add("missing", root / "absent.txt", "no such file")
        add("empty file", put(root / "empty.txt", b""), "0 bytes")
        add("shorter than a sequence", put(root / "short.txt", b"x" * 16), "16 bytes")
        add("validation part too short", put(root / "split.txt", b"x" * 200), "validation")
        add("fewer sequences than a batch", put(root / "few.txt", b"x" * 60), "batch", options=", valid_fraction: 0, test_fraction: 0")
        (root / "tree/inner").mkdir(parents=True)
        add("empty tree", root / "tree", "no files")
        put(root / "filtered/a.txt", b"x" * 1000)
        add("tree filtered away", root / "filtered", "extensions", options=", extensions: [.py]")
        os.mkfifo(root / "fifo")
        add("a pipe", root / "fifo", "not a regular file")
        os.symlink(root / "nowhere", root / "dangling")
        add("a dangling link", root / "dangling", "no such file")

    # ---- CIFAR -------------------------------------------------------------------------------------------------------
    def cifar(self):
        def add(name, kind, *parts, **replaced):
            root = self.root / "cifar" / name.replace(" ", "-")
            names = ["train", "test"] if kind == "cifar100" else [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
            for file in names:
                put(root / (file + ".bin"), cifar(4, kind == "cifar100"))
            broken = root
            for file, content in replaced.items():
                broken = root / (file + ".bin")
                broken.unlink()
                if content == "directory":
                    broken.mkdir()
                elif content is not None:
                    broken.write_bytes(content)
            if not broken.exists():
                broken, parts = root, (broken.name,)
            self.add(f"{kind}: {name}", broken, *parts, model=MLP, data=f"{{type: {kind}, path: {root}}}")

        add("batch missing", "cifar10", data_batch_3=None)
        add("test batch missing", "cifar10", test_batch=None)
        add("record cut", "cifar10", "3073", data_batch_2=cifar(4)[:-1])
        add("empty", "cifar10", "0 bytes", data_batch_1=b"")
        add("label out of range", "cifar10", "label 10", data_batch_5=cifar(1) + cifar(1, label=10))
        add("directory in place of a file", "cifar10", data_batch_4="directory")
        add("fine label out of range", "cifar100", "label 100", train=cifar(4, True, 100))
        add("cifar10 in its place", "cifar100", "3074", train=cifar(5))
        self.add("cifar10: missing", self.root / "absent", model=MLP, data=f"{{type: cifar10, path: {self.root / 'absent'}}}")

    # ---- IDX ---------------------------------------------------------------------------------------------------------
    def idx(self):
        def add(name, *parts, broken="train-images-idx3-ubyte", **replaced):
            root = self.root / "idx" / name.replace(" ", "-")
            files = {"train_images": idx([40, 4, 4], bytes(640)), "train_labels": idx([40], bytes([0, 1] * 20)),
                     "t10k_images": idx([4, 4, 4], bytes(64)), "t10k_labels": idx([4], bytes([0, 1, 0, 1]))}
            for key, content in {**files, **replaced}.items():
                split, kind = key.removesuffix("_gz").split("_")
                file = f"{split}-{kind}-idx{3 if kind == 'images' else 1}-ubyte"
                if key.endswith("_gz"):
                    (root / file).unlink()
                    file += ".gz"
                if content is not None:
                    put(root / file, content)
            if not (root / broken).exists():
                broken, parts = "", (broken,)
            self.add("idx: " + name, root / broken, *parts, model=MLP, data=f"{{type: idx, path: {root}, valid_fraction: 0.1}}")

        packed = gzip.compress(idx([40, 4, 4], os.urandom(640)))
        add("wrong magic", "50 4b 03 04", train_images=b"PK\3\4" + bytes(700))
        add("shorter than the magic", "2 bytes", train_images=b"\0\0")
        add("other element type", "0x0d", train_images=idx([40, 4, 4], bytes(640), kind=13))
        add("other rank", "1 axes", train_images=idx([640], bytes(640)))
        add("header cut", "truncated", train_images=idx([40, 4, 4], b"")[:9])
        add("values cut", "truncated", train_images=idx([40, 4, 4], bytes(639)))
        add("trailing bytes", "trailing", train_images=idx([40, 4, 4], bytes(641)))
        add("extents overflow", "overflows", train_images=idx([2**32 - 1] * 3, bytes(640)))
        add("no images", "at least one", train_images=idx([0, 4, 4], b""), train_labels=idx([0], b""))
        add("counts differ", "40 images", train_labels=idx([39], bytes(39)))
        add("label of the test set unknown", "label 2", broken="t10k-labels-idx1-ubyte", t10k_labels=idx([4], bytes([0, 1, 2, 1])))
        add("labels missing", broken="train-labels-idx1-ubyte", train_labels=None)
        add("gzip corrupt", "corrupt", broken="train-images-idx3-ubyte.gz", train_images_gz=packed[:300] + b"\xff\0\xff" + packed[303:])
        add("gzip cut", "truncated", broken="train-images-idx3-ubyte.gz", train_images_gz=packed[:300])
        add("gzip checksum", "corrupt", broken="train-images-idx3-ubyte.gz", train_images_gz=packed[:-6] + bytes([packed[-6] ^ 1]) + packed[-5:])
        add("gzip by name only", "1f 8b", broken="train-images-idx3-ubyte.gz", train_images_gz=b"plain")

    # ---- folders of images -------------------------------------------------------------------------------------------
    def folder(self):
        def add(name, broken, *parts, files=None):
            root = self.root / "folder" / name.replace(" ", "-")
            good = {f"train/{c}/{i}.png": png(8, 8) for c in "ab" for i in range(4)} | {"val/a/0.png": png(8, 8), "val/b/0.png": png(8, 8)}
            for path, content in {**good, **(files or {})}.items():
                if content is not None:
                    put(root / path, content)
            self.add("folder: " + name, root / broken, *parts, model=MLP, data=f"{{type: image_folder, path: {root}, image_size: 8}}")

        everything = {f"train/{c}/{i}.png": None for c in "ab" for i in range(4)}
        every = lambda content: {key: content for key in everything}
        add("missing", "train", files=everything)
        add("no classes", "train", "one per class", files=everything | {"train/0.png": png(8, 8)})
        add("class without images", "train/c", "at least one", files={"train/c/notes.txt": b"x"})
        add("unknown class", "val", "zebra", files={"val/zebra/0.png": png(8, 8)})
        add("images empty", "train", "neither JPEG nor PNG", files=every(b""))
        add("images of another kind", "train", "neither JPEG nor PNG", files=every(b"GIF89a"))
        add("JPEG header only", "train", "undecodable JPEG", files=every(b"\xff\xd8\xff\xe0"))
        add("PNG cut", "train", "undecodable PNG", files=every(png(32, 32, cut=900)))
        add("PNG corrupt", "train", "undecodable PNG", files=every(png(32, 32, flip=True)))
        add("PNG too large", "train", "PNG", files=every(png(2**31 - 1, 2**31 - 1)))

    # ---- attention patterns ------------------------------------------------------------------------------------------
    def smtx(self):
        def add(name, content, *parts):
            path = put(self.root / "smtx" / (name.replace(" ", "-") + ".smtx"), content.encode())
            self.add("pattern: " + name, path, *parts, model="{type: transformer, layers: 1, hidden: 16, filter: 16, heads: 1, "
                     f"attention: {{type: from_file, path: {path}}}}}", data="{type: synthetic_tokens, num_examples: 64, num_classes: 8, sequence_length: 4}")

        add("empty", "")
        add("other size", "3, 3, 3\n0 1 2 3\n0 1 2\n", "3 x 3")
        add("cut", "4, 4, 5\n0 1 2 3 5\n0 1 2\n", "ends where")
        add("columns unsorted", "4, 4, 5\n0 1 2 3 5\n0 1 2 3 0\n", "ascend")
        add("column out of range", "4, 4, 5\n0 1 2 3 5\n0 1 2 0 9\n", "column 9")
        add("column negative", "4, 4, 5\n0 1 2 3 5\n0 1 2 -1 3\n", "ascend")
        add("offsets run backwards", "4, 4, 5\n0 2 1 3 5\n0 1 2 0 3\n", "backwards")
        add("count overflows", "4, 4, 99999999999\n0 1 2 3 5\n0 1 2 0 3\n", "no more than the file holds")
        add("not a number", "4, 4, five\n", "'f'")
        add("trailing numbers", "4, 4, 5\n0 1 2 3 5\n0 1 2 0 3\n7\n", "follows")
