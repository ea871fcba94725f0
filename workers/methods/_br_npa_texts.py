"""What is said about ranked groups, with its numbers; each mode in its own words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backend.contract.results import Region, Scalar
from workers.methods._br_npa_result import Drawn

LABEL = "feature groups, not the model's attention"
USED = "attention used by the BR-NPA classifier"
FLAT_ACTIVITY = 1.2
MUCH_CLAMPED = 0.05
MUCH_WORSE = 0.02
COLOURS = ("red", "green", "blue")


def reading_post_hoc(regions: Sequence[Region]) -> str:
    """Returns the sentence about groups that answered nothing."""
    if not regions:
        return "The features are zero everywhere, so there is nothing to group."
    shares = [f"{region.area:.0%}".replace("%", " %") for region in regions]
    first, *others = (f"the {region.label} covers {share}" for region, share in zip(regions, shares, strict=True))
    parts = ", ".join([first, *(text.replace(" covers", "") for text in others)])
    return f"Strongest first: {parts} of what the model saw. These are {LABEL}."


def reading_trained(regions: Sequence[Region], scalars: Mapping[str, Scalar]) -> str:
    """Returns the sentence about groups that are all the answer was made of."""
    if not regions:
        return "The features are zero everywhere, so the classifier had nothing to read."
    total, target = number(scalars["explained"]), scalars["explained_class"]
    rest = scalars["contrast_class"]
    of_what = f"'{target}'" if rest is None else f"'{target}' against {rest}"
    added = {region.id: number(region.values["contribution"]) for region in regions}
    ranked = sorted(regions, key=lambda region: -abs(added[region.id]))
    parts = [f"{_colour(region)}{signed(added[region.id])}" for region in ranked]
    count = f"{len(regions)} groups" if len(regions) > 1 else "one group"
    said = f"It read {count}; they add up to {signed(total)} logits for {of_what}: {', '.join(parts)}."
    return f"{said} {_answers(scalars)}".strip()


def sum_line(regions: Sequence[Region], scalars: Mapping[str, Scalar]) -> str:
    """Returns the sum of the contributions, written out with as many decimals as it takes to add up in print."""
    total = number(scalars["explained"])
    values = [number(region.values["contribution"]) for region in regions]
    rest = total - sum(values)
    if abs(rest) >= 0.005:  # groups that were not found still hold the mean of all features
        values.append(rest)
    digits = next((n for n in (2, 3) if round(sum(round(value, n) for value in values) - round(total, n), n) == 0), 4)
    terms = "".join(
        signed(value, digits) if place == 0 else f" {'+' if value >= 0 else '−'} {abs(value):.{digits}f}"
        for place, value in enumerate(values)
    )
    what = "logit" if scalars["contrast_class"] is None else "difference of logits"
    return f"{terms} = {signed(total, digits)} = {what}"


def cautions(drawn: Drawn, *, wanted: int, clamped: float, masked: int = 0) -> list[str]:
    """Returns what must be read with any ranked groups."""
    groups = drawn.groups
    n_valid = int(groups.valid.sum())
    said = []
    if n_valid < wanted:
        said.append(f"Only {n_valid} of {wanted} groups were found; after that, nothing strong was left.")
    if clamped > MUCH_CLAMPED:
        said.append(f"The features have both signs; {clamped:.0%} of all likeness was negative and left out.")
    if masked:
        said.append(f"{masked} unusually strong tokens were not allowed to start a group.")
    median = float(groups.activity.median())
    if median > 0 and float(groups.activity.max()) / median < FLAT_ACTIVITY:
        said.append("All places are about equally strong, so the ranking is close to arbitrary.")
    return said


def cautions_trained(scalars: Mapping[str, Scalar], *, same_classes: bool) -> list[str]:
    """Returns what must be said about a second network."""
    said = []
    if scalars["agree"] is False:
        said.append(
            f"The explainer says {scalars['answer']}, the model says {scalars['base_answer']}: this explains the "
            "explainer, not the model."
        )
    own, base = scalars["accuracy_validation"], scalars["base_accuracy_validation"]
    if own is not None and base is not None and number(base) - number(own) > MUCH_WORSE:
        said.append(
            f"The explainer is right on {number(own):.0%} of its validation pictures, the model on {number(base):.0%}."
        )
    if not same_classes:
        said.append("The explainer was trained with other classes than the model has.")
    return said


def notes_trained(scalars: Mapping[str, Scalar]) -> tuple[str, ...]:
    """Returns which explainer answered, and how good it is."""
    parts = [f"Explainer {scalars['explainer_title']} ({scalars['explainer']}), trained on {scalars['explainer_data']}"]
    if scalars["accuracy_validation"] is not None:
        parts.append(f"right on {number(scalars['accuracy_validation']):.1%} of its validation pictures")
    if scalars["agreement_validation"] is not None:
        parts.append(f"the model's answer on {number(scalars['agreement_validation']):.1%}")
    return (
        f"The maps are the {USED}: a second network, not the model itself.",
        "; ".join(parts) + ".",
        "Maps do not depend on the class; contributions do. The split holds the maps fixed.",
    )


def signed(value: float, digits: int = 2) -> str:
    """Returns a number with some decimals and a true minus."""
    return f"{'−' if value < 0 else ''}{abs(value):.{digits}f}"


def number(value: Scalar) -> float:
    """Returns a scalar that is known to be a number."""
    assert isinstance(value, int | float)
    return float(value)


def _colour(region: Region) -> str:
    rank = region.id - 1
    return f"{COLOURS[rank]} " if rank < len(COLOURS) else f"the {region.label} "


def _answers(scalars: Mapping[str, Scalar]) -> str:
    if scalars["agree"] is None:
        return f"The model's own answer, {scalars['base_answer']}, is no class of the explainer."
    if scalars["agree"]:
        return "Explainer and model agree on this picture."
    return f"Explainer and model disagree: {scalars['answer']} against {scalars['base_answer']}."
