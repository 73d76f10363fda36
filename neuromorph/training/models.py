"""The torch network of a recipe."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neuromorph.data import Dataset
from neuromorph.errors import RecipeError
from neuromorph.network import Input
from neuromorph.training.layers import Activation, BatchNorm, DiscreteConv2d, DiscreteLinear
from neuromorph.training.recipe import LinearLayer, Recipe

__all__ = ["DiscreteNetwork", "Encoder", "Stage", "build_model"]


class Encoder(nn.Module):
    """Raw integers to the values of input levels, as :class:`neuromorph.network.Input` does.

    Values are levels divided by 2**bits (1 for ternary), exact in float32.
    """

    def __init__(self, spec: Input) -> None:
        super().__init__()
        self.spec = spec
        self.unit = 1 if spec.encoding == "ternary" else 1 << spec.bits

    def forward(self, raw: Tensor) -> Tensor:
        """Integer tensor (batch, *shape) to float32 of the same shape."""
        if self.spec.thresholds is not None:
            low, high = self.spec.thresholds
            return (raw >= high).to(torch.float32) - (raw < low).to(torch.float32)
        return raw.to(torch.float32) / self.unit


class Stage(nn.Module):
    """Synapses, max-pool, batch norm, φ_r, in this order; the read-out ends with batch norm.

    Parameters
    ----------
    name : str
    synapses : DiscreteLinear or DiscreteConv2d
    channels : int
        Outputs of the synapses, one batch-norm scale each.
    activation : Activation or None
        None for the read-out.
    pool : int
        Side of the pooled square; 1 for none.
    """

    def __init__(
        self,
        name: str,
        synapses: DiscreteLinear | DiscreteConv2d,
        activation: Activation | None,
        *,
        pool: int = 1,
    ) -> None:
        super().__init__()
        self.name, self.pool = name, pool
        self.synapses = synapses
        self.norm = BatchNorm(synapses.weight.shape[0])
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Values of the layer before to values of this one, or to scores."""
        if isinstance(self.synapses, DiscreteLinear) and x.ndim > 2:
            x = x.flatten(1)
        weight, factor = self.synapses.quantized()
        x = self.synapses.sums(x, weight)
        if self.pool > 1:  # factors are not negative, so the largest sum stays the largest
            x = F.max_pool2d(x, self.pool)
        x = self.norm(x, factor)
        return x if self.activation is None else self.activation(x)


class DiscreteNetwork(nn.Module):
    """A feed-forward network of stages; takes raw integers, gives scores.

    Parameters
    ----------
    spec : Input
        Shape and encoding of samples.
    stages : list of Stage
        The last one without activation.
    """

    def __init__(self, spec: Input, stages: list[Stage]) -> None:
        super().__init__()
        self.encoder = Encoder(spec)
        self.stages = nn.ModuleList(stages)

    def outputs(self, raw: Tensor) -> list[Tensor]:
        """Values after the encoder and after each stage; the last are the scores."""
        values = [self.encoder(raw)]
        for stage in self.stages:
            values.append(stage(values[-1]))
        return values

    def forward(self, raw: Tensor) -> Tensor:
        """Raw integers (batch, *shape) to scores (batch, classes)."""
        return self.outputs(raw)[-1]

    def anneal(self, t: float) -> None:
        """Tell the activations how far the schedule is, from 0 to 1."""
        for module in self.modules():
            if isinstance(module, Activation):
                module.anneal(t)

    def reset(self, seed: int) -> None:
        """Draw the initial weights of every layer; see ``DiscreteLinear.reset``."""
        for layer, stage in enumerate(self.stages):
            stage.synapses.reset(seed, layer)  # type: ignore[operator,union-attr]


def build_model(recipe: Recipe, data: Dataset, seed: int) -> DiscreteNetwork:
    """The network of a recipe with its initial weights.

    Raises
    ------
    RecipeError
        A kernel or pool larger than its image; input bits too few for the data.
    """
    entry, method = recipe.input, recipe.levels.method
    n1, n2 = recipe.levels.n1, recipe.levels.n2
    if entry.bits is not None and data.maximum >= 1 << entry.bits:
        raise RecipeError(
            f"input.bits is {entry.bits}, but data set {data.name!r} has values up to "
            f"{data.maximum}"
        )
    spec = Input(
        shape=data.shape, encoding=entry.encoding, bits=entry.bits or 1, thresholds=entry.thresholds
    )
    phi = recipe.activation
    stages: list[Stage] = []
    channels, height, width = data.shape
    for place, layer in enumerate(recipe.layers):
        activation = Activation(n2, r=phi.r, a=phi.a, h=phi.h, pulse=phi.pulse, slope=phi.slope)
        synapses: DiscreteLinear | DiscreteConv2d
        if isinstance(layer, LinearLayer):
            synapses = DiscreteLinear(channels * height * width, layer.features, n1, method=method)
            stages.append(Stage(f"fc{place + 1}", synapses, activation))
            channels, height, width = layer.features, 1, 1
            continue
        height, width = (
            ((side + 2 * layer.padding - layer.extent) // layer.stride + 1) // layer.pool
            for side in (height, width)
        )
        if min(height, width) < 1:
            raise RecipeError(
                f"layers[{place}]: kernel {layer.kernel} with pool {layer.pool} does not fit "
                "its input"
            )
        synapses = DiscreteConv2d(
            channels,
            layer.channels,
            layer.kernel,
            stride=layer.stride,
            padding=layer.padding,
            dilation=layer.dilation,
            n=n1,
            method=method,
        )
        stages.append(Stage(f"conv{place + 1}", synapses, activation, pool=layer.pool))
        channels = layer.channels
    output = DiscreteLinear(channels * height * width, data.classes, n1, method=method)
    model = DiscreteNetwork(spec, [*stages, Stage("output", output, None)])
    model.reset(seed)
    return model
