"""The networks of models/ written in PyTorch, with module names such that parameters are called as docs/interop.md says.

Written from the papers and docs/models.md, batch first as PyTorch has it; an independent check of the forward passes.
"""

import math

import torch
from torch import nn
from torch.nn import functional


class Mlp(nn.Module):
    def __init__(self, widths, activation):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:]))
        self.activation = activation

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


class Block(nn.Module):
    """Depthwise, batch norm, ReLU, pointwise, batch norm, ReLU; the four under the given names."""

    def __init__(self, inputs, outputs, stride, names):
        super().__init__()
        layers = (nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False), nn.BatchNorm2d(inputs),
                  nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.names = names
        for name, layer in zip(names, layers):
            self.add_module(name, layer)

    def forward(self, x):
        depthwise, first, pointwise, second = (getattr(self, name) for name in self.names)
        return torch.relu(second(pointwise(torch.relu(first(depthwise(x))))))


LACUNA_NAMES = ("stem", "stem_norm", "blocks", "classifier"), ("depthwise", "depthwise_norm", "pointwise", "pointwise_norm")
CIFAR_NAMES = ("conv1", "bn1", "layers", "linear"), ("conv1", "bn1", "conv2", "bn2")  # examples/interop/pytorch_cifar_mobilenet.map
CIFAR_STRIDES = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 1, 1]
IMAGENET_STRIDES = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1]


class Mobilenet(nn.Module):
    """Width 0.25."""

    def __init__(self, stem_stride, strides, classes, names=LACUNA_NAMES):
        super().__init__()
        channels = [8, 16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128, 256, 256]
        self.names, block_names = names
        blocks = (Block(a, b, s, block_names) for a, b, s in zip(channels, channels[1:], strides))
        layers = (nn.Conv2d(3, channels[0], 3, stem_stride, 1, bias=False), nn.BatchNorm2d(channels[0]), nn.Sequential(*blocks),
                  nn.Linear(channels[-1], classes))
        for name, layer in zip(self.names, layers):
            self.add_module(name, layer)

    def forward(self, x):
        stem, norm, blocks, classifier = (getattr(self, name) for name in self.names)
        return classifier(blocks(torch.relu(norm(stem(x)))).mean((2, 3)))


class Transformer(nn.Module):
    """torch.nn's own pre-norm encoder under a causal mask, between two embeddings and an output layer."""

    def __init__(self, vocabulary, t, layers, hidden, filter, heads):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, hidden)
        self.positions = nn.Embedding(t, hidden)
        layer = nn.TransformerEncoderLayer(hidden, heads, filter, dropout=0.0, norm_first=True, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(hidden), enable_nested_tensor=False)
        self.output = nn.Linear(hidden, vocabulary)

    def forward(self, tokens):
        t = tokens.shape[1]
        mask = torch.triu(torch.full((t, t), -math.inf), 1)
        x = self.tokens(tokens) + self.positions(torch.arange(t))
        return self.output(self.encoder(x, mask=mask))


def sample_models():
    """By the names of tests/app/interop_sample_test.cpp."""
    return {
        "mlp": Mlp([32, 24, 12, 10], functional.gelu),
        "mobilenet": Mobilenet(1, CIFAR_STRIDES, 10),
        "mobilenet_imagenet": Mobilenet(2, IMAGENET_STRIDES, 7),
        "transformer": Transformer(256, 16, 2, 32, 64, 4),
    }
