"""Alignment by level over all stages of pre-training, from the journals of the trainings, as charts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from vlp.config import Experiment
from vlp.methods import facts
from vlp.report import figures
from vlp.tracking import journal as journals


@dataclass(frozen=True)
class Chart:
    title: str
    figure: Markup
    names: tuple[str, ...]
    """Of its lines."""
    notes: tuple[str, ...]
    """Of each line what it is compared with."""


@dataclass
class Course:
    """One level: how it went over the steps of all stages, laid end to end."""

    points: list[tuple[float, float]] = field(default_factory=list)
    fact: dict[str, Any] = field(default_factory=dict)
    """Truth, number, chance and the best that can be reached."""


def charts(experiment: Experiment) -> tuple[int, list[Chart]]:
    """The number of images that were measured on, and a chart for each pair of things that are aligned."""
    courses: dict[str, Course] = {}
    marks: list[tuple[float, str]] = []
    begin, images = 0.0, 0
    for stage in experiment.stages:
        path = experiment.place(f"models/{stage}").parent.parent / "runs" / stage / "journal.jsonl"
        events = journals.read(path) if path.exists() else []
        about = next((e for e in reversed(events) if e["event"] == "alignment"), None)
        if about is None:
            continue
        images = about["images"]
        steps = [e["step"] for e in events if e["event"] == "metric" and e.get("step") is not None]
        marks.append((begin, experiment.stage(stage).title.lower()))
        for (key, step), event in sorted(journals.points(events).items(), key=lambda p: p[0][1] or 0):
            level = key.removeprefix("alignment/")
            if level != key and step is not None:
                course = courses.setdefault(level, Course())
                course.points.append((begin + step, journals.number(event)))
                course.fact = about["levels"].get(level, course.fact)
        begin += max(steps, default=0)
    found = (
        _chart(chart.title, {n: courses[key] for key, n in chart.lines.items() if key in courses}, marks)
        for chart in facts.of(experiment.model.method).levels
    )
    return images, [chart for chart in found if chart is not None]


def _chart(title: str, lines: dict[str, Course], marks: Sequence[tuple[float, str]]) -> Chart | None:
    if not lines:
        return None
    drawn = figures.curves(
        {name: course.points for name, course in lines.items()},
        levels={name: course.fact["chance"] for name, course in lines.items()},
        marks=marks,
        most=100,
    )
    return Chart(title, drawn, tuple(lines), tuple(_note(name, c, len(lines) > 1) for name, c in lines.items()))


def _note(name: str, course: Course, several: bool) -> str:
    f, values = course.fact, [value for _, value in course.points]
    bound = f", at best {f['best']:.1f}" if f["best"] < 100 else ""
    who = f"{name}: " if several else ""
    return f"{who}from {values[0]:.1f} to {values[-1]:.1f}; chance {f['chance']:.1f}{bound}; {f['n']:,} by {f['truth']}"
