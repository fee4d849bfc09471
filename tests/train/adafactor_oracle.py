"""Adafactor from its paper's algorithms 4 to 6, on dense PyTorch tensors with masks: the oracle of torch_trajectory.py."""

import math


class MaskedAdafactor:
    """`masks`: which entries of each parameter exist (None: all). Absent entries have no gradient, no value, no statistics."""

    def __init__(self, torch, config, parameters, masks, decays):
        self.torch, self.c, self.t = torch, config, 0
        self.weights = [{"p": p, "mask": torch.ones_like(p) if m is None else m.to(p.dtype), "sparse": m is not None, "decay": d}
                        for p, m, d in zip(parameters, masks, decays, strict=True)]

    def zero_grad(self):
        for w in self.weights:
            w["p"].grad = None

    def step(self):
        self.t += 1
        with self.torch.no_grad():
            for w in self.weights:
                self.update(w)

    def update(self, w):
        c, t, p, mask = self.c, self.t, w["p"].data, w["mask"]
        g, count = w["p"].grad * mask, mask.sum()
        beta2 = 1 - t ** -c.get("decay_exponent", 0.8)
        squares = (g * g + c.get("eps1", 1e-30)) * mask
        which = c.get("factored", "all")
        if p.dim() == 2 and (which == "all" or (which == "dense" and not w["sparse"])):
            for axis, key in ((1, "rows"), (0, "cols")):
                entries = mask.sum(axis)
                fresh = squares.sum(axis) / entries.clamp(min=1)
                w[key] = self.torch.where(entries > 0, beta2 * w.get(key, 0 * fresh) + (1 - beta2) * fresh, 0 * fresh)
            # One sweep of proportional fitting from rows' means: each column's mean of the estimate is the observed one.
            fitted = (w["rows"][:, None] * mask).sum(0) / mask.sum(0).clamp(min=1)
            v = w["rows"][:, None] * (w["cols"] / self.torch.where(fitted > 0, fitted, 1 + 0 * fitted))[None, :]
        else:
            w["v"] = v = beta2 * w.get("v", 0 * g) + (1 - beta2) * squares
        u = self.torch.where(mask > 0, g / self.torch.sqrt(self.torch.where(mask > 0, v, 1 + 0 * v)), 0 * g)
        threshold = c.get("clip_threshold", 1.0)
        if threshold > 0:
            u = u / max(1.0, math.sqrt(float((u * u).sum() / count)) / threshold)
        alpha = min(c["lr"], 1 / math.sqrt(t)) if c.get("relative_step", True) else c["lr"]
        if c.get("scale_by_value", True):
            alpha *= max(c.get("eps2", 1e-3), math.sqrt(float((p * p * mask).sum() / count)))
        change = alpha * u
        if c.get("beta1", 0) > 0:
            w["m"] = change = c["beta1"] * w.get("m", 0 * g) + (1 - c["beta1"]) * change
        p *= 1 - alpha * (c.get("weight_decay", 0.0) if w["decay"] else 0.0)
        p -= change
