"""Network files that were forged: none is taken, each has its sentence."""

import re
import struct
from pathlib import Path

import numpy as np
import pytest
from network_file_kit import (
    Forged,
    about,
    both,
    entry,
    forge,
    head,
    layer,
    refused,
    same_arrays,
    sample_network,
    set_attribute,
)

from neuromorph.errors import NetworkError
from neuromorph.network import Requantize, load_network

ROOT = Path(__file__).resolve().parents[2]


FORMAT_PAGE = ROOT / "docs" / "network-format.md"


# --- forging


def test_forging_nothing_gives_the_same_network(tmp_path, sample_bytes):
    path = tmp_path / "n.safetensors"
    path.write_bytes(Forged(sample_bytes).bytes())
    assert same_arrays(load_network(path), sample_network())


def tensor(name, dtype, values):
    return lambda forged: forged.set(name, dtype, values)


def drop(position):
    """Take one layer out, tensors too, and count the others anew."""

    def change(forged):
        del forged.header["layers"][position]
        for name in sorted(forged.tensors, key=lambda n: int(n.split(".")[0])):
            index, key = name.split(".")
            if int(index) >= position:
                value = forged.tensors.pop(name)
                if int(index) > position:
                    forged.tensors[f"{int(index) - 1}.{key}"] = value

    return change


def rounded(**fields):
    """The first threshold of the sample becomes a requantization, right but for ``fields``."""

    def change(forged):
        right = {"kind": "requantize", "n": 2, "shift": 3, "limits": [-1, 2]}
        forged.header["layers"][2] = {**right, **fields}
        del forged.tensors["2.thresholds"]
        forged.set("2.offsets", "I64", [4, -(2**40)])

    return change


def test_a_requantization_in_the_place_of_thresholds_is_read(tmp_path, sample_bytes):
    path = tmp_path / "n.safetensors"
    path.write_bytes(forge(sample_bytes, rounded()))
    (layer,) = (x for x in load_network(path).layers if isinstance(x, Requantize))
    assert (layer.n, layer.shift, layer.limits) == (2, 3, (-1, 2))
    assert layer.offsets.tolist() == [4, -(2**40)]


def only(weights, n, *, fires=False, **settings):
    """A file of one linear layer, read out, or of one that fires before another."""

    def change(forged):
        code = np.asarray(weights) + (1 if n == 0 else 2 ** (n - 1))
        number = sum(int(c) << (i * (n + 1)) for i, c in enumerate(code.ravel()))
        size = (code.size * (n + 1) + 7) // 8
        forged.header["input"] = {
            "shape": [code.shape[1]],
            "encoding": "ternary",
            "bits": 1,
            "thresholds": None,
            **settings,
        }
        linear = {"kind": "linear", "name": "a", "n": n, "shape": list(code.shape)}
        forged.header["layers"] = [linear, {"kind": "readout"}]
        forged.tensors = {}
        if fires:
            after = {"kind": "linear", "name": "b", "n": 1, "shape": [1, 1]}
            forged.header["layers"][1:1] = [{"kind": "threshold", "n": 1}, after]
            forged.set("1.thresholds", "I32", [[0, 1]])
            forged.set("1.directions", "I8", [1])
            forged.set("2.weights", "U8", [2])
        forged.set("0.weights", "U8", list(number.to_bytes(size, "little")))

    return change


def raw_index(text):
    """A container of this index and nothing else."""
    return lambda forged: struct.pack("<Q", len(text)) + text


def layers_1001(forged):
    forged.header["layers"] = [{"kind": "flatten"}] * 1001


def rename(old, new):
    def change(forged):
        forged.tensors[new] = forged.tensors.pop(old)

    return change


def no_tensor(name):
    return lambda forged: forged.tensors.pop(name) and None


def weights_byte(name, place, value):
    def change(forged):
        raw = bytearray(forged.tensors[name][2])
        raw[place] = value
        forged.tensors[name][2] = bytes(raw)

    return change


def cut(first, last):
    """The file from one byte to another."""
    return lambda forged: forged.bytes()[first:last]


