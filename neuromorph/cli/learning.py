"""``learn``: scenarios of learning on a chip."""

from __future__ import annotations

from pathlib import Path

import click

from neuromorph.cli.common import (
    Picture,
    as_json,
    check_outputs,
    chip_option,
    emit,
    paragraph,
    prices_option,
    workers_of,
    workers_options,
)

__all__ = ["learn_command"]


@click.command("learn")
@click.argument("scenario")
@click.option(
    "--data",
    metavar="NAME|FOLDER",
    help="mnist or digits, or the folder MNIST lies in; default: MNIST where it is found, "
    "else digits.",
)
@click.option("--states", type=click.IntRange(3, 255), help="States of a synapse, odd.")
@click.option("--hidden", metavar="N,N,…", help="Neurons of the hidden layers.")
@click.option(
    "--filters",
    type=click.IntRange(1, 256),
    help="Fixed random filters, 5 × 5 and pooled, in front of the hidden layers.",
)
@click.option("--error", metavar="PATH", help="Way of the errors: bp, sign, dfa, drtp, readout, …")
@click.option("--samples", type=click.IntRange(min=1), help="Different images of the stream.")
@click.option("--passes", type=click.IntRange(min=1), help="How often it shows each.")
@click.option("--seeds", type=click.IntRange(min=1), help="How many seeds.")
@workers_options("Seeds learned side by side, a process each; default 1.")
@chip_option
@prices_option
@click.option("--picture", type=Picture(".png"), help="Draw the curves as PNG.")
@click.option(
    "--save",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the learned network, an ordinary network file (online-scratch; the last seed).",
)
@click.option(
    "--trace",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Record every transition to HDF5, a learning record (online-scratch; the last seed).",
)
@as_json
def learn_command(
    scenario: str,
    data: str | None,
    states: int | None,
    hidden: str | None,
    filters: int | None,
    error: str | None,
    samples: int | None,
    passes: int | None,
    seeds: int | None,
    jobs: int | None,
    cluster: str | None,
    chip: str,
    prices: str,
    picture: Path | None,
    save: Path | None,
    trace: Path | None,
    as_json: bool,
) -> None:
    """Learn on the chip, by SCENARIO.

    \b
    online-scratch     random synapses learn from every sample once, batch 1
    feedback-paths     the same stream with every way of the errors
    drift              a trained network whose images turn, move, are inverted
    faults             a trained network whose neurons, core or synapses break
    class-incremental  ten classes, two at a time, with and without replay
    few-shot           two new classes from a few samples, beside prototypes
    endurance          writes of synapses, and how long a memory would last
    """
    from neuromorph.data import DATA_NAMES
    from neuromorph.learning.scenarios import Settings, draw, run_scenario
    from neuromorph.network import save_network

    check_outputs([picture, save, trace], [data])
    folder = None
    if data is not None and data not in DATA_NAMES and Path(data).is_dir():
        data, folder = "mnist", data
    result = run_scenario(
        scenario,
        Settings(
            data=data,
            folder=folder,
            states=states,
            hidden=None if hidden is None else _numbers(hidden),
            filters=filters,
            error=error,  # type: ignore[arg-type]  # the rule checks it
            samples=samples,
            passes=passes,
            seeds=seeds,
            trace=trace,
            chip=chip,
            prices=prices,
            workers=workers_of(jobs, cluster),
        ),
    )
    record, text = dict(result.record), str(result)
    if save is not None:
        if result.network is None:
            raise click.UsageError(f"scenario {scenario} ends with many networks; leave out --save")
        save_network(result.network, save)
        record["network"] = str(save)
        text += f"\n\nnetwork: {save}"
    if trace is not None:
        record["trace"] = str(trace)
        text += f"\n\ntrace: {trace}"
    if picture is not None:
        record["picture"] = str(draw(result, picture))
        text += f"\n\ncurves: {picture}"
    emit(as_json, record, paragraph(text))


def _numbers(text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = (0,)
    if min(numbers) < 1:
        raise click.UsageError(f"--hidden is {text!r}; give numbers of neurons, as in 512,256")
    return numbers
