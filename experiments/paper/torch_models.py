#!/usr/bin/env python3
"""The same networks in PyTorch, dense, timed on this machine's GPU: what a user would pick instead. One JSON line on standard output.

    torch_models.py transformer forward|training f32|tf32|bf16 materialised|flash|compiled BATCH
    torch_models.py product csr|dense f32|tf32|bf16 MxKxN@SPARSITY 1
    torch_models.py mobilenet graph|inference|training|training-compiled f32|tf32|bf16 WIDTH BATCH
    torch_models.py attention flash|flex bf16 causal|band:B|FILE.smtx TOKENS
    torch_models.py serve        # reads lists of these arguments as JSON lines, and answers each by a line

Needs PyTorch 2 with CUDA; the other scripts here call it where that is present. Medians of CUDA events, warm.
"""

import array
import gc
import json
import statistics
import sys
import time


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


def time_ms(torch, call, seconds=0.5, warm=5):
    """Median of 5 to 20 calls, as many as fit the time; warm-up ends earlier where a call is slow."""
    synchronize = torch.cuda.synchronize
    call()
    synchronize()
    begun = time.monotonic()
    call()
    synchronize()
    once = max(time.monotonic() - begun, 1e-6)
    for _ in range(min(warm, int(seconds / once))):
        call()
    synchronize()
    torch.cuda.reset_peak_memory_stats()
    times = []
    for _ in range(max(5, min(20, int(seconds / once)))):
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


def read_smtx(torch, path, device):
    """The pattern of a .smtx file (rows, cols, nnz; row offsets; column indices) as [rows, cols] of bool."""
    with open(path) as file:
        rows, cols, nnz = map(int, file.readline().split(","))
        offsets, columns = (torch.frombuffer(array.array("i", map(int, file.readline().split())), dtype=torch.int32) for _ in range(2))
    offsets, columns = offsets.to(device).long(), columns.to(device).long()
    assert len(columns) == nnz, f"{path}: {len(columns)} entries, {nnz} said"
    present = torch.zeros(rows * cols, dtype=torch.bool, device=device)
    present[torch.repeat_interleave(torch.arange(rows, device=device), offsets[1:] - offsets[:-1]) * cols + columns] = True
    return present.view(rows, cols)


def mask_rule(torch, mask, device):
    """FlexAttention's mask_mod of 'causal', 'band:B' or a .smtx file."""
    if mask == "causal":
        return lambda b, h, i, j: i >= j
    if mask.startswith("band:"):
        band = int(mask.split(":")[1])
        return lambda b, h, i, j: (i >= j) & (i - j < band)
    present = read_smtx(torch, mask, device)
    return lambda b, h, i, j: present[i, j]


def attention_call(torch, route, mask, q, k, v, tokens):
    """A call of attention alone: flash SDPA, causal; or FlexAttention, compiled, with a block mask."""
    if route == "flash":
        from torch.nn.attention import SDPBackend, sdpa_kernel

        def flash():
            with sdpa_kernel([SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION], set_priority=True):  # the fastest first
                return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return flash
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention
    block = create_block_mask(mask_rule(torch, mask, "cuda"), None, None, tokens, tokens, device="cuda")
    compiled = torch.compile(flex_attention, dynamic=False)
    return lambda: compiled(q, k, v, block_mask=block)


def attention(torch, route, mask, tokens, heads=8, features=128):
    """Batch 1, bf16: forward (as training runs it) and forward + backward."""
    q, k, v, dout = (torch.randn(1, heads, tokens, features, device="cuda", dtype=torch.bfloat16) for _ in range(4))
    for x in (q, k, v):
        x.requires_grad_(True)
    call = attention_call(torch, route, mask, q, k, v, tokens)

    def both():
        q.grad = k.grad = v.grad = None
        call().backward(dout)
    training = time_ms(torch, both)
    return {"training_ms": training, "latency_ms": time_ms(torch, call), "peak_bytes": torch.cuda.max_memory_allocated()}


def timed(torch, call, items):
    ms = time_ms(torch, call)
    return {"latency_ms": ms, "items_per_s": items / ms * 1000, "peak_bytes": torch.cuda.max_memory_allocated()}


def network(torch, kind, what, precision, variant, batch):
    """(a call, items in it) of a whole network: forward, or a training step."""
    cast = lambda: torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16")
    cross_entropy = torch.nn.functional.cross_entropy
    if kind == "transformer":
        length = 12288
        model = build_transformer(torch, variant, length).cuda()
        inputs = torch.randint(256, (batch, length), device="cuda")
        targets = torch.randint(256, (batch, length), device="cuda")
        items, compiled = batch * length, variant == "compiled"
        loss_of = lambda m: cross_entropy(m(inputs).flatten(0, 1), targets.flatten())
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)
    else:
        # One image runs faster in PyTorch's default layout: 0.293 ms at width 1.4 in TF32 on an H100, channels-last 0.660.
        layout = torch.contiguous_format if what == "graph" else torch.channels_last
        model = build_mobilenet(torch, float(variant)).cuda().to(memory_format=layout)
        inputs = torch.randn(batch, 3, 224, 224, device="cuda").to(memory_format=layout)
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
        return trainer(torch, called, with_cast, optimizer), items
    if what != "graph":
        return forward, items
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            forward()
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        forward()
    return lambda keep=(model, inputs): graph.replay(), items  # which reads where they lie


def measured(torch, kind, what, precision, variant, batch):
    """The result of one list of arguments."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.benchmark = True
    if kind == "attention":
        result = attention(torch, what, variant, int(batch))
    elif kind == "product":
        result = timed(torch, product(torch, what, precision, variant), 1)
    else:
        result = timed(torch, *network(torch, kind, what, precision, variant, int(batch)))
    return {**result, "torch": torch.__version__, "device_name": torch.cuda.get_device_name()}


def serve():
    """One line of JSON for each read; what fails is said, and the next goes on."""
    import torch
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    for line in sys.stdin:
        what = json.loads(line)
        try:
            reply = {"cuda": torch.cuda.is_available()} if what == ["hello"] else measured(torch, *what)
        except Exception as error:  # whatever it was, it is this measurement's alone
            said = str(error).strip().splitlines() or [type(error).__name__]
            reply = {"error": said[0][:400], "out_of_memory": type(error).__name__ == "OutOfMemoryError"}
        print(json.dumps(reply), file=answers, flush=True)
        if what != ["hello"] and torch.cuda.is_available():
            if "torch._dynamo" in sys.modules:  # its import takes seconds, and not all compile
                torch._dynamo.reset()
            gc.collect()
            torch.cuda.empty_cache()


def main():
    if sys.argv[1:] == ["serve"]:
        serve()
        return
    import torch
    print(json.dumps(measured(torch, *sys.argv[1:6])))


if __name__ == "__main__":
    main()
