"""A teacher's report, on a terminal."""

from typing import TYPE_CHECKING

from stillhouse.cli import output

if TYPE_CHECKING:
    from stillhouse.models import KnowledgeOut


def show(told: "KnowledgeOut") -> None:
    """The advice, the soft targets over T, the classes that are alike, and the calibration."""
    advice, names = told.advice, told.class_names or []
    if advice is not None:
        low, high = advice.temperatures
        output.console().print(
            f"Try T {low:g} to {high:g}, and {advice.first:g} first.", style="bold"
        )
        for reason in advice.reasons:
            output.console().print(f"- {reason}", markup=False)
        output.console().print(f"{advice.caveat}\n", style="dim", markup=False)
    of = "" if told.examples == told.rows else f" of {told.rows:,}"
    output.console().print(f"Soft targets of {told.examples:,}{of} examples ({told.split})")
    output.table(
        [">T", ">entropy", ">of log C", ">off the target"],
        [
            (
                f"{one.temperature:g}",
                f"{one.entropy:.4f}",
                f"{one.entropy_share:.1%}",
                f"{one.off_target:.1%}",
            )
            for one in told.softness or ()
        ],
    )
    alike = told.similarity
    if alike is not None and alike.confused:
        chance = f"chance is {alike.chance:.1%}"
        output.console().print(f"\nMost alike, at T {alike.temperature:g} ({chance})")
        output.table(
            ["class", "class", ">similarity"],
            [(*(names[k] for k in one.classes), f"{one.similarity:.1%}") for one in alike.confused],
        )
    trust = told.calibration
    if trust is not None:
        output.console().print(
            f"\nOn {trust.split}: accuracy {trust.accuracy:.2%}, calibration error"
            f" {trust.plain.ece:.4f}"
            + (
                f", {trust.calibrated.ece:.4f} at T {trust.temperature:.2f}"
                if trust.calibrated is not None
                else ""
            )
        )
