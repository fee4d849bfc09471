"""What is trained: experiments x methods x sparsities x seeds, at three sizes ("presets")."""

import dataclasses

from common.single_runs import Run

METHODS = ("magnitude", "rigl", "set", "static", "one_shot")


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
    kind: str = "methods"  # or "widths"


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


def experiments(preset, data, epochs=None, steps=None):
    """The experiments of a preset, with data below the directory `data`; epochs (images) and steps (text) override its lengths."""
    cifar = dict(base="configs/cifar10_mobilenet_sparse.yaml", data_path="cifar-10-batches-bin", steps_per_epoch=191,
                 dense_settings={"optimizer.weight_decay": 0.0005})
    text = dict(base="configs/imdb_transformer_sparse.yaml", data_path="imdb", sparsities=(0.8, 0.9, 0.95), warmup_share=0.07,
                distribution="uniform")
    if preset == "full":
        listed = [
            Experiment("cifar10", "MobileNetV1 on CIFAR-10", steps=75 * 191, **cifar),
            Experiment("widths", "MobileNetV1 on CIFAR-10: wider and sparser, narrower and dense", steps=75 * 191, kind="widths", **cifar),
            Experiment("transformer", "Byte-level Transformer on film reviews", steps=6000, **text)]
    elif preset == "budget":
        small = {"model.layers": 4, "model.hidden": 256, "model.filter": 1024, "model.heads": 4, "data.sequence_length": 256}
        listed = [
            Experiment("cifar10", "MobileNetV1 on CIFAR-10", steps=9 * 191, **cifar),
            Experiment("transformer", "Byte-level Transformer on film reviews", steps=1500, settings=small, **text),
            Experiment("widths", "MobileNetV1 on CIFAR-10: wider and sparser, narrower and dense", steps=9 * 191, kind="widths", **cifar)]
    elif preset == "cpu":
        listed = [
            Experiment("fashion", "LeNet-300-100 on Fashion-MNIST", "configs/fashion_mlp_sparse.yaml", "fashion-mnist", steps=10 * 445,
                       steps_per_epoch=445, settings={"model.hidden": [300, 100]}, warmup_share=0.02),
            Experiment("headers", "Byte-level Transformer on the C++ headers", "configs/quickstart.yaml", "/usr/include/c++", steps=500,
                       settings={"model.hidden": 128, "model.filter": 512, "training.eval_batches": 0}, warmup_share=0.06,
                       distribution="uniform")]
    elif preset == "test":  # seconds, on made-up data: that the script works, nothing about the methods
        tiny = {"model": {"type": "mlp", "hidden": [24]}, "optimizer.lr": 0.003,
                "data": {"type": "synthetic", "num_examples": 512, "image_size": 8, "valid_fraction": 0.2, "test_fraction": 0.2}}
        listed = [Experiment("tiny", "A test", "configs/fashion_mlp_sparse.yaml", "", steps=20, settings=tiny, sparsities=(0.8, 0.9))]
    else:
        raise ValueError(preset)
    changed = []
    for e in listed:
        length = round(epochs * e.steps_per_epoch) if epochs and e.steps_per_epoch else steps if steps and not e.steps_per_epoch else e.steps
        settings = dict(e.settings)
        if e.data_path.startswith("/"):
            settings["data.path"] = e.data_path
        elif e.data_path == "imdb":
            settings.update({"data.path": f"{data}/imdb/train.txt", "data.test_path": f"{data}/imdb/test.txt"})
        elif e.data_path:
            settings["data.path"] = f"{data}/{e.data_path}"
        changed.append(dataclasses.replace(e, steps=length, settings=settings))
    return changed


def common_settings(e, device, seed):
    logs = max(1, e.steps // 50)
    settings = {**e.settings, "seed": seed, "device": device, "training.epochs": 0, "training.steps": e.steps,
                "schedule.warmup_steps": round(e.warmup_share * e.steps), "training.log_every": logs, "training.eval_every": 0,
                "training.checkpoint_every": max(1, e.steps // 5), "training.keep_checkpoints": 1}
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
        if e.kind == "widths":
            # 1.8 wide at 90 % holds 1,159,837 numbers, dense 0.6 wide 1,167,466: equal. 1.4 dense is the paper's partner in accuracy.
            for method, sparsity, width in (("magnitude", 0.9, 1.8), ("rigl", 0.9, 1.8), ("dense", 0.0, 0.6), ("dense", 0.0, 1.4)):
                add(method, sparsity, seed, {"model.width": width}, width=width)
            continue
        add("dense", 0.0, seed)
        for sparsity in e.sparsities:
            for method in e.methods:
                add(method, sparsity, seed)
    return listed
