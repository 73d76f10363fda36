"""The torch network of a recipe."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neuromorph.data import Dataset
from neuromorph.errors import RecipeError
from neuromorph.network import Input
from neuromorph.training.layers import Activation, BatchNorm, DiscreteConv2d, DiscreteLinear
from neuromorph.training.recipe import LinearLayer, Recipe
from neuromorph.training.shift import ShiftBatchNorm

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
            values = raw.to(torch.float32)  # a threshold may lie outside the integers' own type
            return (values >= high).to(torch.float32) - (values < low).to(torch.float32)
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
    sources : sequence of (int, int)
        What it hears, joined along channels: positions of stages (−1 is the
        input) and factors by which each is up-sampled.  Empty: the stage before.
    norm : BatchNorm or ShiftBatchNorm
        The class.
    """

    def __init__(
        self,
        name: str,
        synapses: DiscreteLinear | DiscreteConv2d,
        activation: Activation | None,
        *,
        pool: int = 1,
        sources: Sequence[tuple[int, int]] = (),
        norm: type[BatchNorm] = BatchNorm,
    ) -> None:
        super().__init__()
        self.name, self.pool, self.sources = name, pool, tuple(sources)
        self.synapses = synapses
        self.norm = norm(synapses.weight.shape[0])
        self.activation = activation

    def arriving(self, values: Sequence[Tensor]) -> Tensor:
        """What it hears, of the values of the input and of all stages before it."""
        if not self.sources:
            return values[-1]
        parts = [values[source + 1] for source, _ in self.sources]
        factors = [factor for _, factor in self.sources]
        return torch.cat([_upsampled(p, f) for p, f in zip(parts, factors)], dim=1)

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


def _upsampled(x: Tensor, factor: int) -> Tensor:
    """Every pixel as a square of factor × factor."""
    return x if factor == 1 else F.interpolate(x, scale_factor=float(factor), mode="nearest")


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
            values.append(stage(stage.arriving(values)))  # type: ignore[operator]
        return values

    def forward(self, raw: Tensor) -> Tensor:
        """Raw integers (batch, *shape) to scores (batch, classes), or (batch, classes, …)."""
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
        A kernel or pool larger than its image; input bits too few for the data;
        joined images of several sizes; not an image of the labels' size.
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
    norm = ShiftBatchNorm if recipe.norm.kind == "shift" else BatchNorm
    stages: list[Stage] = []
    channels, height, width = data.shape
    shapes = [data.shape]
    for place, layer in enumerate(recipe.layers):
        activation = Activation(n2, r=phi.r, a=phi.a, h=phi.h, pulse=phi.pulse, slope=phi.slope)
        synapses: DiscreteLinear | DiscreteConv2d
        if isinstance(layer, LinearLayer):
            synapses = DiscreteLinear(channels * height * width, layer.features, n1, method=method)
            stages.append(Stage(f"fc{place + 1}", synapses, activation, norm=norm))
            channels, height, width = layer.features, 1, 1
            continue
        sources = [
            (0 if name == "input" else int(name.removeprefix("conv")), factor)
            for name, factor in zip(layer.sources, layer.upsample or (1,) * len(layer.sources))
        ]
        if sources:
            joined = [(shapes[i][0], shapes[i][1] * f, shapes[i][2] * f) for i, f in sources]
            if len({(h, w) for _, h, w in joined}) > 1:
                raise RecipeError(
                    f"layers[{place}] joins images of "
                    f"{', '.join(f'{h}×{w}' for _, h, w in joined)}; up-sample them to one size"
                )
            channels, (_, height, width) = sum(c for c, _, _ in joined), joined[0]
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
        before = [(i - 1, factor) for i, factor in sources]
        stages.append(
            Stage(
                f"conv{place + 1}",
                synapses,
                activation,
                pool=layer.pool,
                sources=before,
                norm=norm,
            )
        )
        channels = layer.channels
        shapes.append((channels, height, width))
    output: DiscreteLinear | DiscreteConv2d
    if data.is_segmentation:
        if (height, width) != data.shape[1:] or isinstance(recipe.layers[-1], LinearLayer):
            raise RecipeError(
                f"the last of layers gives images of {height}×{width}, but data set {data.name!r} "
                f"has a label for each of {data.shape[1]}×{data.shape[2]} pixels"
            )
        output = DiscreteConv2d(channels, data.classes, 1, n=n1, method=method)
    else:
        output = DiscreteLinear(channels * height * width, data.classes, n1, method=method)
    model = DiscreteNetwork(spec, [*stages, Stage("output", output, None, norm=norm)])
    model.reset(seed)
    return model
