#!/usr/bin/env python3
"""Reads every #include "room/file.h" and compares it with the rooms' allowed arrows (docs/architecture.md)."""
import pathlib
import re
import sys

ALLOWED = {
    "kernels": set(),
    "core": {"kernels"},
    "layers": {"core"},
    "optim": {"core"},
    "pruning": {"core"},
    "data": {"core"},
    "models": {"layers", "core"},
    "train": {"layers", "optim", "pruning", "data", "core"},
}
EVERYTHING = {"app", "experiments", "tests", "examples"}
# Headers that are plain vocabulary of the leaf room: stream and view types, the Philox function, device runtime calls.
# Whoever may include core may include these; every other kernel header is core's alone.
SHARED_KERNEL_HEADERS = {"kernels/runtime/views.h", "kernels/runtime/runtime.h", "kernels/random/philox.h"}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')


def violations(root):
    found, checked = [], 0
    rooms = set(ALLOWED) | EVERYTHING
    for path in sorted(root.rglob("*")):
        if path.suffix not in {".h", ".cuh", ".cpp", ".cu", ".inc"}:
            continue
        relative = path.relative_to(root)
        room = relative.parts[0]
        if room not in rooms:
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            target = match.group(1)
            checked += 1
            where = f"{relative}:{number}"
            if not (root / target).is_file():
                found.append(f'{where}: "{target}" is not a file under the repository root')
                continue
            other = target.split("/")[0]
            if room in EVERYTHING or other == room or other in ALLOWED[room] or target in SHARED_KERNEL_HEADERS:
                continue
            found.append(f'{where}: {room} may not include {other} ("{target}")')
    return found, checked


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    found, checked = violations(root)
    print("\n".join(found))
    print(f"{checked} includes checked, {len(found)} against the arrows")
    return 1 if found or checked == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
