"""Energy: counts × prices.

The oracle is hand arithmetic and closed forms on price files made here, and
published figures for the presets.  Not compared: the plausibility of a preset
against silicon of its own kind; there is none for ``horowitz45``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from neuromorph.energy import (
    Price,
    Prices,
    load_prices,
)
from neuromorph.events import ACTIONS, Counts, Hardware

HEADER = 'name = "mine"\ndescription = "d"\nnode_nm = 45\nvdd = 0.9\n'


ENTRY = 'unit = "J"\nkind = "simulated"\nsource = "seen"\n'


NO_STATIC = '[free]\nstatic = "left out in this test"\n'


KIB = 8192  # bits


def make(
    tallies: list[dict[str, int]],
    *,
    samples: int = 1,
    ticks: int | None = None,
    tick_s: float = 1e-9,
    cores_used: int = 1,
    memory: tuple[int, int, int] = (64 * KIB, 2 * KIB, 32 * KIB),
    chip: str = "gxnor45",
) -> Counts:
    """Counts with one row a dict (row 0 is the input port), alike in every sample."""
    values = np.zeros((samples, len(tallies), len(ACTIONS)), np.int64)
    for row, tally in enumerate(tallies):
        for action, n in tally.items():
            values[:, row, list(ACTIONS).index(action)] = n
    pairs = [
        sum(t.get(a, 0) for a in ("xnor_event", "graded_event", "skip_act", "skip_weight"))
        for t in tallies
    ]
    return Counts(
        values=values,
        layers=("input", *(f"fc{i}" for i in range(1, len(tallies)))),
        cores=np.arange(-1, len(tallies) - 1),
        pairs=np.array(pairs),
        hardware=Hardware(
            chip=chip,
            dataflow="scatter",
            tick_s=tick_s,
            cores_used=cores_used,
            synapse_memory_bits=memory[0],
            state_memory_bits=memory[1],
            axon_memory_bits=memory[2],
        ),
        ticks=ticks,
    )


def load(tmp_path: Path, text: str, *, header: str = HEADER) -> Prices:
    path = tmp_path / "mine.toml"
    path.write_text(header + text, encoding="utf-8")
    return load_prices(path)


def price(name: str, value: float, **more: object) -> Price:
    """A price of a test: ± a quarter, derived."""
    unit = "J/bit" if name.endswith("_bits") else "J"
    fields = {"low": value / 1.25, "high": value * 1.25, "unit": unit} | more
    return Price(name=name, value=value, kind="derived", source="test", **fields)  # type: ignore[arg-type]


def simple(name: str = "simple", **values: float) -> Prices:
    """Prices of the given actions, static left out."""
    return Prices(
        name=name,
        description="",
        node_nm=45,
        vdd=0.9,
        actions={a: price(a, v) for a, v in values.items()},
        free={"static": "left out"},
    )


def mlp(samples: int = 3, ticks: int | None = None) -> Counts:
    """A made-up two-layer network with every action one gxnor45 chip can count."""
    row = {a: 10 * (i + 1) for i, a in enumerate(ACTIONS) if a != "hop_chip"}
    port = {"spike_out": 7, "packet_out": 7, "hop_x": 9, "hop_y": 2, "hop_local": 7, "token_out": 1}
    return make([port, row, row], samples=samples, ticks=ticks, cores_used=2)
