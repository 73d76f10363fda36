"""The mesh under load against SANA-FE's cycle-accurate mode (BookSim 2), pattern by pattern.

    pip install sanafe
    python verification/noc.py [--messages 64]

SANA-FE gives the time until the last message of a step is served; its routers take
four cycles of 1 ns a hop and a flit a cycle, whatever the hop times of its chip file.
Ours: packets leave each tile one after the other, ``route`` moves them, and every tile
serves them in order of arrival.  What single packets take sets the hop and the core
times; nothing is fitted to the patterns.  Prints a table; exit 1 if a pattern is off by
more than 20 %.
"""

import argparse
import os
import sys
import tempfile
from dataclasses import replace

import numpy as np

import neuromorph as nm
from neuromorph.kernels.traffic import route

COLUMNS, ROWS = 8, 4
TILES = [(x, y) for x in range(COLUMNS) for y in range(ROWS)]  # as SANA-FE counts them
MOST = 0.2

# nanoseconds a sender takes for a message, a receiver to serve it
COSTS = {"links bound": (1, 0), "costs of Loihi": (5.1, 19.8)}


def unit(name, **facts):
    """One unit of SANA-FE's chip file, in YAML."""
    return f"{{name: '{name}', attributes: {{{', '.join(f'{k}: {v}' for k, v in facts.items())}}}}}"


def chip_file(sends, serves):
    """A mesh of tiles of one core, on which nothing but messages takes time."""
    acts = ("access_neuron", "update_neuron", "spike_out")
    free = {f"{what}_{act}": 0.0 for what in ("energy", "latency") for act in acts}
    sides = ("north", "east", "south", "west")
    hops = {f"energy_{side}_hop": 0.0 for side in sides}
    hops |= {f"latency_{side}_hop": "4.0e-9" for side in sides}
    tile = ", ".join(f"{k}: {v}" for k, v in hops.items())
    somas = [unit("cell", model="leaky_integrate_fire", **free)]
    somas.append(unit("source[0..1023]", model="input", **free))
    served = {"energy_process_spike": 0.0, "latency_process_spike": f"{serves}e-9"}
    return f"""
architecture:
  name: mesh
  attributes:
    {{topology: mesh, width: {COLUMNS}, height: {ROWS}, link_buffer_size: 16,
      sync_model: fixed, latency_sync: 0.0}}
  tile:
    - name: tile[0..{len(TILES) - 1}]
      attributes: {{{tile}}}
      core:
        - name: core
          attributes: {{buffer_position: soma, buffer_inside_unit: false,
                        max_neurons_supported: 8192}}
          axon_in: [{unit("in", energy_message_in=0.0, latency_message_in=0.0)}]
          synapse: [{unit("synapse", model="current_based", **served)}]
          dendrite: [{unit("dendrite", model="accumulator", energy_update=0.0, latency_update=0.0)}]
          soma: [{", ".join(somas)}]
          axon_out:
            [{unit("out", energy_message_out=0.0, latency_message_out=f"{sends}e-9")}]
"""


def theirs(pairs, sends, serves):
    """Nanoseconds of one step by (simple, detailed, cycle-accurate) model."""
    import sanafe

    with tempfile.NamedTemporaryFile("w", suffix=".yaml", delete=False) as file:
        file.write(chip_file(sends, serves))
    found = []
    for model in ("simple", "detailed", "cycle"):
        chip = sanafe.load_arch(file.name)
        cores, net = chip.cores(), sanafe.Network()
        goals = {goal: i for i, goal in enumerate(sorted({goal for _, goal in pairs}))}
        sources = net.create_neuron_group("sources", len(pairs))
        cells = net.create_neuron_group(
            "cells", len(goals), model_attributes={"threshold": 1e9}, soma_hw_name="cell"
        )
        used = [0] * len(TILES)
        for neuron, (source, _) in zip(sources, pairs):
            neuron.set_attributes(
                soma_hw_name=f"source[{used[source]}]", model_attributes={"spikes": [True]}
            )
            used[source] += 1
        ways = [(i, goals[goal]) for i, (_, goal) in enumerate(pairs)]
        sources.connect_neurons_sparse(cells, {"weight": [1.0] * len(pairs)}, ways)
        for neuron, (source, _) in zip(sources, pairs):
            neuron.map_to_core(cores[source])
        for neuron, goal in zip(cells, goals):
            neuron.map_to_core(cores[goal])
        run = sanafe.SpikingChip(chip)
        run.load(net)
        found.append(run.sim(1, timing_model=model)["sim_time"] * 1e9)
    os.unlink(file.name)
    return found


