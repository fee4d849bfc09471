#!/usr/bin/env python3
"""docs/adding_an_op.md shows the op's code as it stands in the source: every line but comments, what is left out ('...'), the test,
which says that it is shortened, and a block that begins with "// not in Lacuna".

    op_page.py SOURCE_DIR
"""
import pathlib
import re
import sys

SOURCES = ["kernels/sparse_softmax", "core/ops/sparse_softmax.h", "core/ops/sparse_softmax.cpp"]


def bare(text):
    """Without comments and white space, so that a line may be broken elsewhere."""
    return re.sub(r"\s+", "", re.sub(r"//[^\n]*", "", text))


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    files = [f for s in SOURCES for f in ((root / s).iterdir() if (root / s).is_dir() else [root / s])]
    source = bare("\n".join(f.read_text() for f in sorted(files)))
    blocks = re.findall(r"```cpp\n(.*?)```", (root / "docs/adding_an_op.md").read_text(), re.S)
    shown = [line for block in blocks if "OpCase" not in block and not block.startswith("// not in Lacuna") for line in block.splitlines() if bare(line) and line.strip() != "..."]
    missing = [line for line in shown if bare(line).rstrip("\\") not in source]
    print("\n".join(f"not in the source: {line}" for line in missing) or f"{len(shown)} lines are in the source")
    return 1 if missing or len(shown) < 50 else 0


if __name__ == "__main__":
    sys.exit(main())
