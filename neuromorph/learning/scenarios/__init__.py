"""Scenarios of learning on a chip: one file each, one function ``run`` in each."""

from __future__ import annotations

from neuromorph.errors import LearningError
from neuromorph.learning.scenarios import (
    class_incremental,
    drift,
    endurance,
    faults,
    feedback_paths,
    few_shot,
    online_scratch,
)
from neuromorph.learning.scenarios.common import Result, Scenario, Settings
from neuromorph.learning.scenarios.curves import draw

__all__ = ["SCENARIOS", "Result", "Scenario", "Settings", "draw", "run_scenario"]

SCENARIOS: dict[str, Scenario] = {
    module.SCENARIO.name: module.SCENARIO
    for module in (
        online_scratch,
        feedback_paths,
        drift,
        faults,
        class_incremental,
        few_shot,
        endurance,
    )
}


def run_scenario(name: str, settings: Settings) -> Result:
    """Run a scenario by name.

    Raises
    ------
    LearningError
        No such scenario; lists those there are.  A setting it does not take.
    """
    if name not in SCENARIOS:
        raise LearningError(f"no scenario {name!r}; scenarios are {', '.join(SCENARIOS)}")
    scenario = SCENARIOS[name]
    for setting in (
        "states", "hidden", "error", "samples", "passes", "filters", "seeds", "trace",
    ):  # fmt: skip
        if getattr(settings, setting) is not None and setting not in scenario.takes:
            raise LearningError(
                f"scenario {name} has no {setting} to choose; it takes {', '.join(scenario.takes)}"
            )
    return scenario.run(settings)
