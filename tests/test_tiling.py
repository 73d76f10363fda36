"""Windows of an image give what the whole image gives, pixel by pixel."""

import numpy as np
import pytest

from networks import random_levels
from neuromorph.errors import NetworkError
from neuromorph.network import (
    Concat,
    Conv2d,
    Flatten,
    Input,
    Linear,
    MaxPool2d,
    Network,
    Readout,
    Threshold,
)
from neuromorph.network.forward import arriving, run_stage
from neuromorph.network.tiling import resized, tile


def ternary(rng, channels):
    return Threshold(
        thresholds=np.sort(rng.integers(-2, 3, (channels, 2)), axis=1),
        directions=rng.choice([-1, 1], channels),
    )


def conv(rng, name, channels, inputs, kernel, **options):
    weights = random_levels(rng, 1, (channels, inputs, kernel, kernel))
    return Conv2d(name=name, weights=weights, **options)


def random_unet(seed, size=(24, 24)):
    """Half the size by a stride or a pool, a third or a quarter of it, and back up."""
    rng = np.random.default_rng(seed)
    deep = int(rng.choice([2, 3]))
    dilation = int(rng.choice([1, 2]))
    down = (
        [conv(rng, "b", 3, 2, 4, stride=2, padding=1), ternary(rng, 3)]
        if rng.random() < 0.5
        else [conv(rng, "b", 3, 2, 3, padding=1), MaxPool2d(), ternary(rng, 3)]
    )
    layers = [
        conv(rng, "a", 2, 1, 3, padding=dilation, dilation=dilation),
        ternary(rng, 2),
        *down,
        conv(rng, "c", 2, 3, deep, stride=deep),
        ternary(rng, 2),
        Concat(sources=("b", "c"), upsample=(1, deep)),
        conv(rng, "d", 2, 5, 3, padding=1),
        ternary(rng, 2),
        Concat(sources=("input", "d"), upsample=(1, 2)),
        conv(rng, "e", 2, 3, 1),
        Readout(),
    ]
    return Network(name="unet", input=Input(shape=(1, *size)), layers=layers)


def classes(network, images):
    inputs, levels = network.encode(images), []
    for stage in network.stages:
        levels.append(run_stage(stage, arriving(stage, inputs, levels)))
    return network.predict(levels[-1].astype(np.int32))


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 4, 5, 7, 9, 10, 11])
def test_windows_give_what_the_whole_image_gives(seed):
    network = random_unet(seed)
    size = (96, 60)
    images = np.random.default_rng(seed).integers(-1, 2, (2, 1, *size))
    whole = classes(resized(network, size), images)
    assert whole.std() > 0
    first = tile(network, size, window=60)
    for window in {2 * first.margin + first.step, 48, 60}:
        tiling = tile(network, size, window=window)
        windows = tiling.cut(images)
        found = tiling.join(classes(resized(network, (window, window)), windows))
        assert np.array_equal(found, whole), window


@pytest.mark.parametrize("seed", range(8))
def test_the_margin_is_as_wide_as_needed_and_no_wider(seed):
    """Which input pixels move an output pixel, tried one by one with weights that hide nothing."""
    network = random_unet(seed)
    layers = [
        type(x)(**{f: getattr(x, f) for f in x.__dataclass_fields__ if f != "weights"},
                weights=np.ones_like(x.weights)) if isinstance(x, Conv2d) else x
        for x in network.layers
    ]  # fmt: skip
    size = (60, 12)
    network = resized(Network(name="all", input=network.input, layers=layers), size)
    tiling = tile(resized(network, (60, 60)), (60, 60), window=60)
    far = 0
    for place in range(24, 24 + tiling.step):  # every phase of the strides, in the middle
        seen = {len(network.stages) - 1: {place}}
        for index in reversed(range(len(network.stages))):
            stage = network.stages[index]
            rows = seen.get(index, set())
            if stage.pool is not None:
                rows = {
                    r * stage.pool.stride[0] + i for r in rows for i in range(stage.pool.size[0])
                }
            taps = stage.taps(0)
            rows = {r * stage.stride[0] + int(t) for r in rows for t in taps}
            for source in stage.sources:
                seen.setdefault(source.stage, set()).update(r // source.upsample for r in rows)
        far = max(far, *(abs(row - place) for row in seen[-1]))
    assert far <= tiling.margin < far + tiling.step


def flat():
    layers = [Flatten(), Linear(name="out", weights=np.ones((2, 576), int)), Readout()]
    return Network(name="flat", input=Input(shape=(1, 24, 24)), layers=layers)


def shrinking():
    layers = [Conv2d(name="out", weights=np.ones((2, 1, 3, 3), int)), Readout()]
    return Network(name="valid", input=Input(shape=(1, 24, 24)), layers=layers)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: resized(flat(), (8, 8)),
            "network 'flat' has linear layers, which fix the size of its images; only networks of "
            "convolutions can be resized",
        ),
        (
            lambda: resized(random_unet(1), (26, 24)),
            "images of 26×24 do not fit network 'unet', which takes multiples of 4: layer 'd' "
            "joins 'b' of 13×12 and 'c' of 6×6 up-sampled by 2; up-sample them to one size",
        ),
        (
            lambda: tile(shrinking(), (48, 48), window=24),
            "network 'valid' does not classify every pixel of its input; only those that do can be "
            "tiled",
        ),
        (
            lambda: tile(random_unet(1), (50, 48), window=24),
            "image of 50 pixels: network 'unet' is tiled in multiples of 4, of at least a window "
            "of 24",
        ),
        (
            lambda: tile(random_unet(1), (48, 48), window=16),
            "window of 16 pixels: a pixel of network 'unet' sees 8 to each side, so it must be "
            "larger than 16",
        ),
    ],
)
def test_what_cannot_be_tiled_says_so(call, sentence):
    with pytest.raises(NetworkError) as error:
        call()
    assert str(error.value) == sentence
