"""The fit finds the constants that made-up times were made with, and says when it has too little to go by."""
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEADER = "op,dtype,m,k,nnz,n,batch,contender,status,median_us"


def times(op, dtype, m, k, nnz, n):
    flops, moved, dense = 2.0 * nnz * n, 4.0 * (m + k) * n, 2.0 * m * k * n
    if op == "spmm" and dtype == "f32":
        row = 7e-6 + flops / 9e12 + moved / 0.7e12
        yield "lacuna", row
        yield "route_sparse", min(row, 4e-6 + flops / 12e12 + moved / 2e12)
        yield "cublaslt", 5e-6 + dense / 50e12
        yield "lacuna_auto", row
        yield "route_tensor", 18e-6 + 40e-12 * m * k + 70e-12 * nnz
    if op == "spmm" and dtype == "tf32":
        yield "route_half", 21e-6 + (6.0 * k * n + 12.0 * nnz + 2.0 * m * k) / 2.25e12 + dense / 650e12
    if op == "sddmm" and dtype == "f32":
        entries = 1.0 * nnz * n
        if n < 128:
            yield "lacuna", 4e-6 + 3e-13 * entries
        elif n >= 2048 and nnz < 256 * 132:
            yield "lacuna", 6e-6 + 2e-13 * entries + 5e-13 * (m + k) * n
        else:
            yield "lacuna", 5e-6 + 2.5e-13 * entries + 7e-13 * (m + k) * n + 4e-13 * min(m + k, 8192) * n
        pieces = -(-n // 128)
        yield "route_groups", 3e-6 + 4e-7 * pieces + 2e-11 * pieces * nnz + 1.5e-13 * entries + 6e-13 * (m + k) * n


def write(path, sizes):
    lines = [HEADER]
    for m, k in sizes:
        for sparsity in (0.5, 0.9, 0.98):
            for n in (64, 256, 2048):
                nnz = int(m * k * (1 - sparsity))
                for op, dtype in (("spmm", "f32"), ("spmm", "tf32"), ("sddmm", "f32")):
                    for name, seconds in times(op, dtype, m, k, nnz, n):
                        lines.append(f"{op},{dtype},{m},{k},{nnz},{n},1,{name},ok,{seconds * 1e6}")
    lines.append("spmm,f32,512,512,10,64,1,lacuna,failed,")
    path.write_text("\n".join(lines) + "\n")


def constants(text):
    return {name: float(value) for name, value in re.findall(r"double (\w+) = ([0-9.e+-]+);", text)}


def main():
    with tempfile.TemporaryDirectory() as directory:
        file = pathlib.Path(directory) / "results.csv"
        write(file, [(512, 512), (2048, 512), (512, 2048), (4096, 1024), (333, 257)])
        script = [sys.executable, str(ROOT / "scripts/fit_kernel_choice.py"), str(file)]
        text = subprocess.run(script, capture_output=True, text=True, check=True).stdout
        found = constants(text)
        wanted = {"spmm_rate": 9e12, "panel_start": 4e-6, "panel_rate": 12e12, "dense_rate": 50e12, "half_rate": 650e12,
                  "short_start": 4e-6, "short_step": 3e-13, "blocks_step": 2e-13, "groups_start": 3e-6, "groups_step": 1.5e-13}
        wrong = [f"{name} is {found.get(name)}; must be {value}" for name, value in wanted.items()
                 if name not in found or abs(found[name] / value - 1) > 0.02]
        if "the op as it is 1." not in text.split("spmm f32:")[1]:
            wrong.append("no loss of the op's choice in:\n" + text)
        if "SDDMM tiles, half: 0 measurements, too few to fit" not in text:
            wrong.append("a model without measurements is not named")
        write(file, [(512, 512)][:0])
        if "too few" not in subprocess.run(script, capture_output=True, text=True, check=True).stdout:
            wrong.append("an empty file is not said to be too little")
    print("\n".join(wrong) or "the constants come out as they went in")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
