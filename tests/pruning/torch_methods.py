"""Every method on the sparse kernels against masked dense weights in PyTorch: the same topology and losses at every step.

The masked-dense side is written from the papers and knows nothing of CSR: dense weights, dense gradients, a mask. Random
draws are data that the other side hands over.

usage: torch_methods.py PATH/TO/test_pruning      (exit 77: skipped, no torch)
"""

import json
import math
import os
import subprocess
import sys
import tempfile

INPUTS, HIDDEN, CLASSES, BATCH, STEPS = 16, 24, 8, 12, 40
TOLERANCE = 1e-10  # relative, of every loss, in f64
BEGIN, END, FREQUENCY, SPARSITY = 4, 31, 5, 0.75

SGD = {"type": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True}
ADAM = {"type": "adam", "lr": 0.01}


def cases():
    base = {"sparsity": SPARSITY, "begin_step": BEGIN, "end_step": END, "frequency": FREQUENCY}
    make = lambda method, optimizer=SGD, **keys: ({"method": method, **base, **keys}, optimizer)
    block, groups = {"granularity": "block", "block": [4, 2]}, {"granularity": "n_m", "n_m": [1, 4]}
    yield make("static", ADAM)
    yield make("static", distribution="erk")
    for schedule in ("cubic", "linear", "cosine", "polynomial", "one_shot", "staged"):
        yield make("magnitude", schedule=schedule, exponent=2.5)
    yield make("magnitude", ADAM, distribution="global", initial_sparsity=0.2)
    yield make("magnitude", distribution="erk")
    yield make("magnitude", schedule="staged", rewind_step=2)
    yield make("magnitude", **block)
    yield make("magnitude", ADAM, granularity="vector", vector=8)
    yield make("magnitude", granularity="channel")
    yield make("magnitude", **groups)
    yield make("random", ADAM)
    yield make("one_shot")
    yield make("one_shot", distribution="global", **block)
    for decay in ("cosine", "linear", "constant"):
        yield make("set", drop_decay=decay)
        yield make("rigl", drop_decay=decay)
    for method in ("set", "rigl"):
        yield make(method, ADAM, distribution="erk")
        yield make(method, drop_fraction=0.6, **block)
        yield make(method, drop_fraction=0.6, **groups)
    yield make("snip", score_batches=3)
    yield make("snip", ADAM, distribution="global")
    yield make("acdc")
    yield make("acdc", ADAM, dense_steps=2, distribution="global")


# ---- masked dense ----------------------------------------------------------------------------------------------------

def rounded(x):
    return math.floor(x + 0.5)


def top(torch, scores, k):
    """1 at the k largest, ties to the lower index."""
    order = torch.sort(scores.reshape(-1), descending=True, stable=True).indices
    mask = torch.zeros(scores.numel(), dtype=torch.bool)
    mask[order[:k]] = True
    return mask.reshape(scores.shape)


def unit_of(c, shape):
    return {"unstructured": (1, 1), "block": tuple(c.get("block", (1, 1))), "vector": (c.get("vector", 1), 1),
            "channel": (1, shape[1])}[c.get("granularity", "unstructured")]


