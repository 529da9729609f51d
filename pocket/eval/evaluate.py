"""Evaluates the pocket model on new scenes through the engine.

    python -m pocket.eval.evaluate [MODEL] [--count N] [--to FOLDER] [--fonts FOLDER] [--skills NAMES] [--svg]

Writes a table and the curve of accuracy against the thinking budget. The seeds differ from those of training.
``--skills`` prints a table of these skills only; ``--svg`` prints one for scenes that librsvg draws.
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
from pocket.eval.chart import Series, line_chart
from pocket.eval.scoring import best_ious, is_right
from pocket.model import WEIGHTS as SHIPPED
from pocket.tasks.aux_targets import SIDE
from pocket.tasks.example import Example
from pocket.tasks.multi_image import among, compare
from pocket.tasks.pages import Fonts, pages
from pocket.tasks.scene_questions import SCENE_QUESTIONS, QuestionGenerator, follow_up_example, single_turn_example
from pocket.tasks.synthetic_dataset import FULL, LARGER, SCREENS, SHEETS, SMALL, THUMBNAILS, WEIGHTS, spec_for
from pocket.tasks.video import video_example
from pocket.world.lexicon import LANGUAGES, Language
from pocket.world.render_svg import redraw_as_svg
from pocket.world.scenes import Scene, new_scene

FIRST_SEED = 500_000_000
BUDGETS = (0, 8, 16, 32, 64, -1)
CURVE = ("count", "exists", "show", "describe", "compare")
"""Skills whose thoughts grow with the scene."""
GREEDY = SamplingParams(temperature=0, top_p=1, top_k=0, repetition_penalty=1, seed=0)
MAX_IN_FLIGHT = 64
"""Limit of submitted requests, because their inputs take memory."""


@dataclass(frozen=True)
class EvalResult:
    example: Example
    ended: Finished

    @property
    def is_right(self) -> bool:
        return is_right(self.ended.answer, self.example.answer)


Draw = Callable[[random.Random, Scene], tuple[Scene, Image.Image]]


class QuestionSet:
    """The evaluation questions: the same for each skill and number.

    Args:
        draw: draws a scene and returns its visible part and the image. With it, all questions are about one scene.
    """

    def __init__(self, fonts: Fonts, draw: Draw | None = None) -> None:
        self._fonts = fonts
        self._draw = draw or (lambda _rng, scene: (scene, scene.image()))
        self._skills = {generator.__name__: self._about_a_scene(generator) for generator in SCENE_QUESTIONS}
        if not draw:
            self._skills |= self._others()

    def _others(self) -> dict[str, Callable[[random.Random, Language], Example]]:
        return {
            "follow-up": lambda rng, language: follow_up_example(
                rng, scene := _scene(rng), scene.image(), language, WEIGHTS
            ),
            "compare": lambda rng, language: compare(rng, [_size(rng, THUMBNAILS + LARGER)] * 2, language),
            "among": lambda rng, language: among(rng, [_size(rng, THUMBNAILS)] * rng.choice([2, 3, 5]), language),
            "pages": lambda rng, language: pages(
                rng, [_size(rng, SHEETS)] * rng.choice([1, 1, 2, 4]), language, self._fonts
            ),
            "video": lambda rng, language: video_example(rng, _size(rng, SCREENS), rng.choice([2, 3, 4, 6]), language),
        }

    @property
    def skills(self) -> list[str]:
        return list(self._skills)

    def questions(self, skill: str, count: int) -> list[Example]:
        """Return questions, half of them in each language."""
        place = 1_000_000 * self.skills.index(skill)
        return [
            self._skills[skill](random.Random(FIRST_SEED + place + number), LANGUAGES[number % 2])
            for number in range(count)
        ]

    def _about_a_scene(self, generator: QuestionGenerator) -> Callable[[random.Random, Language], Example]:
        def example(rng: random.Random, language: Language) -> Example:
            while True:
                scene, image = self._draw(rng, _scene(rng))
                if asked := generator(rng, scene, language):
                    return single_turn_example(rng, asked, scene, image, language)

        return example


def _size(rng: random.Random, grids: Sequence[tuple[int, int]]) -> tuple[int, int]:
    grid = rng.choice(grids)
    return grid[0] * SIDE, grid[1] * SIDE


def _scene(rng: random.Random) -> Scene:
    grid = rng.choice(rng.choice((SMALL, FULL)))
    return new_scene(rng, (grid[0] * SIDE, grid[1] * SIDE), spec_for(rng, grid))


def run_questions(engine: Engine, examples: Sequence[Example], budget: int) -> list[EvalResult]:
    """Run all questions through the engine, many at once."""
    limit = FAMILIES["pocket"].max_answer_tokens
    results = []
    for start in range(0, len(examples), MAX_IN_FLIGHT):
        part = examples[start : start + MAX_IN_FLIGHT]
        events: list[list[Event]] = [[] for _ in part]
        for number, example in enumerate(part):
            inputs = engine.prepare(example.messages, example.images, example.videos, enable_thinking=budget != 0)
            request = Request(str(number), inputs, budget, limit, GREEDY, keep_box_tokens=True)
            engine.submit(request, events[number].append)
        while not engine.is_idle:
            engine.step()
        for example, report in zip(part, events, strict=True):
            ended = report[-1]
            if not isinstance(ended, Finished):
                raise RuntimeError(f"the engine failed on {example.messages}: {ended}")
            results.append(EvalResult(example, ended))
    return results


def accuracy(results: Sequence[EvalResult], language: Language | None = None) -> float:
    """Return the percentage of correct answers."""
    chosen = [result.is_right for result in results if language in (None, result.example.language)]
    return 100 * sum(chosen) / len(chosen) if chosen else 0.0


def scores_table(by_skill: dict[str, list[EvalResult]]) -> str:
    """Return the scores as a Markdown table."""
    lines = [
        "| skill | correct | English | Chinese | thought, tokens | mean IoU of boxes |",
        "|---|---|---|---|---|---|",
    ]
    for skill, results in by_skill.items():
        thoughts = [result.ended.thinking_tokens for result in results]
        covers = [cover for result in results for cover in best_ious(result.ended.answer, result.example.answer)]
        lines.append(
            f"| {skill} | {accuracy(results):.1f} % | {accuracy(results, 'en'):.1f} % "
            f"| {accuracy(results, 'zh'):.1f} % "
            f"| {min(thoughts)} to {max(thoughts)} | {f'{sum(covers) / len(covers):.2f}' if covers else ''} |"
        )
    return "\n".join(lines)


def budget_table(curves: dict[str, list[float]]) -> str:
    x_tick_labels = ["none" if budget < 0 else str(budget) for budget in BUDGETS]
    lines = [f"| budget, tokens | {' | '.join(x_tick_labels)} |", "|---|" + "---|" * len(x_tick_labels)]
    lines += [
        f"| {skill} | " + " | ".join(f"{value:.1f} %" for value in values) + " |" for skill, values in curves.items()
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", default=SHIPPED)
    parser.add_argument("--count", type=int, default=200, help="questions per skill")
    parser.add_argument("--to", type=Path, default=Path(__file__).parents[1] / "scores")
    parser.add_argument("--fonts", type=Path, help="folder of fonts for pages, in addition to Pillow's")
    parser.add_argument("--svg", action="store_true", help="use scenes drawn by librsvg")
    parser.add_argument("--skills", help="only these skills, comma-separated")
    options = parser.parse_args()
    exam = QuestionSet(Fonts(options.fonts), redraw_as_svg if options.svg else None)
    skills = options.skills.split(",") if options.skills else exam.skills
    if unknown := sorted(set(skills) - set(exam.skills)):
        parser.error(f"unknown skill {unknown[0]}; known are {', '.join(exam.skills)}")
    engine = Engine.load(str(options.model), revision="main", device="auto", dtype="auto", family=FAMILIES["pocket"])
    if options.svg or options.skills:
        by_skill = {skill: run_questions(engine, exam.questions(skill, options.count), -1) for skill in skills}
        print(scores_table(by_skill))  # noqa: T201
        return
    by_skill = {}
    curves: dict[str, list[float]] = {}
    for skill in tqdm(exam.skills, desc="evaluating"):
        questions = exam.questions(skill, options.count)
        by_skill[skill] = run_questions(engine, questions, -1)
        if skill in CURVE:
            curves[skill] = [accuracy(run_questions(engine, questions, budget)) for budget in BUDGETS[:-1]] + [
                accuracy(by_skill[skill])
            ]
    options.to.mkdir(parents=True, exist_ok=True)
    report = f"{options.count} questions per skill.\n\n{scores_table(by_skill)}\n\n{budget_table(curves)}\n"
    (options.to / "scores.md").write_text(report, "utf-8")
    line_chart(
        options.to / "budget.png",
        [Series(skill, list(enumerate(values))) for skill, values in curves.items()],
        title="Accuracy against the thinking budget",
        x_label="thinking budget, tokens",
        y_label="% correct",
        x_tick_labels=["none" if budget < 0 else str(budget) for budget in BUDGETS],
        top=100,
    )
    print(report)  # noqa: T201


if __name__ == "__main__":
    main()
