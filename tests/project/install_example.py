#!/usr/bin/env python3
"""Installs a build, builds examples/custom_model against it with find_package(Lacuna) alone, runs it, checks its output.

    install_example.py SOURCE_DIR BUILD_DIR CMAKE
"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

SKIPPED = 77
STEP = re.compile(r"step +(\d+)  loss ([\d.]+)  sparsity ([\d.]+)  bytes (\d+)")
TEST = re.compile(r"test loss ([\d.]+), accuracy ([\d.]+)")


def run(*command, **options):
    result = subprocess.run([str(c) for c in command], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            **options)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\nended with {result.returncode}:\n{result.stdout}")
    return result.stdout


def cache_entries(build):
    """The build's compilers, generator and search paths, so that the example is built alike."""
    entries = {}
    for line in (build / "CMakeCache.txt").read_text().splitlines():
        match = re.match(r"([A-Za-z0-9_]+):[A-Z]+=(.*)", line)
        if match:
            entries[match.group(1)] = match.group(2)
    return entries


def check_output(text):
    steps = [(int(a), float(b), float(c), int(d)) for a, b, c, d in STEP.findall(text)]
    problems = []
    if [s[0] for s in steps] != list(range(50, 401, 50)):
        return [f"expected steps 50, 100 .. 400, found {[s[0] for s in steps]}"]
    first, last = steps[0], steps[-1]
    if first[2] != 0:
        problems.append(f"sparsity {first[2]} before pruning begins")
    if last[2] != 0.9:
        problems.append(f"final sparsity {last[2]}, asked for 0.9")
    if not last[1] < 0.5 * first[1]:
        problems.append(f"loss {first[1]} -> {last[1]} did not halve")
    if not last[3] < 0.2 * first[3]:
        problems.append(f"bytes {first[3]} -> {last[3]}: more than 0.2 of them are left at 90 % sparsity")
    test = TEST.search(text)
    if not test or float(test.group(2)) < 0.85:
        problems.append(f"test accuracy {test.group(2) if test else 'missing'}, expected at least 0.85")
    return problems


def main():
    source, build, cmake = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
    if shutil.which(cmake) is None:
        print("cmake not found")
        return SKIPPED
    cache = cache_entries(build)
    with tempfile.TemporaryDirectory(prefix="lacuna-install-") as scratch:
        prefix, example = pathlib.Path(scratch, "prefix"), pathlib.Path(scratch, "example")
        run(cmake, "--install", build, "--prefix", prefix)
        version = run(prefix / "bin" / "lacuna", "--version").strip()
        paths = ";".join(filter(None, [str(prefix), cache.get("CMAKE_PREFIX_PATH")]))
        keys = ("CMAKE_C_COMPILER", "CMAKE_CXX_COMPILER", "CMAKE_BUILD_TYPE")
        options = [f"-D{key}={cache[key]}" for key in keys if cache.get(key)]
        run(cmake, "-S", source / "examples" / "custom_model", "-B", example, "-G", cache["CMAKE_GENERATOR"],
            f"-DCMAKE_PREFIX_PATH={paths}", *options)
        run(cmake, "--build", example)
        # What was installed must stand without the source tree.
        exported = list(prefix.rglob("LacunaTargets*.cmake"))
        leaks = [f"{f.name}: {line}" for f in exported for line in f.read_text().splitlines() if str(source) in line]
        if leaks or not exported:
            sys.exit("\n".join(["exported targets are missing or point into the source tree:", *leaks]))
        output = run(example / "custom_model", timeout=300)
    print(f"lacuna {version}\n{output}", end="")
    problems = check_output(output)
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
