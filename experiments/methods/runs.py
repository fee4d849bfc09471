"""What is trained: experiments x methods x sparsities x seeds, at four sizes ("presets")."""

import dataclasses

from common.single_runs import Run

METHODS = ("magnitude", "rigl", "set", "static", "one_shot")
SPARSITIES_FIRST = (0.0, 0.9, 0.95, 0.8, 0.98)  # in which order runs go: what time cuts off last matters most


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One base config and what every run of it changes. Lengths are in steps; an epoch is `steps_per_epoch`."""
    name: str
    title: str
    base: str
    data_path: str  # below the data directory; an absolute path is taken as it is
    steps: int
    steps_per_epoch: int = 0  # 0: text, which is trained in steps
    settings: dict = dataclasses.field(default_factory=dict)  # dotted keys that hold for all runs
    dense_settings: dict = dataclasses.field(default_factory=dict)  # ... for dense ones besides
    sparsities: tuple = (0.8, 0.9, 0.95, 0.98)
    warmup_share: float = 0.04
    distribution: str = "erk"
    methods: tuple = METHODS
    widths: tuple = ()  # (method, sparsity, width, settings): wider and sparser beside narrower and dense, instead of every method
    note: str = ""  # what the widths' page says first


MOBILENET_WIDTHS = ("1.8 wide at 90 % sparsity holds as many numbers (1.16 M) as 0.6 wide does dense (1.17 M); 1.4 wide, dense (6.3 M), is the "
                    "partner that the paper found equal in accuracy (section VII).")
LENET_WIDTHS = ("600-200 at 90 % sparsity holds as many weights (61,040) as 75-25 does dense (60,925); 300-100, dense, holds 266,200.")


def pruning(method, sparsity, steps, distribution):
    """A method's section of the config. All end by three quarters of the run and update every 100 steps, in short runs
    every 1/75 of the run (RigL gives up the optimizer's step on each update, so never more often than every fifth step)."""
    share = lambda x: round(x * steps)
    frequency = max(5, min(100, share(1 / 75)))
    section = {"method": method, "sparsity": sparsity, "distribution": distribution}
    if method == "magnitude":  # begins once the network has learned something; leaves half of the run to recover
        section.update(begin_step=share(0.1), end_step=share(0.5), frequency=frequency)
    elif method in ("rigl", "set"):  # RigL's own: drop 0.3 with cosine decay until 75 %
        section.update(begin_step=0, end_step=share(0.75), frequency=frequency)
    elif method == "one_shot":
        section.update(begin_step=share(0.5))
    return section


def widths(sparse, dense, settings):
    """Magnitude and RigL at 90 % for each width of `sparse`, dense networks of the widths `dense`."""
    return tuple((method, sparsity, width, settings(width)) for method, sparsity, listed in
                 (("magnitude", 0.9, sparse), ("rigl", 0.9, sparse), ("dense", 0.0, dense)) for width in listed)


def experiments(preset, data, epochs=None, steps=None):
    """The experiments of a preset, with data below the directory `data`; epochs (images) and steps (text) override its lengths."""
    cifar = dict(base="configs/cifar10_mobilenet_sparse.yaml", data_path="cifar-10-batches-bin", steps_per_epoch=191,
                 dense_settings={"optimizer.weight_decay": 0.0005})
    text = dict(base="configs/imdb_transformer_sparse.yaml", data_path="imdb", sparsities=(0.8, 0.9, 0.95), warmup_share=0.07,
                distribution="uniform")
    if preset in ("full", "budget"):
        small = {"model.layers": 4, "model.hidden": 256, "model.filter": 1024, "model.heads": 4, "data.sequence_length": 256}
        epochs_, text_steps, text_settings = (75, 6000, {}) if preset == "full" else (22, 1500, small)
        listed = [
            Experiment("cifar10", "MobileNetV1 on CIFAR-10", steps=epochs_ * 191, **cifar),
            Experiment("widths", "MobileNetV1 on CIFAR-10: wider and sparser, narrower and dense", steps=epochs_ * 191,
                       widths=widths((1.8,), (0.6, 1.4), lambda w: {"model.width": w}), note=MOBILENET_WIDTHS, **cifar),
            Experiment("transformer", "Byte-level Transformer on film reviews", steps=text_steps, settings=text_settings, **text)]
    elif preset == "cpu":
        fashion = dict(base="configs/fashion_mlp_sparse.yaml", data_path="fashion-mnist", steps=10 * 445, steps_per_epoch=445,
                       warmup_share=0.02)
        layers = lambda w: {"model.hidden": [round(300 * w), round(100 * w)]}
        listed = [Experiment("fashion", "LeNet-300-100 on Fashion-MNIST", settings=layers(1), **fashion),
                  Experiment("widths", "LeNet-300-100 on Fashion-MNIST: wider and sparser, narrower and dense",
                             widths=widths((2,), (0.25, 1), layers), note=LENET_WIDTHS, **fashion)]
    elif preset == "smoke":  # seconds, on made-up data: that the script works, nothing about the methods
        tiny = dict(base="configs/fashion_mlp_sparse.yaml", data_path="", steps=20, sparsities=(0.8, 0.9),
                    settings={"model": {"type": "mlp", "hidden": [24]}, "optimizer.lr": 0.003,
                              "data": {"type": "synthetic", "num_examples": 512, "image_size": 8, "valid_fraction": 0.2,
                                       "test_fraction": 0.2}})
        hidden = lambda w: {"model": {"type": "mlp", "hidden": [round(24 * w)]}}
        listed = [Experiment("tiny", "A test", **tiny),
                  Experiment("widths", "A test of widths", widths=widths((2,), (0.25, 1), hidden), note="Nothing to say.", **tiny)]
    else:
        raise ValueError(preset)
    changed = []
    for e in listed:
        given = round(epochs * e.steps_per_epoch) if epochs and e.steps_per_epoch else steps if not e.steps_per_epoch else None
        settings = dict(e.settings)
        if e.data_path.startswith("/"):
            settings["data.path"] = e.data_path
        elif e.data_path == "imdb":
            settings.update({"data.path": f"{data}/imdb/train.txt", "data.test_path": f"{data}/imdb/test.txt"})
        elif e.data_path:
            settings["data.path"] = f"{data}/{e.data_path}"
        changed.append(dataclasses.replace(e, steps=given or e.steps, settings=settings))
    return changed


def in_order(listed, runs, seeds):
    """All of the first seed, then the others; within a seed experiment by experiment, and all methods of a sparsity together: what is
    there when time runs out can be compared."""
    place = {e.name: i for i, e in enumerate(listed)}
    rank = lambda s: SPARSITIES_FIRST.index(s) if s in SPARSITIES_FIRST else len(SPARSITIES_FIRST)
    of_width = lambda run: 0 if "width" in run.tags else rank(run.tags["sparsity"])
    return sorted(runs, key=lambda run: (seeds.index(run.tags["seed"]), place[run.tags["experiment"]], of_width(run)))


def common_settings(e, device, seed):
    logs = max(1, e.steps // 50)
    settings = {**e.settings, "seed": seed, "device": device, "training.epochs": 0, "training.steps": e.steps,
                "schedule.warmup_steps": round(e.warmup_share * e.steps), "training.log_every": logs, "training.eval_every": 0,
                "training.checkpoint_every": e.settings.get("training.checkpoint_every", max(1, e.steps // 5)),
                "training.keep_checkpoints": 1}
    if device == "cpu":
        settings.update({"threads": 1, "data.num_workers": 1})
    if "data" in e.settings:
        settings.pop("data.num_workers", None)
    return settings


def runs_of(e, device, seeds):
    """The experiment's runs, one seed after another, so that what has been done when time runs out is comparable."""
    listed = []
    def add(method, sparsity, seed, extra=None, **tags):
        settings = {**common_settings(e, device, seed), **(e.dense_settings if method == "dense" else {}), **(extra or {})}
        settings["pruning"] = {"method": "none"} if method == "dense" else pruning(method, sparsity, e.steps, e.distribution)
        listed.append(Run(e.base, settings, {"experiment": e.name, "method": method, "sparsity": sparsity, **tags, "seed": seed}))
    for seed in seeds:
        if e.widths:
            for method, sparsity, width, settings in e.widths:
                add(method, sparsity, seed, settings, width=width)
            continue
        add("dense", 0.0, seed)
        for sparsity in e.sparsities:
            for method in e.methods:
                add(method, sparsity, seed)
    return listed
