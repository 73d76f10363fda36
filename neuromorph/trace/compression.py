"""How the rows of a trace are compressed: filters of HDF5 by a short name."""

from __future__ import annotations

from typing import Any, Literal, get_args

from neuromorph.errors import MissingDependencyError, TraceError

__all__ = ["COMPRESSIONS", "Compression", "filters_of"]

Compression = Literal["none", "gzip", "lz4", "zstd"]
COMPRESSIONS: tuple[Compression, ...] = get_args(Compression)


def filters_of(compression: Compression, *, level: int = 1) -> dict[str, Any]:
    """Arguments of ``create_dataset``; every form but ``none`` has a checksum a block.

    Raises
    ------
    TraceError
        An unknown name.
    MissingDependencyError
        lz4 or zstd without hdf5plugin.
    """
    if compression not in COMPRESSIONS:
        raise TraceError(f"compression is {compression!r}; choose one of {', '.join(COMPRESSIONS)}")
    if compression == "none":
        return {}
    if compression == "gzip":
        filters = {"compression": "gzip", "compression_opts": level}
    else:
        try:
            import hdf5plugin  # type: ignore[import-not-found,unused-ignore]
        except ImportError:
            raise MissingDependencyError(
                f"compression {compression!r} needs hdf5plugin, which is not installed; run: "
                "pip install 'neuromorph[compression]', or choose gzip"
            ) from None
        filters = dict(hdf5plugin.LZ4() if compression == "lz4" else hdf5plugin.Zstd(clevel=level))
    return {**filters, "shuffle": True, "fletcher32": True}
