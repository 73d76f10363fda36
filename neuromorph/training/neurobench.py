"""An integer network as a torch module, and for the harness of NeuroBench."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neuromorph.errors import MissingDependencyError, NetworkError, check_type
from neuromorph.network import Network, Stage
from neuromorph.training.fold import EXACT_SUM

__all__ = ["Fire", "IntegerNetwork", "to_neurobench", "to_torch"]


class Fire(nn.Module):
    """Integer sums to levels, with the pool behind them; float32 that holds whole numbers."""

    thresholds: Tensor
    directions: Tensor
    minimum: Tensor

    def __init__(self, stage: Stage, spread: tuple[int, ...]) -> None:
        super().__init__()
        assert stage.thresholds is not None
        assert stage.directions is not None
        assert stage.levels is not None
        self.stride, self.maximum = stage.levels.stride, stage.levels.maximum
        self.pool = stage.pool
        for name, values in (
            ("thresholds", stage.thresholds.astype(np.float64)),
            ("directions", stage.directions.astype(np.float64)),
            ("minimum", np.zeros(1) if stage.pool is None else 1.0 - 2.0 * stage.pool.minimum),
        ):
            self.register_buffer(name, torch.from_numpy(values), persistent=False)
        self.spread = spread

    def forward(self, sums: Tensor) -> Tensor:
        """Sums (batch, channels, …) to levels of the same kind."""
        directed = sums.double() * self.directions.view(self.spread)
        climbed = torch.zeros_like(directed)
        for step in self.thresholds.T:
            climbed += directed >= step.view(self.spread)
        levels = self.stride * climbed - self.maximum
        if self.pool is not None:
            way = self.minimum.view(self.spread)
            levels = way * F.max_pool2d(way * levels, self.pool.size, self.pool.stride)
        return levels.float()


class IntegerNetwork(nn.Module):
    """``nn.Linear`` and ``nn.Conv2d`` with the integer weights, :class:`Fire` between them."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        network.check_plain("NeuroBench's model")
        self.network = network
        self.layers = nn.ModuleList()
        is_image = len(network.input.shape) == 3
        for stage in network.stages:
            magnitude = np.abs(stage.weights.astype(np.int64)).sum(axis=(1, 2, 3))
            reach = int(magnitude.max()) * stage.input_maximum
            if reach > EXACT_SUM:
                raise NetworkError(
                    f"layer {stage.name!r}: a sum may reach {reach}; float32 is exact up to "
                    f"{EXACT_SUM}"
                )
            out, channels, *kernel = stage.weights.shape
            layer: nn.Module
            one_pixel = stage.input_shape[1:] == (1, 1) and kernel == [1, 1]
            if one_pixel and stage.padding == (0, 0) and stage.pool is None:
                layer = nn.Linear(channels, out, bias=False)
                weights, is_image = stage.weights[:, :, 0, 0], False
            else:
                layer = nn.Conv2d(
                    channels, out, (kernel[0], kernel[1]), stage.stride, stage.padding,
                    stage.dilation, bias=False,
                )  # fmt: skip
                weights, is_image = stage.weights, True
            layer.weight = nn.Parameter(torch.from_numpy(weights.astype(np.float32)))
            layer.requires_grad_(False)
            self.layers.append(layer)
            if not stage.is_readout:
                self.layers.append(Fire(stage, (1, -1, 1, 1) if is_image else (1, -1)))

    def forward(self, raw: Tensor) -> Tensor:
        """Raw samples (batch, *shape) to scores (batch, classes)."""
        encoded = self.network.encode(raw.cpu().numpy().astype(np.int64))
        x = torch.from_numpy(encoded.astype(np.float32)).to(raw.device)
        shapes = iter(self.network.stages)
        for layer in self.layers:
            if isinstance(layer, (nn.Linear, nn.Conv2d)):
                shape = next(shapes).input_shape
                x = x.reshape(len(x), *(shape[:1] if isinstance(layer, nn.Linear) else shape))
            x = layer(x)
        sums = x.reshape(len(x), -1).cpu().numpy().astype(np.int32)
        return torch.from_numpy(self.network.scores(sums)).to(raw.device)


def to_torch(network: Network) -> IntegerNetwork:
    """A network as a torch module that takes raw samples and gives the same scores.

    Raises
    ------
    NetworkError
        Sums that float32 cannot hold.

    Examples
    --------
    >>> import neuromorph as nm, torch
    >>> module = to_torch(nm.load_network("digits-gxnor"))
    >>> module(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """
    check_type(network, Network, "network", NetworkError, "give a Network, such as load_network")
    return IntegerNetwork(network).eval()


def to_neurobench(network: Network) -> Any:
    """A network as a ``neurobench.models.TorchModel`` for its ``Benchmark``.

    Its effective synaptic operations are our synaptic events: accumulates in
    layers all of whose levels are −1, 0, 1, else multiply-accumulates.  A
    bitplane value counts as one there, as its set bits here.  Its footprint is
    that of float32 weights; ``network.weight_bits`` is that of packed ones.

    Raises
    ------
    NetworkError
        As :func:`to_torch`.
    MissingDependencyError
        NeuroBench is not installed.
    """
    module = to_torch(network)
    try:
        from neurobench.models import TorchModel
    except ImportError:
        raise MissingDependencyError(
            "NeuroBench is not installed; run: pip install 'neuromorph[neurobench]'"
        ) from None
    model = TorchModel(module)
    model.add_activation_module(Fire)
    return model
