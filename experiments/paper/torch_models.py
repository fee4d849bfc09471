#!/usr/bin/env python3
"""The same networks in PyTorch, dense, timed on this machine's GPU: what a user would pick instead. One JSON line on standard output.

    torch_models.py transformer forward|training f32|tf32|bf16 materialised|flash|compiled BATCH
    torch_models.py product csr|dense f32|tf32|bf16 MxKxN@SPARSITY 1
    torch_models.py mobilenet graph|inference|training|training-compiled f32|tf32|bf16 WIDTH BATCH

Needs PyTorch 2 with CUDA; the other scripts here call it where that is present. Medians of CUDA events, warm.
"""

import json
import statistics
import sys


def build_transformer(torch, route, length=12288, layers=3, hidden=1024, filter_=4096, heads=8, vocabulary=256):
    """Pre-norm decoder, ReLU, the paper's dropouts (attention 0.1, residual 0.2, ReLU 0.1); dense causal attention."""
    nn, functional = torch.nn, torch.nn.functional

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
            self.qkv, self.out = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)
            self.expand, self.contract = nn.Linear(hidden, filter_), nn.Linear(filter_, hidden)

        def attend(self, q, k, v):
            dropout = 0.1 if self.training else 0.0
            if route != "materialised":
                return functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
            scores = (q @ k.transpose(-1, -2)) * (hidden // heads) ** -0.5
            mask = torch.ones(q.shape[-2], q.shape[-2], dtype=torch.bool, device=q.device).triu(1)
            return functional.dropout(scores.masked_fill_(mask, float("-inf")).softmax(-1), dropout, self.training) @ v

        def forward(self, x):
            b, t, _ = x.shape
            q, k, v = (part.view(b, t, heads, -1).transpose(1, 2) for part in self.qkv(self.norm1(x)).chunk(3, -1))
            y = self.attend(q, k, v).transpose(1, 2).reshape(b, t, hidden)
            x = x + functional.dropout(self.out(y), 0.2, self.training)
            y = functional.dropout(functional.relu(self.expand(self.norm2(x))), 0.1, self.training)
            return x + functional.dropout(self.contract(y), 0.2, self.training)

    class Transformer(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens, self.positions = nn.Embedding(vocabulary, hidden), nn.Embedding(length, hidden)
            self.blocks = nn.ModuleList(Block() for _ in range(layers))
            self.norm, self.out = nn.LayerNorm(hidden), nn.Linear(hidden, vocabulary)

        def forward(self, tokens):
            x = self.tokens(tokens) + self.positions.weight
            for block in self.blocks:
                x = block(x)
            return self.out(self.norm(x))
    return Transformer()


def build_mobilenet(torch, width, classes=1000):
    nn = torch.nn

    def channels(c):  # multiples of 8, never below 90 %
        wanted = c * width
        rounded = max(8, int(wanted + 4) // 8 * 8)
        return rounded + 8 if rounded < 0.9 * wanted else rounded

    def convolution(i, o, kernel, stride, groups=1):
        return [nn.Conv2d(i, o, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True)]
    plan = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)] + [(512, 1)] * 5 + [(1024, 2), (1024, 1)]
    i, modules = channels(32), convolution(3, channels(32), 3, 2)
    for c, stride in plan:
        modules += convolution(i, i, 3, stride, i) + convolution(i, channels(c), 1, 1)
        i = channels(c)
    return nn.Sequential(*modules, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(i, classes))


def time_ms(torch, call, count=20, warm=5):
    for _ in range(warm):
        call()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    times = []
    for _ in range(count):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        call()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


def trainer(torch, model, forward_loss, optimizer):
    def step():
        optimizer.zero_grad(set_to_none=True)
        forward_loss(model).backward()
        optimizer.step()
    return step


def product(torch, what, precision, size):
    """A call of A B: A random and sparse as torch.sparse CSR, or dense; B dense."""
    dims, sparsity = size.split("@")
    m, k, n = map(int, dims.split("x"))
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = torch.randn(m, k, device="cuda", dtype=dtype), torch.randn(k, n, device="cuda", dtype=dtype)
    if what == "csr":
        a = (a * (torch.rand(m, k, device="cuda") >= float(sparsity))).to_sparse_csr()
    return lambda: a @ b


def report(torch, call, items):
    ms = time_ms(torch, call)
    print(json.dumps({"latency_ms": ms, "items_per_s": items / ms * 1000, "peak_bytes": torch.cuda.max_memory_allocated(),
                      "torch": torch.__version__, "device_name": torch.cuda.get_device_name()}))


def main():
    kind, what, precision, variant, batch = sys.argv[1:6]
    batch = int(batch)
    import torch
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.benchmark = True
    cast = lambda: torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16")
    cross_entropy = torch.nn.functional.cross_entropy
    if kind == "product":
        report(torch, product(torch, what, precision, variant), 1)
        return
    if kind == "transformer":
        length = 12288
        model = build_transformer(torch, variant, length).cuda()
        inputs = torch.randint(256, (batch, length), device="cuda")
        targets = torch.randint(256, (batch, length), device="cuda")
        items, compiled = batch * length, variant == "compiled"
        loss_of = lambda m: cross_entropy(m(inputs).flatten(0, 1), targets.flatten())
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)
    else:
        model = build_mobilenet(torch, float(variant)).cuda().to(memory_format=torch.channels_last)
        inputs = torch.randn(batch, 3, 224, 224, device="cuda").to(memory_format=torch.channels_last)
        targets = torch.randint(1000, (batch,), device="cuda")
        items, compiled = batch, what == "training-compiled"
        loss_of = lambda m: cross_entropy(m(inputs), targets)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, nesterov=True, fused=True)
    training = what.startswith("training")
    model.train(training)
    called = torch.compile(model) if compiled else model

    def with_cast(m):
        with cast():
            return loss_of(m).float()

    def forward():
        with torch.no_grad(), cast():
            return called(inputs)
    if training:
        call = trainer(torch, called, with_cast, optimizer)
    elif what == "graph":
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for _ in range(3):
                forward()
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            forward()
        call = graph.replay
    else:
        call = forward
    report(torch, call, items)


if __name__ == "__main__":
    main()
