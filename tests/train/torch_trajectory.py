"""Losses of a two-layer network, optimizer updates, clipping and learning-rate schedules: the same numbers as PyTorch's.

usage: torch_trajectory.py PATH/TO/test_train      (exit 77: skipped, no torch)
"""

import json
import math
import os
import subprocess
import sys
import tempfile

from adafactor_oracle import MaskedAdafactor

INPUTS, HIDDEN, CLASSES, BATCH, STEPS = 32, 64, 10, 24, 20
LOSS_TOLERANCE = {"f32": 1e-5, "f64": 1e-11}    # relative, at every step
UPDATE_TOLERANCE = {"f32": 2e-6, "f64": 1e-13}  # of the largest value
CLIPPED_TOLERANCE = 1e-7                        # the clip factor is f32 whatever the model's dtype is

OPTIMIZERS = [
    {"type": "sgd", "lr": 0.1, "momentum": 0.0},
    {"type": "sgd", "lr": 0.1, "momentum": 0.0, "weight_decay": 0.01},
    {"type": "sgd", "lr": 0.05, "momentum": 0.9},
    {"type": "sgd", "lr": 0.05, "momentum": 0.9, "dampening": 0.2, "weight_decay": 0.003},
    {"type": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    {"type": "adam", "lr": 0.003},
    {"type": "adam", "lr": 0.003, "beta1": 0.8, "beta2": 0.98, "eps": 1e-6, "weight_decay": 0.01},
    {"type": "adamw", "lr": 0.003, "weight_decay": 0.1},
    {"type": "adamw", "lr": 0.01, "beta2": 0.95},
    {"type": "adafactor"},
    {"type": "adafactor", "lr": 0.05, "relative_step": False, "scale_by_value": False, "clip_threshold": 0.5},
    {"type": "adafactor", "lr": 0.3, "beta1": 0.9, "weight_decay": 0.1, "decay_exponent": 0.6, "eps2": 0.01},
    {"type": "adafactor", "lr": 0.1, "factored": "dense", "clip_threshold": 0.0},
    {"type": "adafactor", "lr": 0.1, "factored": "none"},
]


def make_optimizer(torch, c, decaying, others, masks=None):
    """`masks` of decaying + others, for what looks at a whole weight; None: everything is stored."""
    if c["type"] == "adafactor":  # PyTorch has none before 2.5, and none for patterns
        return MaskedAdafactor(torch, {"lr": 1e-2, **c}, decaying + others, masks or [None] * len(decaying + others),
                               [True] * len(decaying) + [False] * len(others))
    groups = [{"params": decaying}, {"params": others, "weight_decay": 0.0}]
    if c["type"] == "sgd":
        return torch.optim.SGD(groups, lr=c["lr"], momentum=c.get("momentum", 0.9), dampening=c.get("dampening", 0.0),
                               nesterov=c.get("nesterov", False), weight_decay=c.get("weight_decay", 0.0))
    kind = torch.optim.AdamW if c["type"] == "adamw" else torch.optim.Adam
    return kind(groups, lr=c["lr"], betas=(c.get("beta1", 0.9), c.get("beta2", 0.999)), eps=c.get("eps", 1e-8),
                weight_decay=c.get("weight_decay", 0.01 if c["type"] == "adamw" else 0.0))


def flat(tensor):
    return [float(v) for v in tensor.detach().reshape(-1)]


# ---- the two-layer network -------------------------------------------------------------------------------------------

def trajectory(torch, optimizer, clip_norm, sparse, name):
    dtype = torch.float64 if name == "f64" else torch.float32
    generator = torch.Generator().manual_seed(1)
    draw = lambda *shape: torch.randn(*shape, generator=generator).to(dtype)  # f32 numbers, exact in f64
    values = [draw(HIDDEN, INPUTS) * 0.2, draw(HIDDEN) * 0.1, draw(CLASSES, HIDDEN) * 0.15, draw(CLASSES) * 0.1]
    masks = [(torch.rand(v.shape, generator=generator) < 0.3) if v.dim() == 2 else torch.ones_like(v, dtype=torch.bool) for v in values]
    masks[0][5] = False  # an empty row
    if not sparse:
        masks = [torch.ones_like(m) for m in masks]
    values = [v * m for v, m in zip(values, masks)]
    xs = [draw(INPUTS, BATCH) for _ in range(STEPS)]
    teacher = draw(CLASSES, INPUTS)  # something to learn
    ys = [(teacher @ x).argmax(0) for x in xs]
    case = {"dtype": name, "optimizer": optimizer, "clip_norm": clip_norm, "inputs": INPUTS, "hidden": HIDDEN, "classes": CLASSES, "batch": BATCH,
            "x": [flat(x) for x in xs], "y": [[int(t) for t in y] for y in ys]}
    for key, value in zip(("weight1", "bias1", "weight2", "bias2"), values):
        case[key] = flat(value)
    if sparse:
        case["mask1"], case["mask2"] = [[int(b) for b in masks[i].reshape(-1)] for i in (0, 2)]

    p = [torch.nn.Parameter(v.clone()) for v in values]
    update = make_optimizer(torch, optimizer, [p[0], p[2]], [p[1], p[3]], [masks[0], masks[2], None, None] if sparse else None)
    losses = []
    for x, y in zip(xs, ys):
        update.zero_grad()
        hidden = torch.relu(p[0] @ x + p[1][:, None])
        loss = torch.nn.functional.cross_entropy((p[2] @ hidden + p[3][:, None]).t(), y)
        loss.backward()
        for parameter, mask in zip(p, masks):
            parameter.grad *= mask
        if clip_norm > 0:
            torch.nn.utils.clip_grad_norm_(p, clip_norm)
        update.step()
        losses.append(float(loss))
    return case, losses


# ---- bare updates and clipping ---------------------------------------------------------------------------------------

def update(torch, optimizer, clip_norm, name):
    dtype = torch.float64 if name == "f64" else torch.float32
    generator = torch.Generator().manual_seed(2)
    draw = lambda n, size: (size * torch.randn(n, generator=generator)).to(dtype)
    values = [draw(1000, 1), draw(17, 1), draw(1, 1)]
    decay = [True, False, True]
    p = [torch.nn.Parameter(v.clone()) for v in values]
    step = make_optimizer(torch, optimizer, [p[0], p[2]], [p[1]])
    case = {"dtype": name, "optimizer": optimizer, "clip_norm": clip_norm, "values": [flat(v) for v in values], "decay": decay, "grads": []}
    after, norms = [], []
    for i in range(8):
        # Sizes from far below to far above the limit, zeros among them.
        grads = [draw(v.numel(), 10.0 ** (i - 4)) * (torch.rand(v.numel(), generator=generator) < 0.9) for v in values]
        case["grads"].append([flat(g) for g in grads])
        for parameter, g in zip(p, grads):
            parameter.grad = g.clone()
        norms.append(float(torch.nn.utils.clip_grad_norm_(p, clip_norm if clip_norm > 0 else math.inf)))
        step.step()
        after.append([flat(v) for v in p])
    return case, (after, norms)


# ---- schedules -------------------------------------------------------------------------------------------------------

def scheduled(torch, make, steps):
    step = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = make(step)
    factors = []
    for _ in range(steps):
        factors.append(step.param_groups[0]["lr"])
        step.step()
        schedule.step()
    return factors


def schedules(torch):
    lr = torch.optim.lr_scheduler
    warm = lambda w: scheduled(torch, lambda o: lr.LinearLR(o, start_factor=1 / w, total_iters=w - 1), w)
    cosine = lambda n, least: scheduled(torch, lambda o: lr.CosineAnnealingLR(o, T_max=n - 1, eta_min=least), n)
    noam = lambda w: lambda o: lr.LambdaLR(o, lambda t: w ** 0.5 * min((t + 1) ** -0.5, (t + 1) * w ** -1.5))
    return [
        ({"type": "constant"}, 50, [1.0] * 50),
        ({"type": "constant", "warmup_steps": 10}, 50, warm(10) + [1.0] * 40),
        ({"type": "cosine"}, 100, cosine(100, 0.0)),
        ({"type": "cosine", "warmup_steps": 20, "final_factor": 0.1}, 100, warm(20) + cosine(80, 0.1)),
        ({"type": "reciprocal_sqrt", "warmup_steps": 16}, 200, scheduled(torch, noam(16), 200)),
        ({"type": "step", "milestones": [30, 60, 61], "gamma": 0.3}, 100, scheduled(torch, lambda o: lr.MultiStepLR(o, [30, 60, 61], 0.3), 100)),
    ]


# ---- the comparison --------------------------------------------------------------------------------------------------

def worst_relative(found, expected):
    assert len(found) == len(expected), (len(found), len(expected))
    return max(abs(a - b) / max(abs(b), 1e-12) if math.isfinite(a) else math.inf for a, b in zip(found, expected))


def main():
    try:
        import torch
    except ImportError:
        print("skipped: this Python has no torch")
        return 77
    torch.set_num_threads(1)
    names, trajectories, updates = [], [], []
    for name in ("f32", "f64"):
        for optimizer in OPTIMIZERS:
            updates += [update(torch, optimizer, clip, name) for clip in (0.0, 1.5)]
            for sparse in (False, True):
                trajectories.append(trajectory(torch, optimizer, 0.0, sparse, name))
                names.append((name, "sparse" if sparse else "dense", optimizer, 0.0))
        for optimizer in (OPTIMIZERS[4], OPTIMIZERS[7]):
            trajectories.append(trajectory(torch, optimizer, 0.3, True, name))
            names.append((name, "sparse", optimizer, 0.3))
    factors = schedules(torch)
    asked = {"trajectories": [c for c, _ in trajectories], "updates": [c for c, _ in updates],
             "schedules": [{"schedule": c, "total_steps": n} for c, n, _ in factors]}
    with tempfile.TemporaryDirectory() as directory:
        into, out = os.path.join(directory, "in.json"), os.path.join(directory, "out.json")
        with open(into, "w") as file:
            json.dump(asked, file)
        subprocess.run([sys.argv[1], "--gtest_also_run_disabled_tests", "--gtest_filter=TorchTrajectory.DISABLED_Run"],
                       env={**os.environ, "LACUNA_TRAJECTORY_IN": into, "LACUNA_TRAJECTORY_OUT": out}, check=True, stdout=subprocess.DEVNULL)
        with open(out) as file:
            answer = json.load(file)

    failures = 0
    worst = {"f32": 0.0, "f64": 0.0}
    for (name, kind, optimizer, clip), (_, expected), found in zip(names, trajectories, answer["trajectories"], strict=True):
        assert len(expected) == STEPS and expected[-1] < expected[0], expected  # or the comparison says little
        error = worst_relative(found, expected)
        worst[name] = max(worst[name], error)
        if not error <= max(LOSS_TOLERANCE[name], CLIPPED_TOLERANCE if clip > 0 else 0):
            failures += 1
            print(f"losses differ by {error:.2e}: {name} {kind} {optimizer} clip {clip}\n  torch {expected}\n  here  {found}")
    print(f"{len(names)} trajectories of {STEPS} steps: worst relative difference of a loss f32 {worst['f32']:.1e}, f64 {worst['f64']:.1e}")
    worst = {"f32": 0.0, "f64": 0.0}
    for (case, (after, norms)), found in zip(updates, answer["updates"], strict=True):
        name = case["dtype"]
        error = worst_relative(found["norms"], norms)
        for ours, theirs in zip(found["values"], after, strict=True):
            for a, b in zip(ours, theirs, strict=True):
                error = max(error, max(abs(x - y) for x, y in zip(a, b, strict=True)) / max(abs(y) for y in b))
        worst[name] = max(worst[name], error)
        if not error <= max(UPDATE_TOLERANCE[name], CLIPPED_TOLERANCE if case["clip_norm"] > 0 else 0):
            failures += 1
            print(f"updates differ by {error:.2e}: {name} {case['optimizer']} clip {case['clip_norm']}")
    print(f"{len(updates)} sequences of updates: worst difference f32 {worst['f32']:.1e}, f64 {worst['f64']:.1e}")
    for (config, _, expected), found in zip(factors, answer["schedules"], strict=True):
        error = max(abs(a - b) for a, b in zip(found, expected, strict=True))
        if not error <= 1e-12:
            failures += 1
            print(f"factors differ by {error:.2e}: {config}\n  torch {expected}\n  here  {found}")
    print(f"{len(factors)} schedules compared; torch {torch.__version__}; {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
