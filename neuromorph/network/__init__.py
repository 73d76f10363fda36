"""Integer networks: the layers, the network, its file."""

from neuromorph.network.file import (
    find_network,
    list_networks,
    load_network,
    network_folders,
    save_network,
)
from neuromorph.network.layers import (
    OFFSET_LIMIT,
    THRESHOLD_MAX,
    THRESHOLD_MIN,
    Concat,
    Conv2d,
    Encoding,
    Flatten,
    Input,
    Layer,
    Linear,
    MaxPool2d,
    Readout,
    Requantize,
    Threshold,
)
from neuromorph.network.model import Network
from neuromorph.network.stage import Pool, Rounding, Source, Stage

__all__ = [
    "OFFSET_LIMIT",
    "THRESHOLD_MAX",
    "THRESHOLD_MIN",
    "Concat",
    "Conv2d",
    "Encoding",
    "Flatten",
    "Input",
    "Layer",
    "Linear",
    "MaxPool2d",
    "Network",
    "Pool",
    "Readout",
    "Requantize",
    "Rounding",
    "Source",
    "Stage",
    "Threshold",
    "find_network",
    "list_networks",
    "load_network",
    "network_folders",
    "save_network",
]
