"""Network files: safetensors with packed integers; see ``docs/network-format.md``.

Reading executes nothing and trusts nothing: every field is checked, the
content must match its own SHA-256, and anything odd is one NetworkError.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import struct
import zlib
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from neuromorph.errors import LevelError, NetworkError, check_path
from neuromorph.levels import MAX_N, MAX_TRAINED_N, Levels
from neuromorph.network.layers import (
    MAX_SHIFT,
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
from neuromorph.network.model import Network, describe_layer
from neuromorph.packing import pack, unpack
from neuromorph.writing import write_whole

__all__ = ["find_network", "list_networks", "load_network", "network_folders", "save_network"]

FORMAT = "neuromorph-network"
VERSION = (1, 4)
PLAIN_STEPS = 16  # thresholds of more steps a channel are compressed (format 1.1)
MAX_UNPACKED_BYTES = 1 << 26  # of thresholds that are compressed
FILE_NAME = "network.safetensors"
MAX_FILE_BYTES = 1 << 30
MAX_HEADER_BYTES = 1 << 20
MAX_LAYERS = 1000
MAX_TENSOR_NAME = 32
MAX_WEIGHTS = 1 << 30

Size = Annotated[int, msgspec.Meta(ge=1, le=1 << 24)]
Small = Annotated[int, msgspec.Meta(ge=0, le=1 << 16)]
Space = Annotated[int, msgspec.Meta(ge=0, le=MAX_N)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Int16 = Annotated[int, msgspec.Meta(ge=-(2**15), le=2**15 - 1)]
Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]


class _Input(msgspec.Struct, forbid_unknown_fields=True):
    shape: Annotated[list[Size], msgspec.Meta(min_length=1, max_length=3)]
    encoding: Encoding
    bits: Annotated[int, msgspec.Meta(ge=1, le=12)]
    thresholds: tuple[Int32, Int32] | None


class _Linear(msgspec.Struct, forbid_unknown_fields=True, tag="linear", tag_field="kind"):
    name: Name
    n: Space
    shape: tuple[Size, Size]


class _Conv2d(msgspec.Struct, forbid_unknown_fields=True, tag="conv2d", tag_field="kind"):
    name: Name
    n: Space
    shape: tuple[Size, Size, Size, Size]
    stride: tuple[Small, Small]
    padding: tuple[Small, Small]
    dilation: tuple[Small, Small] = (1, 1)  # written where it is not 1 (format 1.2)


class _MaxPool2d(msgspec.Struct, forbid_unknown_fields=True, tag="maxpool2d", tag_field="kind"):
    size: tuple[Small, Small]
    stride: tuple[Small, Small]


class _Concat(msgspec.Struct, forbid_unknown_fields=True, tag="concat", tag_field="kind"):
    sources: Annotated[list[Name], msgspec.Meta(min_length=1, max_length=MAX_LAYERS)]
    upsample: list[Small]


class _Flatten(msgspec.Struct, forbid_unknown_fields=True, tag="flatten", tag_field="kind"):
    pass


class _Threshold(msgspec.Struct, forbid_unknown_fields=True, tag="threshold", tag_field="kind"):
    n: Space


class _Requantize(msgspec.Struct, forbid_unknown_fields=True, tag="requantize", tag_field="kind"):
    n: Space
    shift: Annotated[int, msgspec.Meta(ge=0, le=MAX_SHIFT)]
    limits: tuple[Int16, Int16]


class _Readout(msgspec.Struct, forbid_unknown_fields=True, tag="readout", tag_field="kind"):
    pass


_Layer = _Linear | _Conv2d | _MaxPool2d | _Concat | _Flatten | _Threshold | _Requantize | _Readout


class _Header(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    input: _Input
    layers: Annotated[list[_Layer], msgspec.Meta(min_length=1, max_length=MAX_LAYERS)]
    meta: dict[str, Any]


_DTYPES = {
    "weights": "U8",
    "thresholds": "I32",
    "thresholds_z": "U8",
    "offsets": "I64",
    "directions": "I8",
    "scale": "F32",
    "offset": "F32",
}
_NUMPY = {"U8": "<u1", "I64": "<i8", "I32": "<i4", "I8": "<i1", "F32": "<f4"}


def save_network(network: Network, path: str | os.PathLike[str]) -> Path:
    """Write a network file.

    Parameters
    ----------
    network : Network
    path : path
        A file, or a folder (existing, or a name without suffix) that gets
        ``network.safetensors``.

    Returns
    -------
    Path
        The file written.  It appears under its name only when it is whole.

    Raises
    ------
    NetworkError
        The place cannot be written; ``meta`` is not JSON; a size is beyond
        what the format holds.
    """
    target = Path(path)
    layers: list[dict[str, Any]] = []
    tensors: dict[str, NDArray[Any]] = {}
    minor = 3 if network.pixels else 0
    if any(stage.sum_dtype != np.int32 for stage in network.stages):
        minor = 4
    for index, layer in enumerate(network.layers):
        kind, fields, arrays = describe_layer(layer)
        if "dilation" in fields:
            minor = max(minor, 2)
        if kind == "concat":
            minor = max(minor, 3)
        if kind == "requantize" or fields.get("n", 0) > MAX_TRAINED_N:
            minor = 4
        entry: dict[str, Any] = {"kind": kind, **fields}
        for key, array in arrays.items():
            if key == "weights":
                entry["shape"] = list(array.shape)
                array = pack(array, fields["n"])
            is_long = key == "thresholds" and array.shape[1] > PLAIN_STEPS
            if is_long and array.nbytes <= MAX_UNPACKED_BYTES:
                key, array, minor = "thresholds_z", _compressed(array), max(minor, 1)
            tensors[f"{index}.{key}"] = np.ascontiguousarray(array)
        layers.append(entry)
    i = network.input
    header = {
        "name": network.name,
        "input": {
            "shape": list(i.shape),
            "encoding": i.encoding,
            "bits": i.bits,
            "thresholds": None if i.thresholds is None else list(i.thresholds),
        },
        "layers": layers,
        "meta": network.meta,
    }
    try:
        text = json.dumps(header, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise NetworkError(f"network meta cannot be written as JSON: {error}") from None
    metadata = {
        "format": FORMAT,
        "version": f"{VERSION[0]}.{minor}",
        "network": text,
        "sha256": _checksum(text, tensors),
    }
    data = _container(metadata, tensors)
    try:
        _check_size(len(data))
        _parse(data)
    except NetworkError as error:
        raise NetworkError(f"network does not fit the file format: {error}") from None
    if target.suffix == "" or os.path.isdir(target):  # False, too, where a name is too long
        target = target / FILE_NAME
    return write_whole(target, data, NetworkError, "network file")


def _container(metadata: dict[str, str], tensors: dict[str, NDArray[Any]]) -> bytes:
    """A safetensors file, always the same bytes for the same content.

    (The library's own writer puts metadata in an order that changes.)  Wide
    tensors come first and the index is filled up to a multiple of eight, so
    that every tensor is aligned.
    """
    index: dict[str, Any] = {"__metadata__": metadata}
    body: list[bytes] = []
    end = 0
    for name in sorted(tensors, key=lambda name: (-tensors[name].itemsize, name)):
        array = tensors[name]
        dtype = _DTYPES[name.partition(".")[2]]
        body.append(array.astype(_NUMPY[dtype], casting="equiv").tobytes())
        start, end = end, end + len(body[-1])
        index[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [start, end]}
    text = json.dumps(index, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *body])


def load_network(name: str | os.PathLike[str]) -> Network:
    """Read a network file.

    Parameters
    ----------
    name : str or path
        A file, a folder with ``network.safetensors``, or the name of a network
        in ``./networks/`` or among the installed ones (in this order).

    Returns
    -------
    Network

    Raises
    ------
    NetworkError
        Not found (lists the known names), or not a well-formed network file
        (says what is wrong in it).

    Examples
    --------
    >>> load_network("digits-gxnor").classes
    10
    """
    path = find_network(name)
    try:
        _check_size(path.stat().st_size)
        return _parse(path.read_bytes())
    except OSError as error:
        raise _unreadable(path, error) from None
    except NetworkError as error:
        raise NetworkError(f"{path}: {error}") from None


def network_folders() -> list[Path]:
    """Folders in which names are looked up: ``./networks`` and the installed one."""
    package = Path(__file__).resolve().parents[1]
    folders = [Path("networks")]
    installed = package / "networks"
    folders.append(installed if installed.is_dir() else package.parent / "networks")
    return folders


def list_networks() -> dict[str, Path]:
    """Names of the networks that :func:`load_network` finds, with their files."""
    found: dict[str, Path] = {}
    for folder in network_folders():
        for file in sorted(folder.glob(f"*/{FILE_NAME}")):
            found.setdefault(file.parent.name, file)
    return dict(sorted(found.items()))


def find_network(name: str | os.PathLike[str]) -> Path:
    """File that ``name`` stands for; see :func:`load_network`."""
    check_path(name, "network", NetworkError)
    path = Path(name)
    try:
        if path.is_dir() and (path / FILE_NAME).exists():
            return path / FILE_NAME
        if path.is_file():
            return path
    except OSError as error:  # a name too long, a folder that may not be entered
        raise _unreadable(path, error) from None
    known = list_networks()
    if str(name) in known:
        return known[str(name)]
    names = ", ".join(known) or "none"
    if any((folder / path / "recipe.toml").is_file() for folder in (Path(), *network_folders())):
        raise NetworkError(
            f"network {str(name)!r} has a recipe but is not trained; neuromorph train {name}"
        )
    why = f"that folder has no {FILE_NAME}" if path.is_dir() else "no such file or folder"
    raise NetworkError(f"no network {str(name)!r}: {why}; known names: {names}")


def _unreadable(path: Path, error: OSError) -> NetworkError:
    return NetworkError(f"cannot read network file {path}: {error.strerror or error}")


def _check_size(size: int) -> None:
    if size > MAX_FILE_BYTES:
        raise NetworkError(f"file has {size} bytes; at most {MAX_FILE_BYTES} are read")


def _parse(data: bytes) -> Network:
    metadata, tensors = _read_safetensors(data)
    if metadata.get("format") != FORMAT:
        raise NetworkError(f"this is not a {FORMAT} file")
    version = metadata.get("version", "")
    if not re.fullmatch(rf"{VERSION[0]}\.[0-9]+", version):
        raise NetworkError(
            f"format version is {version[:20]!r}; this program reads {VERSION[0]}.<number>"
        )
    if set(metadata) != {"format", "version", "network", "sha256"}:
        raise NetworkError("metadata must hold format, version, network, sha256, nothing else")
    arrays = {name: array for name, (_, array) in tensors.items()}
    if _checksum(metadata["network"], arrays) != metadata["sha256"]:
        raise NetworkError("content does not match its SHA-256; the file is damaged")
    try:
        header = msgspec.json.decode(metadata["network"], type=_Header)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise NetworkError(f"header is malformed: {error}") from None
    used: set[str] = set()

    def take(index: int, key: str, *, required: bool = True) -> NDArray[Any] | None:
        name = f"{index}.{key}"
        if name not in tensors:
            if required:
                raise NetworkError(f"tensor {name!r} is missing")
            return None
        dtype, array = tensors[name]
        if dtype != _DTYPES[key]:
            raise NetworkError(f"tensor {name!r} is {dtype}; it must be {_DTYPES[key]}")
        used.add(name)
        return array

    layers: list[Layer] = []
    for index, entry in enumerate(header.layers):
        if isinstance(entry, (_Linear, _Conv2d)):
            if math.prod(entry.shape) > MAX_WEIGHTS:
                raise NetworkError(f"layer {entry.name!r} has more than {MAX_WEIGHTS} weights")
            packed = take(index, "weights")
            assert packed is not None
            try:
                weights = unpack(packed, entry.n, entry.shape)
            except LevelError as error:
                raise NetworkError(f"layer {entry.name!r}: {error}") from None
            if isinstance(entry, _Linear):
                layers.append(Linear(name=entry.name, weights=weights, n=entry.n))
            else:
                layers.append(
                    Conv2d(
                        name=entry.name,
                        weights=weights,
                        n=entry.n,
                        stride=entry.stride,
                        padding=entry.padding,
                        dilation=entry.dilation,
                    )
                )
        elif isinstance(entry, _MaxPool2d):
            layers.append(MaxPool2d(size=entry.size, stride=entry.stride))
        elif isinstance(entry, _Concat):
            layers.append(Concat(sources=tuple(entry.sources), upsample=tuple(entry.upsample)))
        elif isinstance(entry, _Flatten):
            layers.append(Flatten())
        elif isinstance(entry, _Threshold):
            directions = take(index, "directions")
            assert directions is not None
            if f"{index}.thresholds_z" in tensors and f"{index}.thresholds" not in tensors:
                stream = take(index, "thresholds_z")
                assert stream is not None
                shape = (directions.size, Levels(entry.n).size - 1)
                thresholds: NDArray[Any] | None = _decompressed(stream, shape, index)
            else:
                thresholds = take(index, "thresholds")
            assert thresholds is not None
            layers.append(Threshold(thresholds=thresholds, directions=directions, n=entry.n))
        elif isinstance(entry, _Requantize):
            offsets, directions = take(index, "offsets"), take(index, "directions")
            assert offsets is not None
            layers.append(
                Requantize(
                    offsets=offsets,
                    shift=entry.shift,
                    limits=entry.limits,
                    directions=directions,
                    n=entry.n,
                )
            )
        else:
            scale, offset = (take(index, key, required=False) for key in ("scale", "offset"))
            layers.append(Readout(scale=scale, offset=offset))
    if used != set(tensors):
        raise NetworkError(f"tensor {sorted(set(tensors) - used)[0]!r} belongs to no layer")
    i = header.input
    return Network(
        name=header.name,
        input=Input(
            shape=tuple(i.shape), encoding=i.encoding, bits=i.bits, thresholds=i.thresholds
        ),
        layers=layers,
        meta=header.meta,
    )


def _compressed(thresholds: NDArray[Any]) -> NDArray[np.uint8]:
    """zlib of the differences along a channel, the first from 0, modulo 2**32.

    Thresholds of many steps are nearly evenly spaced, so little is left.
    """
    steps = np.diff(thresholds.astype("<u4"), axis=1, prepend=np.uint32(0))
    return np.frombuffer(zlib.compress(steps.astype("<u4").tobytes(), 9), np.uint8)


def _decompressed(stream: NDArray[Any], shape: tuple[int, int], index: int) -> NDArray[Any]:
    """Inverse of :func:`_compressed`; never more bytes than the shape takes."""
    size = 4 * shape[0] * shape[1]
    where = f"tensor '{index}.thresholds_z'"
    if size > MAX_UNPACKED_BYTES:
        raise NetworkError(
            f"{where} unpacks to {size} bytes; at most {MAX_UNPACKED_BYTES} are read"
        )
    decompressor = zlib.decompressobj()
    try:
        data = decompressor.decompress(stream.tobytes(), size + 1)
    except zlib.error as error:
        raise NetworkError(f"{where} is no zlib stream: {error}") from None
    if len(data) != size or not decompressor.eof or decompressor.unused_data:
        raise NetworkError(f"{where} does not hold exactly {shape[0]} × {shape[1]} thresholds")
    steps = np.frombuffer(data, "<u4").reshape(shape)
    return np.cumsum(steps, axis=1, dtype=np.uint32).view(np.int32)


def _checksum(text: str, tensors: dict[str, NDArray[Any]]) -> str:
    """SHA-256 over the header text, then name, shape and bytes of each tensor by name."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(f"\n{name} {list(tensors[name].shape)}\n".encode())
        digest.update(tensors[name].tobytes())
    return digest.hexdigest()


def _read_safetensors(data: bytes) -> tuple[dict[str, str], dict[str, tuple[str, NDArray[Any]]]]:
    """Metadata and (dtype, array) of each tensor, without copying."""
    from safetensors import SafetensorError, deserialize

    if len(data) < 8:
        raise NetworkError(f"file has {len(data)} bytes; a network file is longer")
    (length,) = struct.unpack_from("<Q", data)
    if length > len(data) - 8:
        raise NetworkError("this is not a safetensors file, or it is truncated")
    if length > MAX_HEADER_BYTES:
        raise NetworkError(
            f"the file's header has {length} bytes; at most {MAX_HEADER_BYTES} are read"
        )
    try:
        header = msgspec.json.decode(data[8 : 8 + length], type=dict[str, Any])
        metadata = msgspec.convert(header.get("__metadata__", {}), dict[str, str])
        parts = deserialize(data)  # type: ignore[no-untyped-call]
    except (msgspec.MsgspecError, SafetensorError, UnicodeError, RecursionError) as error:
        raise NetworkError(f"this is not a whole safetensors file: {error}") from None
    tensors: dict[str, tuple[str, NDArray[Any]]] = {}
    for name, part in parts:
        if len(name) > MAX_TENSOR_NAME:
            raise NetworkError(f"a tensor's name has {len(name)} characters; no network has that")
        dtype = part["dtype"]
        if dtype not in _NUMPY:
            raise NetworkError(f"tensor {name!r} has dtype {dtype}, which no network holds")
        shape = part["shape"]
        if len(shape) > 2 or not all(shape):  # what is left, NumPy can hold
            raise NetworkError(f"tensor {name!r} is empty or has more than two axes")
        tensors[name] = (dtype, np.frombuffer(part["data"], dtype=_NUMPY[dtype]).reshape(shape))
    return metadata, tensors


# The bit count of Levels is part of the format: a change there is a change of VERSION.
assert [Levels(n).bits for n in range(MAX_N + 1)] == [1, *range(2, 17), 16]
