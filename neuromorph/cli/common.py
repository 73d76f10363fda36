"""What all commands share: options, output, errors, samples."""

from __future__ import annotations

import io
import json
import sys
import textwrap
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from neuromorph.errors import NeuromorphError
from neuromorph.writing import check_ending

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from neuromorph.energy import EnergyReport
    from neuromorph.network import Network
    from neuromorph.simulation import Run
    from neuromorph.workers import Workers

__all__ = [
    "CHIP",
    "NETWORK",
    "PRICES",
    "Group",
    "Picture",
    "as_json",
    "check_outputs",
    "chip_option",
    "data_option",
    "emit",
    "energy_record",
    "goes_on",
    "load_record",
    "paragraph",
    "prices_option",
    "read_npz",
    "run_record",
    "samples_of",
    "workers_of",
    "workers_options",
]

LINE = 100  # columns of printed text
MAX_DATA_BYTES = 1 << 33
STOPPED = 130  # exit code after Ctrl-C, as shells have it

# Called without arguments, a group shows its help; click below 8.2 raises nothing for it.
_HELP: Any = getattr(click.exceptions, "NoArgsIsHelpError", ())


class _Named(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A name, which the tab key completes, or a file."""

    name = "text"

    def __init__(self, names: Callable[[], Iterable[str]]) -> None:
        self.names = names

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Names that begin so; without any, the files the shell finds (for bash it comes first)."""
        found = [CompletionItem(n) for n in self.names() if n.startswith(incomplete)]
        return [CompletionItem(incomplete, type="file"), *found]


def _networks() -> Iterable[str]:
    from neuromorph.network import list_networks

    return list_networks()


def _chips() -> Iterable[str]:
    from neuromorph.chip import list_chips

    return list_chips()


def _prices() -> Iterable[str]:
    from neuromorph.energy import list_prices

    return list_prices()


NETWORK, CHIP, PRICES = _Named(_networks), _Named(_chips), _Named(_prices)

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
chip_option = click.option(
    "--chip", type=CHIP, default="gxnor45", show_default=True, help="Preset or TOML file."
)
prices_option = click.option(
    "--prices",
    type=PRICES,
    default="horowitz45",
    show_default=True,
    help="Price file: preset or TOML file.",
)
data_option = click.option(
    "--data",
    metavar="NAME|FOLDER|FILE",
    help="Data set by name (such as mnist), the folder data sets lie in, or an .npz file with "
    "images and labels. Left out: the network's own data set, looked for in NEUROMORPH_DATA.",
)


def workers_options(jobs: str) -> Callable[[Any], Any]:
    """``--jobs`` and ``--cluster``; ``jobs`` says what the processes do, and the default."""

    def add(command: Any) -> Any:
        command = click.option(
            "--cluster",
            metavar="ADDRESS",
            help="Dask scheduler whose workers do it instead (extra cluster).",
        )(command)
        return click.option("--jobs", type=click.IntRange(min=1), help=jobs)(command)

    return add


class Picture(click.Path):
    """A picture to write; another ending than those it can have is refused at once."""

    def __init__(self, *endings: str) -> None:
        super().__init__(path_type=Path, dir_okay=False)
        self.endings = endings

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path."""
        check_ending(value, self.endings, NeuromorphError)
        return super().convert(value, param, ctx)


class Group(click.Group):
    """A group whose commands end with one sentence and exit code 2 on bad input."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command; a terminal that lacks a sign of ours gets ``?`` for it."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
        return super().main(*args, **kwargs)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Read the arguments."""
        with _one_sentence():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        with _one_sentence():
            return super().invoke(ctx)


@contextmanager
def goes_on(folder: Path) -> Iterator[None]:
    """Around what Ctrl-C may stop and the same command takes up again."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(
            f"stopped: what was finished is kept in {folder}, and the same command goes on from it",
            err=True,
        )
        sys.exit(STOPPED)


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Bad arguments, errors of ours and of the file system: one line and exit code 2."""
    try:
        yield
        return
    except _HELP:
        raise
    except click.UsageError as error:
        message = error.format_message().rstrip(".?")
        if error.ctx is not None:
            message += f"; see {error.ctx.command_path} --help"
    except NeuromorphError as error:
        message = str(error)
    except BrokenPipeError:
        raise
    except OSError as error:
        name = f" {error.filename}" if error.filename else ""
        message = f"cannot use{name}: {error.strerror or error}"
    except MemoryError:
        message = "out of memory; run fewer samples at a time (--samples)"
    except KeyboardInterrupt:
        click.echo("stopped", err=True)
        sys.exit(STOPPED)
    click.echo(f"error: {' '.join(message.split())}", err=True)
    sys.exit(2)


def check_outputs(outputs: Sequence[Path | None], inputs: Sequence[str | Path | None]) -> None:
    """Refuse to write one output over another, or over what the command reads."""
    from neuromorph.errors import NeuromorphError

    taken = {Path(p).resolve() for p in inputs if p is not None and Path(p).is_file()}
    for output in outputs:
        if output is None:
            continue
        place = output.resolve()
        if place in taken:
            raise NeuromorphError(
                f"{output} is read or written by this command already; choose another name"
            )
        taken.add(place)


def emit(as_json: bool, record: dict[str, Any], text: str) -> None:
    """Print the record as JSON, or the text."""
    click.echo(json.dumps(record, indent=2, allow_nan=False) if as_json else text)


def paragraph(text: str, *, indent: str = "  ") -> str:
    """Text with its long lines wrapped; tables are left as they are."""
    return "\n".join(
        textwrap.fill(line, LINE, subsequent_indent=indent, break_long_words=False)
        if len(line) > LINE and "  " not in line.strip()
        else line
        for line in text.split("\n")
    )


def workers_of(jobs: int | None, cluster: str | None, *, default: int | None = 1) -> Workers:
    """Who does the work: ``default`` processes where nothing is said."""
    from neuromorph.workers import Workers

    return Workers(jobs=default if jobs is None and cluster is None else jobs, cluster=cluster)


# --- samples


def samples_of(
    network: Network, data: str | None, limit: int | None
) -> tuple[NDArray[np.integer[Any]], NDArray[np.integer[Any]] | None, str]:
    """Samples for a network: (images, labels or None, where they come from)."""
    from neuromorph.data import DATA_NAMES, load_data
    from neuromorph.errors import RecipeError

    own = network.meta.get("data")
    name = own if data is None else data
    folder: str | None = None
    if data is not None and data not in DATA_NAMES:
        path = Path(data)
        if path.is_file():
            images, labels = read_npz(path)
            return *_fitted(network, images, labels, limit), data
        if not path.is_dir():
            raise RecipeError(
                f"no data set, folder or file {data!r}; known data sets are {', '.join(DATA_NAMES)}"
            )
        name, folder = own, data
    if name is None:
        raise RecipeError(
            f"network {network.name!r} names no data set of its own; give --data NAME or FILE"
        )
    dataset = load_data(str(name), folder)
    fitted = _fitted(network, dataset.test_images, dataset.test_labels, limit)
    return *fitted, f"test images of {dataset.name}"


def read_npz(path: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Arrays ``images`` and, if there, ``labels``; nothing in the file is executed."""
    import numpy as np

    from neuromorph.errors import RecipeError
    from neuromorph.events import plural

    need = "give an .npz file with an integer array 'images' and, if known, 'labels'"
    if not zipfile.is_zipfile(path):
        raise RecipeError(f"{path} is not an .npz file; {need}")
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_DATA_BYTES:
            raise RecipeError(f"{path} unpacks to {size} bytes; at most {MAX_DATA_BYTES} are read")
        with np.load(path, allow_pickle=False) as file:
            if "images" not in file:
                found = ", ".join(file.files) or "nothing"
                raise RecipeError(f"{path} holds {found}, but no array 'images'; {need}")
            images = file["images"]
            labels = file.get("labels", None)
    except (RecipeError, MemoryError):
        raise
    except Exception as error:  # zipfile and NumPy raise many types on damaged files
        raise RecipeError(f"{path} cannot be read: {error}; {need}") from None
    for what, array in (("images", images), ("labels", labels)):
        if array is not None and (not isinstance(array, np.ndarray) or array.ndim == 0):
            raise RecipeError(f"{path}: {what!r} is not an array; {need}")
    if labels is not None and len(labels) != len(images):
        raise RecipeError(
            f"{path} holds {plural(len(images), 'image')} but {plural(len(labels), 'label')}"
        )
    return images, labels


