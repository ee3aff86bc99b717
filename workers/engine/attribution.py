"""Which part of a student's gain over its baseline is dark knowledge: what each control reaches.

Every part is a contrast of accuracies on the same examples. Their intervals hold together: with m
parts each is taken at 1 - 0.05 / m (Bonferroni).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workers.engine import statistics
from workers.engine.statistics import LEVEL, Bools

Side = Sequence[Bools]
"""Which examples were answered correctly, a seed after another."""

SEEDS = 3
"""From so many on, what is said holds for the method and not for some runs of it."""

REACHES = {
    "label_smoothing": (
        "regularisation",
        "label smoothing alone, which only regularises, reaches",
    ),
    "cwtm": ("confidence", "weighting examples by the teacher's confidence alone reaches"),
    "random_teacher": (
        "teaching_without_knowledge",
        "the same method under teachers of fresh weights reaches",
    ),
    "permuted": (
        "targets_without_similarities",
        "soft targets that keep their confidence and lose their class similarities reach",
    ),
}
"""By control: the part that it measures, and how the sentence begins that tells of it."""


@dataclass(frozen=True)
class Part:
    """A sum of weighted accuracies, and what it stands for."""

    name: str
    of: str
    words: str
    terms: Sequence[tuple[int, Side]]


def attribution(student: Side, baseline: Side, controls: Mapping[str, Side]) -> dict[str, Any]:
    """parts, each with its contrast, interval and whether it differs from nothing; what became of
    dark_knowledge; and the sentence that says it."""
    parts = [*_reached(baseline, controls), _rest(student, baseline, controls)]
    level = LEVEL / len(parts)
    told = [{"part": part.name, "of": part.of, **contrast(part.terms, level)} for part in parts]
    gain = contrast([(1, student), (-1, baseline)])
    isolated = parts[-1].name == "class_similarities"
    word = _word(told[-1]) if isolated else "not isolated"
    clauses = [f"{part.words} {_numbers(one)}" for part, one in zip(parts, told, strict=True)]
    sentences = [
        f"The student's accuracy less its baseline's is {_points(gain['accuracy'])} points. "
        f"Of these, {'; '.join(clauses)}.",
        VERDICTS[word],
        "The intervals hold together at 95 %.",
    ]
    if len(student) < SEEDS:
        sentences.append(
            "This speaks of these runs only; three seeds or more would speak of the method."
        )
    return {"gain": gain, "parts": told, "dark_knowledge": word, "sentence": " ".join(sentences)}


def _reached(baseline: Side, controls: Mapping[str, Side]) -> Iterator[Part]:
    for control, (name, words) in REACHES.items():
        if control in controls:
            terms = [(1, controls[control]), (-1, baseline)]
            yield Part(name, f"{control} - baseline", words, terms)


def _rest(student: Side, baseline: Side, controls: Mapping[str, Side]) -> Part:
    """What no control reaches: directly where one lacks the similarities alone, else by taking
    what the others reach to add up."""
    if "permuted" in controls:
        words = "and the class similarities, the dark knowledge, are the rest:"
        terms = [(1, student), (-1, controls["permuted"])]
        return Part("class_similarities", "student - permuted", words, terms)
    regularisers = [name for name in ("label_smoothing", "random_teacher") if name in controls][:1]
    reached = [*regularisers, *(["cwtm"] if "cwtm" in controls else [])]
    name, words = {
        (True, True): (
            "class_similarities",
            "and what is left for the class similarities, the dark knowledge, should these parts"
            " add up, is",
        ),
        (True, False): ("knowledge", "and what is left for all that the teacher knows is"),
        (False, True): (
            "regularisation_and_similarities",
            "and what is left for regularisation and the class similarities is",
        ),
    }[bool(regularisers), "cwtm" in controls]
    terms = [(1, student), *((-1, controls[one]) for one in reached)]
    of = " - ".join(["student", *reached])
    if len(reached) == 2:
        terms.append((1, baseline))
        of += " + baseline"
    return Part(name, of, words, terms)


def contrast(terms: Sequence[tuple[int, Side]], level: float = LEVEL) -> dict[str, Any]:
    """accuracy, interval, p, over. As for the verdict: of one or two seeds the first one's runs,
    over examples; of more, the less certain of a test over seeds and one over examples."""
    seeds = len(terms[0][1])
    if seeds < SEEDS:
        first = [(weight, side[0]) for weight, side in terms]
        value, interval, p = statistics.paired_contrast(first, level)
        over = "examples"
    else:
        each_KN = np.sum([weight * np.stack(side).astype(float) for weight, side in terms], axis=0)
        tests = [
            statistics.mean_interval(each_KN.mean(axis=1), level),
            statistics.mean_interval(each_KN.mean(axis=0), level),
        ]
        value, interval, p = max(tests, key=lambda test: test[2])
        over = "seeds"
    return {
        "accuracy": value,
        "interval": list(interval),
        "p": p,
        "over": over,
        "told": p < level,
    }


VERDICTS = {
    "helped": "Dark knowledge helped.",
    "hurt": "The class similarities hurt.",
    "not distinguishable": "Whether the class similarities helped cannot be told.",
    "not isolated": (
        "These controls do not isolate the class similarities: ask for `permuted`, or for"
        " `label_smoothing` and `cwtm`."
    ),
}


def _word(part: Mapping[str, Any]) -> str:
    if not part["told"]:
        return "not distinguishable"
    return "helped" if part["accuracy"] > 0 else "hurt"


def _numbers(part: Mapping[str, Any]) -> str:
    low, high = part["interval"]
    doubt = "" if part["told"] else ", which cannot be told from nothing"
    return f"{_points(part['accuracy'])} ({_points(low)} to {_points(high)}{doubt})"


def _points(share: float) -> str:
    return f"{100 * share:+.2f}"
