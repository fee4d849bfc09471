#!/usr/bin/env python3
"""docs/adding_a_method.md shows a whole method as it is in the source, and that method takes less than 50 lines."""
import pathlib
import re
import sys


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    page = (root / "docs/adding_a_method.md").read_text()
    (shown,) = re.findall(r"```cpp\n(.*?)```", page, re.S)
    source = (root / "pruning/methods/set.cpp").read_text()
    lines = len(source.splitlines())
    print(f"{len(shown.splitlines())} lines shown, {lines} in the source")
    if shown not in source:
        print("the page's code is not what stands in pruning/methods/set.cpp")
        return 1
    return 1 if lines >= 50 else 0


if __name__ == "__main__":
    sys.exit(main())
