"""Figures that others have published or that were measured once, with where they come from. None of them is ours.

The paper: Gale, Zaharia, Young, Elsen, "Sparse GPU Kernels for Deep Learning", SC 2020, arXiv 2006.10901; a V100, f32, forward passes.
PyTorch: version 2.11, CUDA 13.0, one NVIDIA H100 80GB HBM3, 2026-11-23, CUDA events, medians, warm. torch_models.py measures the same
again where PyTorch with CUDA is there; compare within one run.
"""

PAPER = "paper, V100"
TORCH = "PyTorch 2.11, H100, 2026-11-23"

# Section VII, sparse Transformer, 12,288 tokens, batch 1, forward: tokens/s, GB.
PAPER_TRANSFORMER = {"dense": (32477, 9.88), "sparse attention": (67857, 0.77)}
PAPER_TRANSFORMER_BITS = {"dense": 3.76, "sparse attention": 3.77}  # bits per dimension, ImageNet 64x64

# Section VII, MobileNetV1, ImageNet, batch 1: top-1 %, frames/s.
PAPER_MOBILENET = {
    ("dense", 1.0): (72.7, 2518), ("dense", 1.2): (73.8, 2046), ("dense", 1.4): (74.8, 1729),
    ("sparse", 1.3): (72.9, 2874), ("sparse", 1.4): (73.3, 2706), ("sparse", 1.5): (73.8, 2537),
    ("sparse", 1.6): (74.1, 2366), ("sparse", 1.7): (74.4, 2226), ("sparse", 1.8): (74.9, 2095)}

# Section VII, DLMC: geometric mean and peak over cuSPARSE of 2020; best share of the f32 peak.
PAPER_KERNELS = {"spmm": (3.58, 14.2), "sddmm": (2.19, 6.58)}
PAPER_SHARE_OF_PEAK = 0.27

# The Transformer's architecture with dense causal attention: (pass, precision, route, batch): (tokens/s, peak GiB).
TORCH_TRANSFORMER = {
    ("forward", "f32", "materialised", 1): (117e3, 9.7), ("forward", "tf32", "materialised", 1): (203e3, 9.7),
    ("forward", "f32", "materialised", 8): (121e3, 74.6), ("forward", "tf32", "materialised", 8): (209e3, 74.6),
    ("forward", "f32", "flash", 1): (297e3, 0.88), ("forward", "tf32", "flash", 1): (481e3, 0.88),
    ("forward", "bf16", "flash", 1): (2.80e6, 0.66),
    ("forward", "f32", "flash", 8): (309e3, 5.5), ("forward", "tf32", "flash", 8): (525e3, 5.5),
    ("forward", "bf16", "flash", 8): (3.13e6, 3.3),
    ("forward", "bf16", "flash, compiled", 1): (3.06e6, 0.52), ("forward", "bf16", "flash, compiled", 8): (3.34e6, 2.35),
    ("training", "f32", "materialised", 1): (44e3, 29.2), ("training", "tf32", "materialised", 1): (79e3, 29.2),
    ("training", "bf16", "materialised", 1): (84e3, 33.1),
    **{("training", precision, "materialised", 8): "out of memory" for precision in ("f32", "tf32", "bf16")},
    ("training", "f32", "flash", 1): (86e3, 2.4), ("training", "tf32", "flash", 1): (121e3, 2.4),
    ("training", "bf16", "flash", 1): (797e3, 1.6),
    ("training", "f32", "flash", 8): (88e3, 17), ("training", "tf32", "flash", 8): (128e3, 17),
    ("training", "bf16", "flash", 8): (931e3, 10),
    ("training", "bf16", "flash, compiled", 1): (862e3, 2.0), ("training", "bf16", "flash, compiled", 8): (981e3, 10.9)}

# MobileNetV1, 224x224, 1000 classes, dense: (what, precision, width): images/s; batch 1 as a CUDA graph, in ms.
TORCH_MOBILENET_LATENCY_MS = {("f32", 1.0): 0.344, ("f32", 1.4): 0.488, ("f32", 1.8): 0.580,
                              ("tf32", 1.0): 0.210, ("tf32", 1.4): 0.293, ("tf32", 1.8): 0.330}
TORCH_MOBILENET = {
    ("inference", "f32", 1.0): 13.5e3, ("inference", "f32", 1.4): 8.1e3, ("inference", "f32", 1.8): 5.7e3,
    ("inference", "tf32", 1.0): 18.4e3, ("inference", "tf32", 1.4): 11.8e3, ("inference", "tf32", 1.8): 9.0e3,
    ("inference", "bf16", 1.0): 34.0e3, ("inference", "bf16", 1.4): 17.6e3, ("inference", "bf16", 1.8): 13.2e3,
    ("training", "f32", 1.0): 2.57e3, ("training", "f32", 1.4): 1.72e3, ("training", "f32", 1.8): 1.29e3,
    ("training", "tf32", 1.0): 3.27e3, ("training", "tf32", 1.4): 2.42e3, ("training", "tf32", 1.8): 1.96e3,
    ("training", "bf16", 1.0): 8.6e3, ("training", "bf16", 1.4): 5.1e3, ("training", "bf16", 1.8): 3.9e3,
    ("training compiled", "tf32", 1.0): 7.8e3, ("training compiled", "bf16", 1.0): 12.4e3,
    ("training compiled", "tf32", 1.8): 1.8e3, ("training compiled", "bf16", 1.8): 4.2e3}