def ours(pairs, sends, serves):
    """Ticks of 1 ns until the last packet is served."""
    chip = replace(
        nm.load_chip("gxnor45"),
        columns=COLUMNS,
        rows=ROWS,
        hop_x_ticks=4,
        hop_y_ticks=4,
        hop_local_ticks=5,
        link_ticks=1,
    )
    sends, serves = round(sends), max(1, round(serves))  # the cycle-accurate mode rounds too
    sent, ticks = [0] * len(TILES), []
    for source, _ in pairs:
        sent[source] += 1
        ticks.append(sent[source] * sends)
    order = np.argsort(ticks, kind="stable")
    x, y = np.divmod(np.array(pairs), ROWS)
    tiles = (y * COLUMNS + x)[order]
    delivered, _ = route(chip, np.array(ticks)[order], tiles)
    free = np.zeros(len(TILES), np.int64)
    for packet in np.argsort(delivered, kind="stable"):
        goal = tiles[packet, 1]
        free[goal] = max(free[goal], delivered[packet]) + serves
    return int(free.max())


def patterns(messages):
    """Messages as (source, goal), in the order in which each source sends them."""
    rng = np.random.default_rng(0)

    def tile(x, y):
        return x * ROWS + y

    every = [(tile(x, y), x, y) for x, y in TILES]
    left, right = every[: len(TILES) // 2], every[len(TILES) // 2 :]
    found = {
        "to the next column": [(s, tile((x + 1) % COLUMNS, y)) for s, x, y in every] * messages,
        "through the centre": [
            (s, tile(COLUMNS - 1 - x, ROWS - 1 - y)) for s, x, y in every
        ] * messages,
        "uniform random": [
            (s, int(rng.integers(len(TILES)))) for _ in range(messages) for s, _, _ in every
        ],
        "layer to layer": [(s, g) for g, _, _ in right for s, _, _ in left]
        * max(1, messages // len(right)),
        "hot spot": [(s, tile(4, 2)) for s, _, _ in every] * messages,
    }  # fmt: skip
    return {name: [(s, g) for s, g in pairs if s != g] for name, pairs in found.items()}


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    p.add_argument("--messages", type=int, default=64, help="from each tile")
    messages = p.parse_args().messages
    print(f"{'pattern':36}{'messages':>9}{'cycle ns':>9}{'ours':>13}{'detailed':>9}{'simple':>8}")
    worst = 0.0
    for name, pairs in patterns(messages).items():
        for label, (sends, serves) in COSTS.items():
            simple, detailed, cycle = theirs(pairs, sends, serves)
            found = ours(pairs, sends, serves)
            off = [f"{time / cycle - 1:+.0%}" for time in (found, detailed, simple)]
            worst = max(worst, abs(found / cycle - 1))
            print(
                f"{name:20}{label:16}{len(pairs):9,}{cycle:9,.0f}{found:8,d}{off[0]:>5}"
                f"{off[1]:>9}{off[2]:>8}",
                flush=True,
            )
    print(f"{'ok  ' if worst <= MOST else 'FAIL'} every pattern within {MOST:.0%}: {worst:.0%}")
    sys.exit(worst > MOST)


if __name__ == "__main__":
    main()
