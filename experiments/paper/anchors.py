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

# Attention alone, batch 1, 8 heads, 12,288 x 128, bf16: forward, forward + backward, ms. FlexAttention; flash on every earlier token.
TORCH_ATTENTION_MS = {"the paper's mask": (1.22, 4.43), "band of 256": (0.16, 0.66), "every earlier token": (0.59, 2.25)}

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

# One product each, random pattern with row-length coefficient of variation 0.3, microseconds on the H100 above:
# (M, K, N, sparsity): cuBLAS f32, TF32, bf16; the best of cuSPARSE's three CSR algorithms, f32; the paper's kernel, f32, f16;
# SDDMM f32: cuSPARSE, the paper's.
PRODUCTS_US = {
    (512, 512, 2048, 0.90): (29.3, 11.9, 8.7, 19.8, 22.8, 16.3, 48, 100),
    (2048, 512, 2048, 0.80): (90.9, 24.7, 11.7, 115, 108, 79, 142, 135),
    (2048, 512, 2048, 0.90): (90.3, 24.6, 9.6, 71, 67, 43, 84, 102),
    (512, 2048, 2048, 0.90): (97.3, 23.2, 10.1, 71, 79, 50, 91, 116),
    (2048, 2048, 2048, 0.70): (338, 48, 24, 691, 552, 390, 552, 697),
    (2048, 2048, 2048, 0.90): (341, 48, 23, 229, 222, 149, 372, 417),
    (2048, 2048, 2048, 0.98): (339, 47, 23, 71, 78, 40, 90, 126),
    (4096, 1024, 8192, 0.90): (1359, 194, 98, 962, 903, 576, 1688, 1691),
    (4096, 4096, 4096, 0.50): (2658, 339, 186, 9599, 6800, 4180, 4129, 8369),
    (4096, 4096, 4096, 0.80): (2668, 325, 184, 3630, 2975, 1807, 6768, 4549),
    (4096, 4096, 4096, 0.90): (2670, 323, 164, 2073, 1682, 1008, 3440, 2621),
    (4096, 4096, 4096, 0.95): (2669, 322, 170, 937, 972, 559, 1717, 1577),
    (4096, 4096, 4096, 0.98): (2662, 320, 177, 464, 496, 250, 796, 1022),
    (8192, 2048, 128, 0.90): (104, 33, 16, 65, 57, 41, 87, 120),
    (256, 256, 12544, 0.90): (43, 17, 8.8, 37, 37, 19, 224, 673),
    (1024, 1024, 1568, 0.90): (97, 17, 8.7, 50, 55, 47, 95, 85)}
TORCH_SPARSE_US = {(4096, 4096, 4096, 0.90): 3486}  # torch.sparse CSR, f32
