"""What PAMI says in sentences: the reading, and the cautions that must not be missed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backend.contract.results import Scalar, Texts
from workers.methods._pami_scores import Score

UNITS: Mapping[Score, str] = {
    Score.PROBABILITY: "probability",
    Score.SIGMOID: "probability",
    Score.PROBABILITY_GAIN: "gain in probability",
    Score.LOG_ODDS: "log odds",
    Score.LOGIT: "logit",
}
BACKGROUNDS: Mapping[str, str] = {
    "blur": "the blurred picture",
    "black": "black",
    "white": "white",
    "mean": "the picture's mean colour",
    "dataset_mean": "the training data's mean colour",
    "noise": "noise",
    "picture": "another picture",
}
FLAT = 0.02
AREA_FOLLOWED = 0.8


@dataclass(frozen=True)
class Findings:
    """What the sentences are about.

    Args:
        target: Name of the explained class.
        score: The number given to each part.
        substrate: Name of the background.
        scalars: As in the result.
        best: Highest score of a part.
        is_weighted: Whether scores were weighed by area.
        has_fallen_back: Whether half precision was given up.
        notes: Choices made on the way.
    """

    target: str
    score: Score
    substrate: str
    scalars: Mapping[str, Scalar]
    best: float
    is_weighted: bool
    has_fallen_back: bool
    notes: tuple[str, ...] = ()

    def number(self, name: str) -> float:
        """Returns a scalar that is always there."""
        value = self.scalars[name]
        if not isinstance(value, int | float):
            raise TypeError(f"{name} is not a number")
        return float(value)


def write_texts(findings: Findings) -> Texts:
    """Returns the sentences of a finished run."""
    return Texts(reading=_reading(findings), cautions=tuple(_cautions(findings)), notes=tuple(_notes(findings)))


def _reading(findings: Findings) -> str:
    unit = "" if findings.score.is_probability else f" ({UNITS[findings.score]})"
    weighed = ", weighed by area," if findings.is_weighted else ""
    text = (
        f"Shown alone, parts around the brightest spot give {findings.target} {findings.number('map_max'):.2f}{unit}"
        f"{weighed} on average; the whole picture gives {findings.number('p_intact'):.2f}, the background alone "
        f"{findings.number('p_substrate'):.2f}."
    )
    area = findings.scalars["smallest_sufficient_area"]
    if isinstance(area, float):
        text += f" The smallest part keeping half of the score covers {_percent(area)} of the picture."
    return text


def _percent(share: float) -> str:
    if share < 0.001:
        return "less than 0.1 %"
    return f"{100 * share:.1f} %" if share < 0.1 else f"{100 * share:.0f} %"


def _cautions(findings: Findings) -> list[str]:
    intact, hidden = findings.number("p_intact"), findings.number("p_substrate")
    found = []
    if hidden >= intact / 2:
        background = BACKGROUNDS.get(findings.substrate, findings.substrate)
        found.append(f"The background alone ({background}) already scores {hidden:.2f}; choose another background.")
    if findings.score.is_probability and findings.best < intact / 4:
        found.append("No single part is enough; try occlusion.")
    if findings.score.knows_probability and findings.number("map_range") < FLAT:
        found.append("The map is nearly flat.")
    correlation = findings.scalars["area_rank_correlation"]
    if isinstance(correlation, float) and correlation > AREA_FOLLOWED:
        found.append("Larger parts score higher almost everywhere.")
    return found


def _notes(findings: Findings) -> list[str]:
    notes = [f"Mean score of {findings.target} when only a part holding this pixel is visible."]
    notes += findings.notes
    if findings.scalars["stopped_early"]:
        notes.append(f"Stopped after {findings.scalars['views_used']} views: further cuts no longer changed the map.")
    if findings.has_fallen_back:
        notes.append("Half precision moved a score by more than 0.01, so everything ran in single precision.")
    return notes