def _fitted(network: Network, images: Any, labels: Any, limit: int | None) -> tuple[Any, Any]:
    """The first samples, in the shape the network takes if only the writing of it differs.

    A network of vectors takes images flat; a network of images takes them with
    axes of length one left out or put in, or flat.
    """
    images = images[:limit]
    labels = None if labels is None else labels[:limit]
    wanted, given = network.input.shape, images.shape[1:]
    same = [n for n in wanted if n != 1] == [n for n in given if n != 1]
    size = 1
    for side in given:
        size *= side
    if size == network.input.size and (same or len(wanted) == 1 or len(given) == 1):
        images = images.reshape(len(images), *wanted)
    return images, labels


# --- records


def energy_record(report: EnergyReport) -> dict[str, Any]:
    """``energy_j`` (null where refused, with the reason) and the dynamic part."""
    whole = report.to_dict()
    keys = ("p10", "p50", "p90")

    def short(part: Any) -> dict[str, float] | None:
        return None if part is None else {key: part[key] for key in keys}

    record: dict[str, Any] = {"energy_j": short(whole["total"])}
    if whole["total"] is None:
        record["energy_dynamic_j"] = short(whole["dynamic"])
        record["energy_refused"] = whole["refused"]
    return record


def load_record(run: Run) -> dict[str, Any] | None:
    """The busiest core and link and the longest queue of a timed run; shares of its ticks."""
    timing, mapping, ticks = run.timing, run.mapping, run.counts.ticks
    if timing is None or not ticks:
        return None
    busy, queued = int(timing.busy[1:].argmax()) + 1, int(timing.longest_queue.argmax())
    x, y, side = timing.busiest_link
    return {
        "busiest_core": int(mapping.row_cores[busy]),
        "busiest_layer": mapping.row_layers[busy],
        "core_busy": int(timing.busy[busy]) / ticks,
        "core_blocked": int(timing.blocked.max()) / ticks,
        "busiest_link": f"{x},{y} {side}",
        "link_busy": int(timing.link_busy.max()) / ticks,
        "link_waited_ticks": int(timing.link_waited.sum()),
        "longest_queue": int(timing.longest_queue[queued]),
        "longest_queue_core": int(mapping.row_cores[queued]),
    }


def run_record(run: Run, labels: Any, report: EnergyReport) -> dict[str, Any]:
    """The JSON record of ``demo`` and ``run``."""
    counts, mapping = run.counts, run.mapping
    return {
        "network": mapping.network.name,
        "chip": mapping.chip.name,
        "chips": mapping.chip.chips,
        "mode": run.mode,
        "encoding": mapping.network.input.encoding,
        "samples": len(run),
        "accuracy": None if labels is None else run.accuracy(labels),
        **({} if labels is None or not run.mapping.network.pixels else {"dice": run.dice(labels)}),
        "latency_s": run.latency_s,
        "interval_s": run.interval_s,
        "load": load_record(run),
        "events_per_inference": counts.events / len(run),
        "xnor_events_per_inference": counts.per_inference("xnor_event"),
        "resting_fraction": counts.resting_fraction,
        "prices": report.prices,
        "notes": list(report.notes),
        **energy_record(report),
        "trace": run.trace,
    }