def pooled(torch, scores, unit):
    r, k = unit
    return scores.reshape(scores.shape[0] // r, r, scores.shape[1] // k, k).permute(0, 2, 1, 3).reshape(
        scores.shape[0] // r, scores.shape[1] // k, r * k).mean(-1)


def spread(mask, unit):
    return mask.repeat_interleave(unit[0], 0).repeat_interleave(unit[1], 1)


def erk_counts(shapes, total):
    full = set()
    while True:
        if len(full) == len(shapes):
            return [s[0] * s[1] for s in shapes]
        left = total - sum(shapes[i][0] * shapes[i][1] for i in full)
        eps = left / sum(sum(s) for i, s in enumerate(shapes) if i not in full)
        more = {i for i, s in enumerate(shapes) if i not in full and eps * sum(s) >= s[0] * s[1]}
        if not more:
            break
        full |= more
    shares = [s[0] * s[1] if i in full else eps * sum(s) for i, s in enumerate(shapes)]
    counts = [math.floor(x) for x in shares]
    for i in sorted(range(len(shares)), key=lambda i: counts[i] - shares[i])[:total - sum(counts)]:
        counts[i] += 1
    return counts


def sparsity_at(c, t):
    schedule, s0, s1 = c.get("schedule", "cubic"), c.get("initial_sparsity", 0.0), c["sparsity"]
    if schedule == "one_shot" or t >= END:
        return s1
    if schedule == "staged":
        stages = len([u for u in range(BEGIN, END) if (u - BEGIN) % FREQUENCY == 0]) + 1
        return 1 - (1 - s0) * ((1 - s1) / (1 - s0)) ** (((t - BEGIN) // FREQUENCY + 1) / stages)
    gone = (t - BEGIN) / (END - BEGIN)
    left = {"cubic": (1 - gone) ** 3, "linear": 1 - gone, "polynomial": (1 - gone) ** c.get("exponent", 3),
            "cosine": (1 + math.cos(math.pi * gone)) / 2}[schedule]
    return s1 + (s0 - s1) * left


def select(torch, c, scores, masks, sparsity):
    """New masks: the best by score among what is present."""
    absent = [torch.where(m, s, torch.full_like(s, -math.inf)) for s, m in zip(scores, masks)]
    if c.get("granularity") == "n_m":
        m = c["n_m"][1]
        keep = max(c["n_m"][0], rounded((1 - sparsity) * m))
        return [torch.stack([top(torch, group, keep) for group in a.reshape(-1, m)]).reshape(a.shape) & mask
                for a, mask in zip(absent, masks)]
    units = [unit_of(c, s.shape) for s in scores]
    grids = [pooled(torch, a, u) for a, u in zip(absent, units)]
    kind = c.get("distribution", "uniform")
    if kind == "global":
        flat = torch.cat([g.reshape(-1) for g in grids])
        chosen = top(torch, flat, rounded((1 - sparsity) * flat.numel()))
        parts = torch.split(chosen, [g.numel() for g in grids])
        return [spread(p.reshape(g.shape), u) for p, g, u in zip(parts, grids, units)]
    if kind == "erk":
        counts = erk_counts([s.shape for s in scores], rounded((1 - sparsity) * sum(g.numel() for g in grids)))
    else:
        counts = [rounded((1 - sparsity) * g.numel()) for g in grids]
    return [spread(top(torch, g, n), u) for g, n, u in zip(grids, counts, units)]


def drop_and_grow(torch, c, t, weight, mask, growth):
    gone = (t - BEGIN) / (END - BEGIN)
    alpha = c.get("drop_fraction", 0.3)
    fraction = {"cosine": alpha / 2 * (1 + math.cos(math.pi * gone)), "linear": alpha * (1 - gone),
                "constant": alpha}[c.get("drop_decay", "cosine")]
    size = torch.where(mask, weight.abs(), torch.full_like(weight, -1.0))
    if c.get("granularity") == "n_m":
        n, m = c["n_m"]
        kept = top(torch, size, int(mask.sum()) - math.floor(fraction * int(mask.sum())))
        lifted = torch.where(kept, torch.full_like(growth, math.inf), growth)
        return torch.stack([top(torch, group, n) for group in lifted.reshape(-1, m)]).reshape(mask.shape)
    unit = unit_of(c, weight.shape)
    grid = pooled(torch, size, unit)
    present = int((grid >= 0).sum())
    dropped = math.floor(fraction * present)
    kept = top(torch, grid, present - dropped)
    candidates = torch.where(kept, torch.full_like(grid, -math.inf), pooled(torch, growth, unit))
    return spread(kept | top(torch, candidates, dropped), unit)


def compressed(c, t):
    dense = c.get("dense_steps", 0) or FREQUENCY
    return t >= END or (t >= BEGIN and (t - BEGIN) % (FREQUENCY + dense) < FREQUENCY)


def train(torch, c, optimizer, values, xs, ys, draws):
    p = [torch.nn.Parameter(v.clone()) for v in values]
    weights = [p[0], p[2]]
    masks = [torch.ones_like(w, dtype=torch.bool) for w in weights]
    if optimizer["type"] == "sgd":
        update = torch.optim.SGD(p, lr=optimizer["lr"], momentum=optimizer["momentum"], nesterov=optimizer["nesterov"])
    else:
        update = torch.optim.Adam(p, lr=optimizer["lr"])

    def gradients(t):
        update.zero_grad()
        hidden = torch.relu(p[0] @ xs[t] + p[1][:, None])
        loss = torch.nn.functional.cross_entropy((p[2] @ hidden + p[3][:, None]).t(), ys[t])
        loss.backward()
        return float(loss)

    def enforce():
        with torch.no_grad():
            for w, m in zip(weights, masks):
                w *= m
                for state in update.state.get(w, {}).values():
                    if torch.is_tensor(state) and state.shape == w.shape:
                        state *= m

    def drawn(t):
        flat = [torch.tensor(d, dtype=torch.float64) for d in draws[str(t)]]
        result = []
        for d, w, m in zip(flat, weights, masks):
            scores = torch.zeros_like(w.detach())
            if d.numel() == w.numel():
                scores = d.reshape(w.shape)
            else:
                scores[m] = d
            result.append(scores)
        return result

    method, early, losses, history = c["method"], None, [], []
    gradual = c.get("schedule", "cubic") != "one_shot"
    for t in range(STEPS):
        scheduled = BEGIN <= t <= END and ((t - BEGIN) % FREQUENCY == 0 or t == END) if gradual else t == BEGIN
        moves = t > 0 and BEGIN <= t < END and (t - BEGIN) % FREQUENCY == 0
        if t == c.get("rewind_step"):
            early = [v.detach().clone() for v in p]
        size = [w.detach().abs() for w in weights]
        if t == 0 and method in ("static", "set", "rigl"):
            masks = select(torch, c, drawn(t), masks, SPARSITY)
        elif method == "magnitude" and scheduled:
            masks = select(torch, c, size, masks, sparsity_at(c, t))
            if early:
                with torch.no_grad():
                    for v, e in zip(p, early):
                        v.copy_(e)
                update.state.clear()
        elif method == "random" and scheduled:
            masks = select(torch, c, drawn(t), masks, sparsity_at(c, t))
        elif method == "one_shot" and t == BEGIN:
            masks = select(torch, c, size, masks, SPARSITY)
        elif method == "snip" and t == BEGIN:
            n = c.get("score_batches", 1)
            sums = [torch.zeros_like(w.detach()) for w in weights]
            for i in range(n):
                gradients(t + i)
                for s, w in zip(sums, weights):
                    s += w.grad / n
            masks = select(torch, c, [(w.detach() * s).abs() for w, s in zip(weights, sums)], masks, SPARSITY)
        elif method == "acdc" and compressed(c, t) != (t > 0 and compressed(c, t - 1)):
            everything = [torch.ones_like(m) for m in masks]
            masks = select(torch, c, size, everything, SPARSITY) if compressed(c, t) else everything
        elif method == "set" and moves:
            masks = [drop_and_grow(torch, c, t, w.detach(), m, d) for w, m, d in zip(weights, masks, drawn(t))]
        enforce()
        losses.append(gradients(t))
        if method == "rigl" and moves:
            masks = [drop_and_grow(torch, c, t, w.detach(), m, w.grad.abs()) for w, m in zip(weights, masks)]
            enforce()
            for state in update.state.values():
                if "step" in state:
                    state["step"] += 1  # Adam's bias correction counts steps, also this one
        else:
            for w, m in zip(weights, masks):
                w.grad *= m
            update.step()
        history.append(["".join("1" if b else "0" for b in m.reshape(-1).tolist()) for m in masks])
    return losses, history


def main():
    try:
        import torch
    except ImportError:
        print("skipped: this Python has no torch")
        return 77
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(3)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    values = [draw(HIDDEN, INPUTS) * 0.3, draw(HIDDEN) * 0.1, draw(CLASSES, HIDDEN) * 0.3, draw(CLASSES) * 0.1]
    xs = [draw(INPUTS, BATCH) for _ in range(STEPS + 3)]
    teacher = draw(CLASSES, INPUTS)
    ys = [(teacher @ x).argmax(0) for x in xs]
    flat = lambda tensor: tensor.reshape(-1).tolist()
    asked = [{"pruning": c, "optimizer": o, "inputs": INPUTS, "hidden": HIDDEN, "classes": CLASSES, "batch": BATCH, "steps": STEPS,
              "x": [flat(x) for x in xs], "y": [flat(y) for y in ys],
              **{k: flat(v) for k, v in zip(("weight1", "bias1", "weight2", "bias2"), values)}} for c, o in cases()]
    with tempfile.TemporaryDirectory() as directory:
        into, out = os.path.join(directory, "in.json"), os.path.join(directory, "out.json")
        with open(into, "w") as file:
            json.dump(asked, file)
        subprocess.run([sys.argv[1], "--gtest_also_run_disabled_tests", "--gtest_filter=TorchMethods.DISABLED_Run"],
                       env={**os.environ, "LACUNA_METHODS_IN": into, "LACUNA_METHODS_OUT": out}, check=True, stdout=subprocess.DEVNULL)
        with open(out) as file:
            answers = json.load(file)
    failures, worst = 0, 0.0
    for (c, o), found in zip(cases(), answers, strict=True):
        losses, history = train(torch, c, o, values, xs, ys, found["draws"])
        assert len({m for masks in history for m in masks[:1]}) > (1 if c["method"] not in ("static",) else 0), c  # it moves
        assert losses[-1] < losses[0], (c, losses)
        name = {**c, "optimizer": o["type"]}
        apart = next((t for t in range(STEPS) if history[t] != found["masks"][t]), None)
        if apart is not None:
            failures += 1
            count = [m.count("1") for m in history[apart]], [m.count("1") for m in found["masks"][apart]]
            print(f"topology differs from step {apart} on (entries in torch {count[0]}, here {count[1]}): {name}")
            continue
        error = max(abs(a - b) / abs(b) for a, b in zip(found["losses"], losses, strict=True))
        worst = max(worst, error)
        if not error <= TOLERANCE:
            failures += 1
            print(f"losses differ by {error:.2e}: {name}")
    print(f"{len(answers)} trainings of {STEPS} steps: worst relative difference of a loss {worst:.1e}; torch {torch.__version__}; "
          f"{failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
