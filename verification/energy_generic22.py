"""Write the price preset ``generic22``: ``horowitz45`` scaled to 22 nm.

    python verification/energy_generic22.py

To be run again whenever ``horowitz45`` changes; a test compares the two.
"""

from dataclasses import replace
from pathlib import Path

import neuromorph
from neuromorph.energy import Price, Prices, dump_prices, load_prices, scale_prices

PATH = Path(neuromorph.__file__).parent / "presets" / "prices" / "generic22.toml"
HEAD = """\
# horowitz45 scaled to 22 nm and 0.8 V: logic, memory and wires apart, every range widened.
# Made by verification/energy_generic22.py, do not edit; method: neuromorph/energy/scaling.py.
# Only [static.sram_bit] is not scaled: CACTI 7 run at 22 nm.
"""
LEAKAGE = Price(
    name="static.sram_bit",
    value=8.48e-10,
    low=3.8e-10,
    high=2.36e-8,
    unit="W/bit",
    kind="simulated",
    source="CACTI 7: 64 KB, 22 nm, itrs-lop cells and periphery, 300 K: subthreshold 0.4044 mW "
    "and gate 0.0400 mW",
    note="(0.4044 + 0.0400) mW / 524288 bits, settings as for horowitz45.  high: 350 K, 12.32 mW "
    "and 0.04 mW.  low: all of Loihi 1, 104 mW over 33 MB at 14 nm.  With itrs-hp the macro leaks "
    "5.47 mW.",
    vdd=0.6,
)
NOT_MODELLED = "leakage of logic: no figure seen at 22 nm; 5 % of that of the memories at 45 nm"


def generic22() -> Prices:
    """The preset as it should be."""
    scaled = scale_prices(
        load_prices("horowitz45"),
        node_nm=22.0,
        vdd=0.8,
        name="generic22",
        static={"sram_bit": LEAKAGE},
    )
    return replace(scaled, not_modelled=(*scaled.not_modelled, NOT_MODELLED))


if __name__ == "__main__":
    PATH.write_text(HEAD + dump_prices(generic22()), encoding="utf-8")
    print(f"wrote {PATH}")
