"""What the pocket model can, and what a cutoff costs: fresh scenes, through the real engine.

    python -m pocket.eval.evaluate [MODEL] [--count N] [--to FOLDER] [--fonts FOLDER] [--skills NAMES] [--vector]

Writes a table and the curve of accuracy against thinking budget. Seeds are never those of training. With ``--skills``
only a table of these; with ``--vector`` one of questions about scenes that another program has drawn.
"""

import argparse
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from engine import Engine, Event, Finished, Request, SamplingParams
from families import FAMILIES
from pocket.eval.chart import Line, chart
from pocket.eval.scoring import is_right, overlaps
from pocket.model import WEIGHTS as SHIPPED
from pocket.tasks.aux_targets import SIDE
from pocket.tasks.example import Example
from pocket.tasks.pages import Fonts, pages
from pocket.tasks.pictures import among, compare
from pocket.tasks.scene_questions import ASKING, Asking, follow_up, one_question
from pocket.tasks.synthetic_dataset import FULL, LARGER, SCREENS, SHEETS, SMALL, THUMBNAILS, WEIGHTS, crowd_for
from pocket.tasks.video import film
from pocket.world.lexicon import LANGUAGES, Language
from pocket.world.render_svg import redrawn
from pocket.world.scenes import Scene, new_scene

FIRST_SEED = 500_000_000
BUDGETS = (0, 8, 16, 32, 64, -1)
CURVE = ("count", "exists", "show", "describe", "compare")
"""Skills whose thought grows with the scene."""
GREEDY = SamplingParams(temperature=0, top_p=1, top_k=0, repetition_penalty=1, seed=0)
AT_ONCE = 64
"""Requests in the engine's line: their inputs take memory."""


@dataclass(frozen=True)
class ResultBuilder:
    example: Example
    ended: Finished

    @property
    def is_right(self) -> bool:
        return is_right(self.ended.answer, self.example.answer)


Draw = Callable[[random.Random, Scene], tuple[Scene, Image.Image]]


class Exam:
    """The questions: for each skill and number always the same one.

    Args:
        draw: a scene to a picture, and what of it is to be seen there. Then all questions are about one scene.
    """

    def __init__(self, fonts: Fonts, draw: Draw | None = None) -> None:
        self._fonts = fonts
        self._draw = draw or (lambda _rng, scene: (scene, scene.picture()))
        self._skills = {asking.__name__: self._about_a_scene(asking) for asking in ASKING}
        if not draw:
            self._skills |= self._others()

    def _others(self) -> dict[str, Callable[[random.Random, Language], Example]]:
        return {
            "follow-up": lambda rng, language: follow_up(rng, scene := _scene(rng), scene.picture(), language, WEIGHTS),
            "compare": lambda rng, language: compare(rng, [_size(rng, THUMBNAILS + LARGER)] * 2, language),
            "among": lambda rng, language: among(rng, [_size(rng, THUMBNAILS)] * rng.choice([2, 3, 5]), language),
            "pages": lambda rng, language: pages(
                rng, [_size(rng, SHEETS)] * rng.choice([1, 1, 2, 4]), language, self._fonts
            ),
            "film": lambda rng, language: film(rng, _size(rng, SCREENS), rng.choice([2, 3, 4, 6]), language),
        }

    @property
    def skills(self) -> list[str]:
        return list(self._skills)

    def questions(self, skill: str, count: int) -> list[Example]:
        """Half of them in each language."""
        place = 1_000_000 * self.skills.index(skill)
        return [
            self._skills[skill](random.Random(FIRST_SEED + place + number), LANGUAGES[number % 2])
            for number in range(count)
        ]

    def _about_a_scene(self, asking: Asking) -> Callable[[random.Random, Language], Example]:
        def example(rng: random.Random, language: Language) -> Example:
            while True:
                scene, picture = self._draw(rng, _scene(rng))
                if asked := asking(rng, scene, language):
                    return one_question(rng, asked, scene, picture, language)

        return example


def _size(rng: random.Random, grids: Sequence[tuple[int, int]]) -> tuple[int, int]:
    grid = rng.choice(grids)
    return grid[0] * SIDE, grid[1] * SIDE


def _scene(rng: random.Random) -> Scene:
    grid = rng.choice(rng.choice((SMALL, FULL)))
    return new_scene(rng, (grid[0] * SIDE, grid[1] * SIDE), crowd_for(rng, grid))


