#!/usr/bin/env python3
"""What a training step of MobileNetV1 must move and compute, kernel by kernel, and how long that takes at least on a given GPU.

    python3 experiments/paper/mobilenet_step.py                                    # width 1.0, batch 256 of 224 x 224, bf16, dense
    python3 experiments/paper/mobilenet_step.py --sparsity 0.9 --precision tf32 --shapes

Counts are of the kernels as they are (docs/kernels/mobilenet_step.md); `lacuna bench step CONFIG --kernels 60` gives the times to hold
beside them. Nothing is measured here.
"""

import argparse
import dataclasses

BANDWIDTH = 3.0e12 * 0.85  # bytes/s: an H100's copy bandwidth, and what a good kernel reaches of it
RATES = {"bf16": 650e12, "tf32": 400e12, "f32": 52e12}  # of large dense products
SPARSE_F32 = {"spmm": 160e12, "sddmm": 120e12}  # of f32-accurate products on tensor cores at 0.9, counted as dense ones (4096^3, measured)
START = 2e-6  # seconds between kernels of one stream
CHANNELS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
STRIDES = {"imagenet": (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1), "cifar": (1, 2, 1, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1)}


@dataclasses.dataclass(frozen=True)
class Work:
    """One launch."""
    kernel: str  # as the profile names it, or what of it
    layer: str
    shape: str
    bytes: float
    flops: float = 0.0
    rate: float = 0.0  # of its flops; 0: they do not bind

    def seconds(self):
        return max(self.bytes / BANDWIDTH, self.flops / self.rate if self.rate else 0.0) + START


def scaled(channels, width):
    """As models/mobilenet.cpp rounds."""
    exact = channels * width
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded


def norm(layer, c, n, e):
    """Batch norm + ReLU: statistics and map forward, parameters' and input's gradients backward."""
    shape, size = f"[{c}, {n}]", c * n * e
    return [Work("batch_norm_moments", layer, shape, size), Work("batch_norm_finish", layer, shape, 0),
            Work("batch_norm_relu", layer, shape, 2 * size), Work("batch_norm_relu_dparams", layer, shape, 2 * size),
            Work("batch_norm_relu_finish", layer, shape, 0), Work("batch_norm_relu_dx", layer, shape, 3 * size)]


def depthwise(layer, c, batch, side, stride, e):
    out = side // stride
    shape, moved = f"{c} x {side}x{side}" + (f" /{stride}" if stride > 1 else ""), c * batch * (side * side + out * out) * e
    return [Work(f"depthwise{' (stride 2)' if stride == 2 else ''}", layer, shape, moved),
            Work(f"depthwise dX{' (stride 2)' if stride == 2 else ''}", layer, shape, moved),
            Work("depthwise dW", layer, shape, moved), Work("sum_partials", layer, shape, 0)]


def product(layer, m, k, n, e, rate, sparsity):
    """y = W x with both gradients. Sparse weights are densified for y and dX, but in f32, and dW is computed on their pattern alone."""
    shape, moved, flops = f"[{m}, {k}] x {n}", (m + k) * n * e, 2.0 * m * k * n
    if not sparsity:
        casts = [Work("cast (weight)", layer, shape, m * k * 6)] if e == 2 else []
        return casts + [Work("gemm", layer, shape, moved + m * k * e, flops, rate), Work("gemm dX", layer, shape, moved + m * k * e, flops, rate),
                        Work("gemm dW", layer, shape, moved + m * k * 4, flops, rate)]
    nnz = m * k * (1 - sparsity)
    casts = [Work("cast (weight)", layer, shape, nnz * 6)] if e == 2 else []
    if rate == RATES["f32"]:
        return [Work("spmm_tensor", layer, shape, moved + nnz * 6, flops, SPARSE_F32["spmm"]) for _ in range(2)] + \
            [Work("sddmm (dW)", layer, shape, moved + nnz * 8, flops, SPARSE_F32["sddmm"])]
    dense = [Work("densify", layer, shape, m * k * e + nnz * (e + 4)) for _ in range(2)]
    return casts + dense + [Work("gemm", layer, shape, moved + m * k * e, flops, rate), Work("gemm dX", layer, shape, moved + m * k * e, flops, rate),
                            Work("sddmm (dW)", layer, shape, moved + nnz * 8, flops, rate)]


