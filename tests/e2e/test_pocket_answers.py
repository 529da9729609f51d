"""Does the service work? Right answers by the model that is shipped, through real processes."""

import base64
import io
import random
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest
from PIL import Image, ImageDraw, ImageFont

from cli.commands.demo import IMAGE, QUESTION, RIGHT_ANSWER
from pocket.eval.scoring import boxes, overlap
from pocket.world.scenes import Crowd, Scene, new_scene
from testing.request_bodies import image_part, question
from testing.servers import Servers, settings_of
from testing.service import Service, new_service
from testing.table import new_table

RED_CIRCLES = ((40, 40, 130, 131), (360, 180, 461, 281))
"""In pixels of the demo's picture."""
SIDE = 112


@pytest.fixture(scope="module")
def seeing(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of the shipped model."""
    environment = servers.environment(database=2, bucket="seeing")
    table = new_table(settings_of(environment))
    service = new_service(table, environment, tmp_path_factory.mktemp("seeing"), "pocket")
    service.start("api", "prepare", "generate", "keeper")
    try:
        service.wait_for_workers(prepare=1, generate=1, keeper=1)
        yield service
    finally:
        service.stop()


def png(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def answered(service: Service, *parts: str | dict[str, Any], budget: int = 256) -> dict[str, Any]:
    job = service.wait_for_end(service.submit(messages=question(*parts), thinking={"budget_tokens": budget}))
    assert job["status"] == "completed", job
    return job


DEMO = image_part(png(Image.open(IMAGE)))


def test_the_demos_question_is_answered_rightly_with_a_box_round_each(seeing: Service) -> None:
    job = answered(seeing, DEMO, QUESTION)
    assert job["output"]["answer"].splitlines()[0] == RIGHT_ANSWER
    assert not job["thinking_truncated"]
    (drawn,) = [medium for medium in job["media"] if medium["kind"] == "annotated"]
    assert Image.open(io.BytesIO(httpx.get(drawn["url"], timeout=10).content)).format == "PNG"
    told = boxes(job["output"]["raw"])
    assert len(told) == len(RED_CIRCLES)
    for box, (left, top, right, bottom) in zip(told, RED_CIRCLES, strict=True):
        there = (left / 0.504, top / 0.336, right / 0.504, bottom / 0.336)
        assert overlap(box, tuple(map(round, there))) > 0.6


def test_a_cut_thought_still_ends_in_an_answer_from_the_picture(seeing: Service) -> None:
    """Cut behind its first line: the answer names things of which the thought had not told yet."""
    job = answered(seeing, DEMO, "Describe the picture.", budget=16)
    assert (job["thinking_truncated"], job["truncation_reason"]) == (True, "budget")
    assert job["usage"]["thinking_tokens"] <= 19
    assert "triangle" not in job["output"]["thinking"]
    assert "green triangle" in job["output"]["answer"]


def five_scenes(rng: random.Random) -> list[Scene]:
    """One thing on each, another one on each."""
    while True:
        scenes = [new_scene(rng, (SIDE, SIDE), Crowd(1, 1, wild=False)) for _ in range(5)]
        if len({scene.things[0].kind for scene in scenes}) == 5:
            return scenes


@pytest.mark.parametrize("number", [1, 3, 5])
def test_each_of_five_pictures_is_the_one_it_is_counted_as(seeing: Service, number: int) -> None:
    """It takes one thing for another in one picture of a hundred: so four times, of which one may go wrong."""
    rng = random.Random(8)
    right = 0
    for _ in range(4):
        scenes = five_scenes(rng)
        parts = [image_part(png(scene.picture())) for scene in scenes]
        job = answered(seeing, *parts, f"What is in picture {number}?")
        asked = scenes[number - 1].things[0].kind
        right += job["output"]["answer"].lower().endswith(f" {asked.color} {asked.shape}")
    assert right >= 3


def sheets(numbers: Sequence[str]) -> list[Image.Image]:
    pages = []
    for number in numbers:
        page = Image.new("RGB", (600, 840), "white")
        ImageDraw.Draw(page).text((150, 300), number, "black", font=ImageFont.load_default(180))
        pages.append(page)
    return pages


def test_the_second_page_of_a_document_is_read(seeing: Service) -> None:
    first, *rest = sheets(["81", "407", "36"])
    file = io.BytesIO()
    first.save(file, "PDF", save_all=True, append_images=rest)
    url = f"data:application/pdf;base64,{base64.b64encode(file.getvalue()).decode()}"
    job = answered(seeing, {"type": "file", "file": {"file_data": url}}, "What number is on page 2?")
    assert job["output"]["answer"] == "407"


def test_it_is_asked_in_chinese(seeing: Service) -> None:
    job = answered(seeing, DEMO, "有几个圆形？")
    assert job["output"]["answer"] == "3"
