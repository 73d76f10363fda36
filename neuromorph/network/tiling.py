"""Images of any size through a network of convolutions: resized, or cut into windows.

A network whose layers are convolutions is the same for images of every size.
Where an image is too large it is cut into windows that overlap so far that
every pixel that is kept sees all it would see in the whole image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import lcm
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.errors import NetworkError
from neuromorph.network.layers import Flatten, Linear
from neuromorph.network.model import Network

__all__ = ["Tiling", "resized", "tile"]


def resized(network: Network, size: tuple[int, int]) -> Network:
    """The same network for images of another size.

    Parameters
    ----------
    network : Network
    size : (int, int)
        Height and width.

    Raises
    ------
    NetworkError
        A network with linear layers, or images that do not fit its layers.
    """
    if any(isinstance(layer, (Linear, Flatten)) for layer in network.layers):
        raise NetworkError(
            f"network {network.name!r} has linear layers, which fix the size of its images; only "
            "networks of convolutions can be resized"
        )
    entry = replace(network.input, shape=(network.input.shape[0], *size))
    try:
        return replace(network, input=entry)
    except NetworkError as error:
        raise NetworkError(
            f"images of {size[0]}×{size[1]} do not fit network {network.name!r}, which takes "
            f"multiples of {_step(network)}: {error}"
        ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiling:
    """Square windows over an image of ``size``; ``margin`` pixels around what is kept of each."""

    size: tuple[int, int]
    window: int
    margin: int
    step: int

    def cut(self, images: NDArray[Any]) -> NDArray[Any]:
        """Windows (images · windows, …, window, window) of (images, …, height, width)."""
        side, (rows, columns) = self.window, self._starts
        parts = [images[..., y : y + side, x : x + side] for y in rows for x in columns]
        return np.stack(parts, axis=1).reshape(-1, *images.shape[1:-2], side, side)

    def join(self, windows: NDArray[Any]) -> NDArray[Any]:
        """Images (images, …, height, width) of what came of the windows, in their order."""
        rows, columns = self._starts
        shape = (-1, len(rows) * len(columns), *windows.shape[1:])
        parts = windows.reshape(shape)
        joined = np.empty((len(parts), *windows.shape[1:-2], *self.size), windows.dtype)
        places = [(y, x) for y in rows for x in columns]
        for place, starts in enumerate(places):
            inner, outer = [], []
            for start, whole in zip(starts, self.size):
                first = self.margin if start else 0
                last = self.window if start + self.window == whole else self.window - self.margin
                inner.append(slice(first, last))
                outer.append(slice(start + first, start + last))
            joined[..., outer[0], outer[1]] = parts[:, place, ..., inner[0], inner[1]]
        return joined

    @property
    def _starts(self) -> list[list[int]]:
        """Where windows begin, down and across; the last one ends with the image."""
        kept = self.window - 2 * self.margin
        return [
            [
                min(kept * i, whole - self.window)
                for i in range(-(-(whole - 2 * self.margin) // kept))
            ]
            for whole in self.size
        ]


def tile(network: Network, size: tuple[int, int], *, window: int) -> Tiling:
    """Windows in which a network of convolutions does exactly what it does in the whole image.

    Parameters
    ----------
    network : Network
        Of any image size; see :func:`resized`.
    size : (int, int)
        Height and width of the image.
    window : int
        Side of the square windows.

    Raises
    ------
    NetworkError
        Not one class for every pixel of the image; an image or a window that
        the network's strides do not divide, or a window too small.

    Examples
    --------
    >>> import numpy as np
    >>> from neuromorph.network import Conv2d, Input, Readout
    >>> weights = np.ones((2, 1, 3, 3), int)
    >>> net = Network(
    ...     name="blur",
    ...     input=Input(shape=(1, 8, 8)),
    ...     layers=[Conv2d(name="blur", weights=weights, padding=1), Readout()],
    ... )
    >>> tiling = tile(net, (100, 60), window=16)
    >>> tiling.margin, tiling.cut(np.zeros((1, 1, 100, 60))).shape
    (1, (35, 1, 16, 16))
    """
    if network.pixels != network.input.shape[1:] or not network.pixels:
        raise NetworkError(
            f"network {network.name!r} does not classify every pixel of its input; only those that "
            "do can be tiled"
        )
    step = _step(network)
    margin = max(_reach(network, place) for place in range(step, 2 * step))
    margin += -margin % step
    for what, length in (("image", size[0]), ("image", size[1]), ("window", window)):
        if length % step or length < window:
            raise NetworkError(
                f"{what} of {length} pixels: network {network.name!r} is tiled in multiples of "
                f"{step}, of at least a window of {window}"
            )
    if window <= 2 * margin:
        raise NetworkError(
            f"window of {window} pixels: a pixel of network {network.name!r} sees {margin} to each "
            f"side, so it must be larger than {2 * margin}"
        )
    return Tiling(size=size, window=window, margin=margin, step=step)


def _step(network: Network) -> int:
    """Pixels of the input after which the strides of all layers meet again."""
    return lcm(*(scale.numerator for scale in _scales(network)))


def _scales(network: Network) -> list[Fraction]:
    """Input pixels to a pixel of each layer, along both axes.

    Raises
    ------
    NetworkError
        Joined layers whose pixels do not lie on each other.
    """
    scales: list[Fraction] = []
    for stage in network.stages:
        across = set()
        for source in stage.sources:
            before = Fraction(1) if source.stage < 0 else scales[source.stage]
            for axis in (0, 1):
                pool = 1 if stage.pool is None else stage.pool.stride[axis]
                across.add(before / source.upsample * stage.stride[axis] * pool)
        if len(across) > 1:
            raise NetworkError(
                f"layer {stage.name!r} of network {network.name!r} hears layers of several scales; "
                "such a network cannot be tiled"
            )
        scales.append(across.pop())
    return scales


def _reach(network: Network, place: int) -> int:
    """Pixels of the input that the pixel at ``place`` sees to the farther side."""
    far = 0
    for axis in (0, 1):
        seen: dict[int, tuple[int, int]] = {len(network.stages) - 1: (place, place)}
        for index in reversed(range(len(network.stages))):
            if index not in seen:
                continue
            stage, (low, high) = network.stages[index], seen[index]
            if stage.pool is not None:
                size, stride = stage.pool.size[axis], stage.pool.stride[axis]
                low, high = low * stride, high * stride + size - 1
            low = low * stage.stride[axis] - stage.padding[axis]
            high = high * stage.stride[axis] - stage.padding[axis] + stage.extent[axis] - 1
            for source in stage.sources:
                ends = low // source.upsample, high // source.upsample
                known = seen.get(source.stage, ends)
                seen[source.stage] = min(known[0], ends[0]), max(known[1], ends[1])
        low, high = seen[-1]
        far = max(far, place - low, high - place)
    return far