# rule of docs/network-format.md: changes that break it, and what is then said
BROKEN = {
    2: [
        (cut(0, 0), r"^file has 0 bytes; a network file is longer$"),
        (cut(0, 7), r"^file has 7 bytes; a network file is longer$"),
        (cut(0, 8), r"^this is not a safetensors file, or it is truncated$"),
        (cut(0, 100), r"^this is not a safetensors file, or it is truncated$"),
        (
            lambda f: struct.pack("<Q", 2**64 - 1) + bytes(100),
            r"^this is not a safetensors file, or it is truncated$",
        ),
    ],
    3: [
        (
            set_attribute(padding=2**20),
            r"^the file's header has \d{7} bytes; at most 1048576 are read$",
        ),
    ],
    4: [
        (cut(0, -1), r"^this is not a whole safetensors file: "),
        (set_attribute(tail=b"x"), r"^this is not a whole safetensors file: "),
        (raw_index(b""), r"^this is not a whole safetensors file: "),
        (raw_index(b"[]"), r"^this is not a whole safetensors file: "),
        (raw_index(b"{"), r"^this is not a whole safetensors file: "),
        (raw_index(b'{"\xff": 1}'), r"^this is not a whole safetensors file: "),
        (raw_index(b'{"a":' * 50_000), r"^this is not a whole safetensors file: "),
        (raw_index(b'{"__metadata__": {"format": 1}}'), r"^this is not a whole safetensors file: "),
        (raw_index(b'{"__metadata__": 1}'), r"^this is not a whole safetensors file: "),
        (raw_index(b'{"a": 1}'), r"^this is not a whole safetensors file: "),
        *(
            (
                set_attribute(index={"x": {"dtype": "U8", "shape": shape, "data_offsets": at}}),
                r"^this is not a whole safetensors file: ",
            )
            for shape, at in [
                ([1], [0, 1]),  # on top of others
                ([1], [10**6, 10**6 + 1]),  # beyond the end
                ([-1], [0, 0]),
                ([2**62, 2**62], [0, 0]),
                ([2], [0, 2**63]),
                ([2], [1, 0]),
            ]
        ),
    ],
    5: [
        (
            tensor("x" * 33, "U8", [0]),
            r"^a tensor's name has 33 characters; no network has that$",
        ),
        (tensor("7.scale", "F16", [1, 1]), r"^tensor '7\.scale' has dtype F16, which no"),
        (tensor("7.scale", "F32", []), r"^tensor '7\.scale' is empty or has more than two axes$"),
        (tensor("7.scale", "F32", [[[1, 1]]]), r"^tensor '7\.scale' is empty or has more"),
        (tensor("7.scale", "F32", np.zeros([1] * 63)), r"^tensor '7\.scale' is empty or has"),
        (
            lambda f: f.tensors.update({"7.scale": ["F32", [0, 2**63], b""]}),
            r"^tensor '7\.scale' is empty or has more than two axes$",
        ),
        (
            lambda f: f.tensors.update({"7.scale": ["F32", [1] * 200, bytes(4)]}),
            r"^tensor '7\.scale' is empty or has more than two axes$",
        ),
    ],
    6: [
        (about(format="neuromorph-trace"), r"^this is not a neuromorph-network file$"),
        (about(format=None), r"^this is not a neuromorph-network file$"),
        (raw_index(b"{}"), r"^this is not a neuromorph-network file$"),
    ],
    7: [
        (
            about(version=version),
            rf"^format version is {re.escape(repr(version))}; this program reads 1\.<number>$",
        )
        for version in ["2.0", "0.9", "10.0", "1", "1.", "1.x", "1.0.1", " 1.0", "1.0\n", "١.0", ""]
    ]
    + [
        (about(version=None), r"^format version is ''; this program reads 1\.<number>$"),
        (about(version="9" * 10_000), r"^format version is '9{20}'; this program reads"),
    ],
    8: [
        (
            about(sha256=None),
            r"^metadata must hold format, version, network, sha256, nothing else$",
        ),
        (
            about(author="me"),
            r"^metadata must hold format, version, network, sha256, nothing else$",
        ),
    ],
    9: [
        (about(sha256="0" * 64), r"^content does not match its SHA-256; the file is damaged$"),
        (about(sha256=""), r"^content does not match its SHA-256; the file is damaged$"),
    ],
    10: [
        (set_attribute(text="{"), r"^header is malformed: "),
        (set_attribute(text=""), r"^header is malformed: "),
        (set_attribute(text="[]"), r"^header is malformed: .*`object`.*`array`"),
        (set_attribute(text="[" * 100_000), r"^header is malformed: "),
        (head(extra=1), r"^header is malformed: .*unknown field `extra`"),
        (lambda f: f.header.pop("meta") and None, r"^header is malformed: .*missing.*`meta`"),
        (head(meta=[]), r"^header is malformed: Expected `object`.*\$\.meta"),
        (head(name=5), r"^header is malformed: Expected `str`.*\$\.name"),
        (head(layers=[]), r"^header is malformed: .*\$\.layers"),
        (layers_1001, r"^header is malformed: .*1000.*\$\.layers"),
        (entry(bits=0), r"^header is malformed: .*\$\.input\.bits"),
        (entry(bits=13), r"^header is malformed: .*\$\.input\.bits"),
        (entry(bits=1.0), r"^header is malformed: .*\$\.input\.bits"),
        (entry(bits="1"), r"^header is malformed: .*\$\.input\.bits"),
        (entry(encoding="spikes"), r"^header is malformed: .*'spikes'.*\$\.input\.encoding"),
        (entry(shape=[0, 5, 5]), r"^header is malformed: .*\$\.input\.shape"),
        (entry(shape=[1, 5, 2**24 + 1]), r"^header is malformed: .*\$\.input\.shape"),
        (entry(shape=[]), r"^header is malformed: .*\$\.input\.shape"),
        (entry(shape=[1, 1, 5, 5]), r"^header is malformed: .*\$\.input\.shape"),
        (entry(thresholds=[0, 2**31]), r"^header is malformed: .*\$\.input\.thresholds"),
        (entry(thresholds=[0]), r"^header is malformed: .*\$\.input\.thresholds"),
        (layer(0, n=17), r"^header is malformed: .*\$\.layers\[0\]\.n"),
        (layer(0, n=-1), r"^header is malformed: .*\$\.layers\[0\]\.n"),
        (layer(0, n=True), r"^header is malformed: .*\$\.layers\[0\]\.n"),
        (layer(0, n=None), r"^header is malformed: .*missing.*`n`"),
        (layer(0, kind="conv3d"), r"^header is malformed: .*'conv3d'"),
        (layer(0, kind=None), r"^header is malformed: .*missing.*`kind`"),
        (layer(0, bias=0), r"^header is malformed: .*unknown field `bias`"),
        (layer(0, shape=[2, 1, 2]), r"^header is malformed: .*\$\.layers\[0\]\.shape"),
        (layer(0, shape=[2, 1, 2, 0]), r"^header is malformed: .*\$\.layers\[0\]\.shape"),
        (layer(0, stride=[1, 2**16 + 1]), r"^header is malformed: .*\$\.layers\[0\]\.stride"),
        (layer(0, padding=[1, -1]), r"^header is malformed: .*\$\.layers\[0\]\.padding"),
        (layer(0, name=""), r"^header is malformed: .*\$\.layers\[0\]\.name"),
        (layer(1, size=2), r"^header is malformed: .*\$\.layers\[1\]\.size"),
    ],
    11: [
        (
            layer(4, shape=[2**15 + 1, 2**15]),
            r"^layer 'hidden' has more than 1073741824 weights$",
        ),
        (layer(4, shape=[2**24, 2**24]), r"^layer 'hidden' has more than 1073741824 weights$"),
        (layer(0, shape=[2**24] * 4), r"^layer 'conv' has more than 1073741824 weights$"),
    ],
    12: [
        *(
            (no_tensor(name), rf"^tensor '{re.escape(name)}' is missing$")
            for name in ("0.weights", "2.thresholds", "2.directions")
        ),
        (tensor("0.weights", "I8", [0, 0]), r"^tensor '0\.weights' is I8; it must be U8$"),
        (
            tensor("2.thresholds", "F32", np.zeros((2, 4))),
            r"^tensor '2\.thresholds' is F32; it must be I32$",
        ),
        (
            tensor("2.thresholds", "I64", np.zeros((2, 4))),
            r"^tensor '2\.thresholds' is I64; it must be I32$",
        ),
        (tensor("2.directions", "U8", [1, 1]), r"^tensor '2\.directions' is U8; it must be I8$"),
        (tensor("7.scale", "I32", [1, 1]), r"^tensor '7\.scale' is I32; it must be F32$"),
        (tensor("7.bias", "F32", [1, 1]), r"^tensor '7\.bias' belongs to no layer$"),
        (tensor("0.scale", "F32", [1, 1]), r"^tensor '0\.scale' belongs to no layer$"),
        (tensor("07.scale", "F32", [1, 1]), r"^tensor '07\.scale' belongs to no layer$"),
        (tensor("weights", "U8", [1]), r"^tensor 'weights' belongs to no layer$"),
        (tensor("", "U8", [1]), r"^tensor '' belongs to no layer$"),
    ],
    13: [
        (
            tensor("0.weights", "U8", [0]),
            r"^layer 'conv': packed levels are uint8 of shape \[1\]; 8 levels of Z_1 take 2 bytes$",
        ),
        (
            tensor("0.weights", "U8", [[0, 0]]),
            r"^layer 'conv': packed levels are uint8 of shape \[1, 2\]; 8 levels of Z_1 take 2",
        ),
        (
            layer(4, shape=[2**15, 2**15]),
            r"^layer 'hidden': packed levels are uint8 of shape \[7\]; 1073741824 levels of Z_0",
        ),
        (
            weights_byte("0.weights", 1, 0b00001100),
            r"^layer 'conv': packed code 3 at position 5 stands for no level of Z_1$",
        ),
        (
            weights_byte("4.weights", 6, 0b01000000),
            r"^layer 'hidden': packed levels end in fill bits that are not zero$",
        ),
    ],
    14: [
        (
            tensor("2.thresholds", "I32", np.zeros((2, 3))),
            r"^threshold: thresholds are int32 of shape \[2, 3\]; Z_2 takes integers of shape "
            r"\[channels, 4\]$",
        ),
        (tensor("2.thresholds", "I32", [0, 0]), r"^threshold: thresholds are int32 of shape \[2\]"),
        (
            tensor("2.thresholds", "I32", [[0, 1, 2, 3], [0, 2, 1, 3]]),
            r"^threshold: thresholds of channel 1 do not ascend$",
        ),
        *(
            (
                tensor("2.directions", "I8", directions),
                r"^threshold: directions must be 2 values of -1 or \+1, one a channel$",
            )
            for directions in ([1, 0], [1, 2], [1], [1, 1, 1], [[1, 1]])
        ),
    ],
    15: [
        (
            tensor("7.scale", "F32", [1, np.nan]),
            r"^read-out: scale must be finite numbers, one a class$",
        ),
        (
            tensor("7.offset", "F32", [np.inf, 1]),
            r"^read-out: offset must be finite numbers, one a class$",
        ),
        (tensor("7.scale", "F32", [[1, 1]]), r"^read-out: scale must be finite numbers, one a"),
        (tensor("7.scale", "F32", 1.0), r"^read-out: scale must be finite numbers, one a class$"),
        (tensor("7.scale", "F32", [1, 1, 1]), r"^read-out: scale has 3 values for 2 classes$"),
    ],
    16: [
        (entry(shape=[5, 5]), r"^input: shape is \(5, 5\); use \(features,\) or \(channels, "),
        (
            entry(encoding="graded", bits=8),
            r"^input: thresholds are for ternary, not graded$",
        ),
        (entry(thresholds=[3, 2]), r"^input: thresholds are \(3, 2\); need low <= high$"),
    ],
    17: [
        (head(name="a\nb"), r"^network name is 'a\\nb'; use 1 to 128 printable characters$"),
        (head(name="x" * 129), r"^header is malformed: .*128"),
        (layer(0, name="a.b"), r"^layer name 'a\.b' is not usable; use 1 to 64 printable"),
        (layer(0, name="x" * 65), r"^layer name 'x{65}' is not usable; use 1 to 64 printable"),
        (layer(4, name="input"), r"^layer name 'input' is taken: it stands for the input of a"),
        (layer(4, name="conv"), r"^two layers have the name 'conv'; names must differ$"),
    ],
    18: [
        (drop(0), r"^at the start a Linear or Conv2d must follow, not MaxPool2d$"),
        (drop(2), r"^layer 'conv' must be followed by Threshold, Requantize or Readout, not"),
        (drop(3), r"^layer 'hidden' is linear but gets an image of shape \[2, 3, 3\]; put Flatten"),
        (drop(4), r"^after layer 'conv' a Linear or Conv2d must follow, not Threshold$"),
        (drop(7), r"^the last layer must be Readout$"),
        (
            lambda f: f.header["layers"].append({"kind": "readout"}),
            r"^layer 'output' is read out, but 1 more layers follow$",
        ),
        (
            layer(3, kind="maxpool2d", size=[1, 1], stride=[1, 1]),
            r"^after layer 'conv' a Linear or Conv2d must follow, not MaxPool2d$",
        ),
    ],
    19: [
        (
            entry(shape=[2, 5, 5]),
            r"^layer 'conv' has weights for 1 inputs but gets 2 \(shape \[2, 5, 5\]\)$",
        ),
        (
            entry(shape=[1, 5, 8]),
            r"^layer 'hidden' has weights for 18 inputs but gets 24 \(shape \[24\]\)$",
        ),
        (
            both(
                tensor("2.thresholds", "I32", np.zeros((3, 4))),
                tensor("2.directions", "I8", [1, 1, 1]),
            ),
            r"^layer 'conv' has 2 channels but its threshold has 3$",
        ),
        (
            lambda f: both(*[drop(i) for i in (6, 5, 4, 3, 2)])(f),
            r"^layer 'conv' is read out, so no pool may follow it$",
        ),
    ],
    20: [
        (
            layer(0, padding=[2, 1]),
            r"^layer 'conv': padding \[2, 1\] must be smaller than the kernel \[2, 2\]$",
        ),
        (
            both(entry(shape=[1, 1, 1]), layer(0, padding=[0, 0])),
            r"^layer 'conv': a kernel of \[2, 2\] does not fit its input \[1, 1, 1\] with padding",
        ),
        (layer(1, size=[7, 2]), r"^layer 'conv': a pool of \[7, 2\] does not fit \[2, 6, 6\]$"),
        (layer(1, size=[0, 2]), r"^max-pool: size is \(0, 2\); each must be at least 1$"),
        (layer(1, stride=[0, 2]), r"^max-pool: stride is \(0, 2\); each must be at least 1$"),
        (layer(0, stride=[1, 0]), r"^layer 'conv': stride is \(1, 0\); each must be at least 1$"),
    ],
    21: [
        (
            only(np.full((1, 4098), 128), 8, fires=True, encoding="graded", bits=12),
            r"^layer 'a': a sum may reach 2148007680, beyond 32-bit integers$",
        ),
    ],
    22: [
        (
            entry(shape=[1, 2**16, 2**16]),
            r"^input has 4294967296 neurons; at most 2147483647 are possible$",
        ),
        (
            entry(shape=[1, 2**15, 2**15]),
            r"^layer 'conv' has \d+ neurons; at most 2147483647 are possible$",
        ),
    ],
    25: [
        (rounded(n=0), r"^requantize: Z_0 has no zero to round to; use Threshold$"),
        (rounded(shift=53), r"^header is malformed: .*\$\.layers\[2\]\.shift"),
        (rounded(limits=[0, 2**15]), r"^header is malformed: .*\$\.layers\[2\]\.limits"),
        (rounded(limits=[0, 3]), r"^requantize: limits are \(0, 3\); need -2 <= low < high <= 2, "),
        (rounded(limits=[1, 1]), r"^requantize: limits are \(1, 1\); need -2 <= low < high <= 2, "),
        (both(rounded(), no_tensor("2.offsets")), r"^tensor '2\.offsets' is missing$"),
        (
            both(rounded(), tensor("2.offsets", "I32", [1, 2])),
            r"^tensor '2\.offsets' is I32; it must be I64$",
        ),
        (
            both(rounded(), tensor("2.offsets", "I64", [1, 2**52 + 1])),
            r"^requantize: offsets reach beyond ±2\^52 = ±4503599627370496$",
        ),
        (
            both(rounded(), tensor("2.offsets", "I64", [1, 2, 3])),
            r"^requantize: directions must be 3 values of -1 or \+1, one a channel$",
        ),
        (layer(2, n=9), r"^threshold: Z_9 would take 512 thresholds a channel; use Requantize"),
    ],
}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        pytest.param(*case, id=f"rule{rule}-{i}")
        for rule, cases in BROKEN.items()
        for i, case in enumerate(cases)
    ],
)
def test_a_file_that_breaks_a_rule(tmp_path, sample_bytes, change, sentence):
    refused(tmp_path / "n.safetensors", forge(sample_bytes, change), sentence)


def test_rule_1_too_large(tmp_path):
    path = tmp_path / "n.safetensors"
    with path.open("wb") as file:
        file.truncate(2**30 + 1)  # no block of it is written
    with pytest.raises(NetworkError) as error:
        load_network(path)
    assert str(error.value) == f"{path}: file has 1073741825 bytes; at most 1073741824 are read"


def test_every_rule_of_the_page_has_a_failing_file():
    page = FORMAT_PAGE.read_text(encoding="utf-8")
    listed = re.search(r"\n## Validity\n(.*?)\n## ", page, re.DOTALL)[1]
    numbers = [int(number) for number in re.findall(r"^(\d+)\. ", listed, re.MULTILINE)]
    # sources of a concat and who hears whom (23, 24): test_graph.py
    assert numbers == sorted({1, 23, 24, *BROKEN})


def test_the_largest_file_that_keeps_to_the_rules(tmp_path, sample_bytes):
    """One step inside the limits of rules 21 and 5 is taken."""
    path = tmp_path / "n.safetensors"
    path.write_bytes(
        forge(
            sample_bytes, only(np.full((1, 4096), 128), 8, fires=True, encoding="graded", bits=12)
        )
    )
    assert load_network(path).layers[0].weights.min() == 128