def step(options):
    e = 2 if options.precision == "bf16" else 4
    rate, b = RATES[options.precision], options.batch
    side = options.image // (2 if options.stem == "imagenet" else 1)
    width = scaled(32, options.width)
    rows = (27 + 16 // e - 1) // (16 // e) * (16 // e)  # of the unfolded image, padded (core/ops/conv.cpp)
    n = b * side * side
    pixels = 3 * b * options.image * options.image
    done = [Work("cast (images)", "stem", f"{pixels}", pixels * 6)] if e == 2 else []
    for half in ("unfold", "unfold (again, for dW)"):
        done.append(Work(half, "stem", f"3 x {options.image}x{options.image}", (pixels + rows * n) * e))
    done += [Work("gemm", "stem", f"[{width}, {rows}] x {n}", (rows + width) * n * e, 2.0 * width * rows * n, rate),
             Work("gemm dW", "stem", f"[{width}, {rows}] x {n}", (rows + width) * n * e, 2.0 * width * rows * n, rate)]
    done += norm("stem", width, n, e)
    parameters = width * 27 + 2 * width
    for i, (channels, stride) in enumerate(zip(CHANNELS, STRIDES[options.stem])):
        name, out = f"block {i}", scaled(channels, options.width)
        done += depthwise(name, width, b, side, stride, e)
        side //= stride
        n = b * side * side
        sparsity = options.sparsity if i else 0
        done += norm(f"{name} depthwise", width, n, e) + product(name, out, width, n, e, rate, sparsity) + norm(f"{name} pointwise", out, n, e)
        parameters += width * 9 + 2 * width + 2 * out + width * out * (1 - sparsity)
        width = out
    done += [Work("segment_mean", "pool", f"[{width}, {n}]", width * n * e), Work("segment_mean_dx", "pool", f"[{width}, {n}]", width * n * e)]
    classes = 1000 if options.stem == "imagenet" else 10
    done += [Work("gemm", "classifier", f"[{classes}, {width}] x {b}", classes * width * e + (classes + width) * b * e)] * 3
    done.append(Work("cross_entropy", "loss", f"[{classes}, {b}]", 2 * classes * b * e))
    parameters += width * classes + classes
    done.append(Work("update_all (SGD, momentum)", "optimizer", f"{parameters / 1e6:.1f} M", parameters * 20))
    return done


def row(cells):
    return "| " + " | ".join(cells) + " |"


def table(header, rows):
    print("\n".join([row(header), row(["---"] + ["---:"] * (len(header) - 1)), *map(row, rows)]) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--image", type=int, help="side (default: 224, or 32)")
    parser.add_argument("--stem", choices=STRIDES, default="imagenet")
    parser.add_argument("--precision", choices=RATES, default="bf16")
    parser.add_argument("--sparsity", type=float, default=0.0, help="of the 12 inner pointwise convolutions")
    parser.add_argument("--shapes", action="store_true", help="a line for each kernel at each shape")
    options = parser.parse_args()
    options.image = options.image or (224 if options.stem == "imagenet" else 32)
    works = step(options)
    kinds, shapes = {}, {}
    for w in works:
        kinds.setdefault(w.kernel, []).append(w)
        shapes.setdefault((w.kernel, w.shape), []).append(w)
    if options.shapes:
        table(["kernel", "shape", "launches", "MB", "GFLOP", "us each"],
              [[kernel, shape, str(len(ws)), f"{ws[0].bytes / 1e6:.1f}", f"{ws[0].flops / 1e9:.1f}", f"{1e6 * ws[0].seconds():.0f}"]
               for (kernel, shape), ws in sorted(shapes.items(), key=lambda item: list(kinds).index(item[0][0])) if ws[0].bytes])
    total = sum(w.seconds() for w in works)
    lines = sorted(kinds.items(), key=lambda kind: -sum(w.seconds() for w in kind[1]))
    table(["kernel", "launches", "GB", "GFLOP", "ms", "share"],
          [[name, str(len(ws)), f"{sum(w.bytes for w in ws) / 1e9:.2f}", f"{sum(w.flops for w in ws) / 1e9:.0f}",
            f"{1e3 * sum(w.seconds() for w in ws):.2f}", f"{100 * sum(w.seconds() for w in ws) / total:.0f} %"] for name, ws in lines] +
          [["**step**", str(len(works)), f"{sum(w.bytes for w in works) / 1e9:.1f}", f"{sum(w.flops for w in works) / 1e9:.0f}",
            f"**{1e3 * total:.1f}**", f"{options.batch / total / 1e3:.1f} k images/s"]])


if __name__ == "__main__":
    main()
