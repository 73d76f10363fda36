"""One whole section of 1024 × 1024 pixels through the small U-Nets and their float twin.

    python benchmarks/section.py [--section 16] [--picture docs/related-unet.png] [--json]

The integer networks run in the count mode, in overlapping windows that give
what the whole section gives (checked here by running it whole, too); the float
twin in torch, whole; all in this process, on one thread.  Reported are CPU
seconds from grey values to classes (the count mode also counts every synaptic
event and packet), Dice and accuracy on the section, the mean Dice of the four
test sections, and the bytes of the weights as they are packed in the file
beside those of float32.

Needs the data set sstem-vnc and torch.  INT8 is left out: in the count mode its
weights of 8 bits meet levels of 8 bits plane by plane, which takes far longer.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from common import machine, parser, print_machine, report, rounds, table, timed, torch_or_none

import neuromorph as nm
from neuromorph.compare.activity import accumulator_bits
from neuromorph.data import load_sections
from neuromorph.errors import NeuromorphError
from neuromorph.kernels import counting
from neuromorph.network import find_network
from neuromorph.network.tiling import resized, tile
from neuromorph.packing import packed_size

ROWS = ("ternary", "gxnor", "binary")
WINDOW = 168
ROOM = 1 << 30
TEST = range(16, 20)


def roomy(network: nm.Network) -> nm.Mapping:
    """On cores that hold a whole layer each: nothing is split, so nothing is done twice."""
    chip = dataclasses.replace(
        nm.load_chip("gxnor45"),
        accumulator_bits=max(16, accumulator_bits(network)),
        neurons=ROOM,
        synapse_bits=ROOM,
        axons_in=ROOM,
        axons_out=ROOM,
    )
    return nm.map_network(network, chip)


def runner(network: nm.Network) -> Any:
    """(images, ...) to classes, of a network mapped once."""
    mapping = roomy(network)

    def run(images: np.ndarray) -> np.ndarray:
        tally = counting.count(mapping, network.encode(images), threads=1)
        return network.predict(tally.outputs)

    return run


def float_twin(torch: Any) -> Any:
    """The float network that sstem-unet-int8 was quantised from, in torch."""
    from safetensors.torch import load_file

    from neuromorph.data import load_data
    from neuromorph.training import load_recipe
    from neuromorph.training.models import build_model

    model = build_model(load_recipe("sstem-unet-int8"), load_data("sstem-vnc"), seed=1)
    model.load_state_dict(load_file(find_network("sstem-unet-int8").parent / "float.safetensors"))
    model.eval()

    def run(images: np.ndarray) -> np.ndarray:
        found: np.ndarray = model(torch.from_numpy(images)).argmax(dim=1).numpy()
        return found

    return run


def dice(found: np.ndarray, wanted: np.ndarray) -> float:
    """2·|A ∩ B| / (|A| + |B|) of the pixels of class 1."""
    both = int(((found == 1) & (wanted == 1)).sum())
    return 2 * both / (int((found == 1).sum()) + int((wanted == 1).sum()))


def weight_bytes(network: nm.Network) -> tuple[int, int, int]:
    """Bytes of the packed weights, of thresholds and directions, and of float32 weights."""
    packed = sum(packed_size(s.weights.size, s.weight_levels.n) for s in network.stages)
    other = sum(
        s.thresholds.size * 4 + s.directions.size for s in network.stages if s.levels is not None
    )
    return packed, other, 4 * network.weight_count


def draw(path: Path, image: np.ndarray, labels: np.ndarray, found: dict[str, np.ndarray]) -> None:
    """Section, truth and predictions, a quarter of the section for the eye."""
    from neuromorph.canvas import blank_figure, save_png

    cut = np.s_[256:768, 256:768]
    figure = blank_figure(10.2, 7.2)
    axes = figure.subplots(2, 3).ravel()
    axes[0].imshow(image[cut], cmap="gray", vmin=0, vmax=255)
    axes[0].set_title("section, 512 × 512 of 1024 × 1024", fontsize=9)
    axes[1].imshow(1 - labels[cut], cmap="gray", vmin=0, vmax=1)
    axes[1].set_title("membranes as labelled (black)", fontsize=9)
    colours = np.array([[255, 255, 255], [86, 180, 233], [213, 94, 0], [0, 0, 0]], np.uint8)
    for panel, (name, classes) in zip(axes[2:], found.items()):
        panel.imshow(colours[classes[cut] + 2 * labels[cut]])
        panel.set_title(f"{name}: Dice {dice(classes, labels):.3f}", fontsize=9)
    for panel in axes:
        panel.set_axis_off()
    figure.suptitle(
        "black: membrane found, orange: missed, blue: none there. Data: Gerhard, Funke, Martel, "
        "Cardona, Fetter, figshare 856713",
        fontsize=8,
    )
    save_png(figure, path, NeuromorphError, dpi=90)
    print(f"written {path}")


def main() -> None:
    p = parser(__doc__ or "")
    p.add_argument("--section", type=int, default=16, help="16 to 19 are the test sections")
    p.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS, help="of the networks")
    p.add_argument("--picture", type=Path, help="PNG of section, truth and predictions")
    arguments = p.parse_args()
    torch = torch_or_none()
    if torch is None:
        p.error("torch is not installed")
    images, labels = load_sections()
    image, wanted = images[arguments.section], labels[arguments.section]
    facts = machine()
    if not arguments.json:
        print_machine(facts)
    runs: dict[str, Any] = {}
    memory = {}
    twin = float_twin(torch)
    runs["float"] = lambda section: twin(section[None])[0]
    for row in arguments.rows:
        network = nm.load_network(f"sstem-unet-{row}")
        memory[row] = weight_bytes(network)
        memory["float"] = memory[row][2], 0, memory[row][2]
        tiling = tile(network, wanted.shape, window=WINDOW)
        run = runner(resized(network, (WINDOW, WINDOW)))

        def work(section: np.ndarray, run: Any = run, tiling: Any = tiling) -> np.ndarray:
            return tiling.join(run(tiling.cut(section[None])))[0]

        runs[row] = work
        whole = runner(resized(network, wanted.shape))(image[None])[0]
        if not np.array_equal(work(image), whole):
            p.exit(1, f"{row}: windows and the whole section differ\n")
    clocks = {row: timed(lambda work=work: work(image)) for row, work in runs.items()}
    seconds = rounds(clocks, arguments.rounds)
    found = {row: work(image) for row, work in runs.items()}
    lines, result = [], {}
    for row, classes in found.items():
        packed, other, floats = memory[row]
        result[row] = {
            "dice": dice(classes, wanted),
            "accuracy": float((classes == wanted).mean()),
            "dice_test": float(np.mean([dice(runs[row](images[i]), labels[i]) for i in TEST])),
            "cpu_s": seconds[row],
            "times_float": seconds[row] / seconds["float"],
            "weight_bytes": packed,
            "threshold_bytes": other,
            "float32_bytes": floats,
        }
        lines.append(
            [
                row,
                f"{result[row]['dice_test']:.4f}",
                f"{result[row]['dice']:.4f}",
                f"{result[row]['accuracy']:.2%}",
                f"{seconds[row]:.2f}",
                f"{seconds[row] / seconds['float']:.2f}",
                f"{packed:,}",
                f"{floats / packed:.1f}",
                f"{other:,}",
                f"{floats / (packed + other):.1f}",
            ]
        )
    header = [
        "row",
        "Dice 16 … 19",
        f"Dice {arguments.section}",
        "pixels right",
        "CPU s",
        "× float",
        "weights, bytes",
        "below float32",
    ]
    header += ["thresholds, bytes", "with them"]
    if not arguments.json:
        print(table(header, lines))
        print("\nwindows and whole section: the same classes in every pixel of every row")
    if arguments.picture is not None:
        draw(arguments.picture, image[1], wanted, found)
    report(arguments, {"machine": facts, "section": arguments.section, "rows": result})


if __name__ == "__main__":
    main()