def ask(engine: Engine, examples: Sequence[Example], budget: int) -> list[ResultBuilder]:
    """All through the engine, as jobs go: many in its line at once."""
    limit = FAMILIES["pocket"].max_answer_tokens
    outcomes = []
    for start in range(0, len(examples), AT_ONCE):
        part = examples[start : start + AT_ONCE]
        events: list[list[Event]] = [[] for _ in part]
        for number, example in enumerate(part):
            inputs = engine.prepare(example.messages, example.pictures, example.videos, enable_thinking=budget != 0)
            request = Request(str(number), inputs, budget, limit, GREEDY, keep_box_tokens=True)
            engine.submit(request, events[number].append)
        while not engine.is_idle:
            engine.step()
        for example, told in zip(part, events, strict=True):
            ended = told[-1]
            if not isinstance(ended, Finished):
                raise RuntimeError(f"the engine gave up on {example.messages}: {ended}")
            outcomes.append(ResultBuilder(example, ended))
    return outcomes


def share(outcomes: Sequence[ResultBuilder], language: Language | None = None) -> float:
    """Percent right."""
    chosen = [outcome.is_right for outcome in outcomes if language in (None, outcome.example.language)]
    return 100 * sum(chosen) / len(chosen) if chosen else 0.0


def table(by_skill: dict[str, list[ResultBuilder]]) -> str:
    """Markdown."""
    lines = [
        "| skill | right | English | Chinese | thought, tokens | mean overlap of boxes |",
        "|---|---|---|---|---|---|",
    ]
    for skill, outcomes in by_skill.items():
        thoughts = [outcome.ended.thinking_tokens for outcome in outcomes]
        covers = [cover for outcome in outcomes for cover in overlaps(outcome.ended.answer, outcome.example.answer)]
        lines.append(
            f"| {skill} | {share(outcomes):.1f} % | {share(outcomes, 'en'):.1f} % | {share(outcomes, 'zh'):.1f} % "
            f"| {min(thoughts)} to {max(thoughts)} | {f'{sum(covers) / len(covers):.2f}' if covers else ''} |"
        )
    return "\n".join(lines)


def budget_table(curves: dict[str, list[float]]) -> str:
    names = ["none" if budget < 0 else str(budget) for budget in BUDGETS]
    lines = [f"| budget, tokens | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    lines += [
        f"| {skill} | " + " | ".join(f"{value:.1f} %" for value in values) + " |" for skill, values in curves.items()
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", default=SHIPPED)
    parser.add_argument("--count", type=int, default=200, help="questions for each skill")
    parser.add_argument("--to", type=Path, default=Path(__file__).parents[1] / "scores")
    parser.add_argument("--fonts", type=Path, help="folder of fonts for pages, beside Pillow's own")
    parser.add_argument("--vector", action="store_true", help="scenes that librsvg draws")
    parser.add_argument("--skills", help="only these, by comma")
    options = parser.parse_args()
    exam = Exam(Fonts(options.fonts), redrawn if options.vector else None)
    skills = options.skills.split(",") if options.skills else exam.skills
    if unknown := sorted(set(skills) - set(exam.skills)):
        parser.error(f"no skill is called {unknown[0]}; there are {', '.join(exam.skills)}")
    engine = Engine.load(str(options.model), revision="main", device="auto", dtype="auto", family=FAMILIES["pocket"])
    if options.vector or options.skills:
        print(table({skill: ask(engine, exam.questions(skill, options.count), -1) for skill in skills}))  # noqa: T201
        return
    by_skill = {}
    curves: dict[str, list[float]] = {}
    for skill in tqdm(exam.skills, desc="asking"):
        questions = exam.questions(skill, options.count)
        by_skill[skill] = ask(engine, questions, -1)
        if skill in CURVE:
            curves[skill] = [share(ask(engine, questions, budget)) for budget in BUDGETS[:-1]] + [
                share(by_skill[skill])
            ]
    options.to.mkdir(parents=True, exist_ok=True)
    told = f"{options.count} questions for each skill.\n\n{table(by_skill)}\n\n{budget_table(curves)}\n"
    (options.to / "scores.md").write_text(told, "utf-8")
    chart(
        options.to / "budget.png",
        [Line(skill, list(enumerate(values))) for skill, values in curves.items()],
        title="What a cutoff costs: answers right against the thinking budget",
        across="thinking budget, tokens",
        up="% right",
        names=["none" if budget < 0 else str(budget) for budget in BUDGETS],
        top=100,
    )
    print(told)  # noqa: T201


if __name__ == "__main__":
    main()
