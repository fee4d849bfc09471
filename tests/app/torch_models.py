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
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False)
        self.depthwise_norm = nn.BatchNorm2d(inputs)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.pointwise_norm = nn.BatchNorm2d(outputs)

    def forward(self, x):
        x = torch.relu(self.depthwise_norm(self.depthwise(x)))
        return torch.relu(self.pointwise_norm(self.pointwise(x)))


class Mobilenet(nn.Module):
    """Width 0.25."""

    def __init__(self, stem_stride, strides, classes):
        super().__init__()
        channels = [8, 16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128, 256, 256]
        self.stem = nn.Conv2d(3, channels[0], 3, stem_stride, 1, bias=False)
        self.stem_norm = nn.BatchNorm2d(channels[0])
        self.blocks = nn.Sequential(*(Block(a, b, s) for a, b, s in zip(channels, channels[1:], strides)))
        self.classifier = nn.Linear(channels[-1], classes)

    def forward(self, x):
        x = self.blocks(torch.relu(self.stem_norm(self.stem(x))))
        return self.classifier(x.mean((2, 3)))


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
        "mobilenet": Mobilenet(1, [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 1, 1], 10),
        "mobilenet_imagenet": Mobilenet(2, [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1], 7),
        "transformer": Transformer(256, 16, 2, 32, 64, 4),
    }
