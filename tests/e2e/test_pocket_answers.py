"""The shipped model gives right answers through the whole service."""

import base64
import io
import random
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest
from PIL import Image, ImageDraw, ImageFont

from cli.commands.demo import IMAGE, QUESTION, RIGHT_ANSWER
from pocket.eval.scoring import boxes, iou
from pocket.world.scenes import Scene, SceneSpec, new_scene
from testing.inputs.request_bodies import image_part, question
from testing.processes.servers import Servers
from testing.processes.service import Service, started_service

RED_CIRCLES = ((40, 40, 130, 131), (360, 180, 461, 281))
"""In pixels of the demo's picture."""
SIDE = 112


@pytest.fixture(scope="module")
def pocket_service(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with the shipped model."""
    with started_service(servers, "pocket", tmp_path_factory.mktemp("pocket-service"), "pocket") as service:
        yield service


def png(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def answered(service: Service, *parts: str | dict[str, Any], budget: int = 256) -> dict[str, Any]:
    job = service.wait_for_end(service.submit(messages=question(*parts), thinking={"budget_tokens": budget}))
    assert job["status"] == "completed", job
    return job


DEMO = image_part(png(Image.open(IMAGE)))


def test_the_question_of_the_demo_is_answered_with_a_box_around_each_object(pocket_service: Service) -> None:
    job = answered(pocket_service, DEMO, QUESTION)
    assert job["output"]["answer"].splitlines()[0] == RIGHT_ANSWER
    assert not job["thinking_truncated"]
    (drawn,) = [medium for medium in job["media"] if medium["kind"] == "annotated"]
    assert Image.open(io.BytesIO(httpx.get(drawn["url"], timeout=10).content)).format == "PNG"
    found = boxes(job["output"]["raw"])
    assert len(found) == len(RED_CIRCLES)
    for box, (left, top, right, bottom) in zip(found, RED_CIRCLES, strict=True):
        expected = (left / 0.504, top / 0.336, right / 0.504, bottom / 0.336)
        assert iou(box, tuple(map(round, expected))) > 0.6


def test_truncated_thinking_still_ends_in_an_answer_from_the_picture(pocket_service: Service) -> None:
    """Truncated after the first line: the answer names objects that the thinking had not mentioned yet."""
    job = answered(pocket_service, DEMO, "Describe the picture.", budget=16)
    assert (job["thinking_truncated"], job["truncation_reason"]) == (True, "budget")
    assert job["usage"]["thinking_tokens"] <= 19
    assert "triangle" not in job["output"]["thinking"]
    assert "green triangle" in job["output"]["answer"]


def five_scenes(rng: random.Random) -> list[Scene]:
    """Return five scenes with one object each, of five different kinds."""
    while True:
        scenes = [new_scene(rng, (SIDE, SIDE), SceneSpec(1, 1, varied=False)) for _ in range(5)]
        if len({scene.objects[0].kind for scene in scenes}) == 5:
            return scenes


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 3, 5])
def test_each_of_five_pictures_is_found_by_its_number(pocket_service: Service, number: int) -> None:
    """The model mistakes one object in a hundred for another: one of the four answers may be wrong."""
    rng = random.Random(8)
    right = 0
    for _ in range(4):
        scenes = five_scenes(rng)
        parts = [image_part(png(scene.image())) for scene in scenes]
        job = answered(pocket_service, *parts, f"What is in picture {number}?")
        asked = scenes[number - 1].objects[0].kind
        right += job["output"]["answer"].lower().endswith(f" {asked.color} {asked.shape}")
    assert right >= 3


def pages_with(numbers: Sequence[str]) -> list[Image.Image]:
    pages = []
    for number in numbers:
        page = Image.new("RGB", (600, 840), "white")
        ImageDraw.Draw(page).text((150, 300), number, "black", font=ImageFont.load_default(180))
        pages.append(page)
    return pages


def test_the_second_page_of_a_document_is_read(pocket_service: Service) -> None:
    first, *rest = pages_with(["81", "407", "36"])
    file = io.BytesIO()
    first.save(file, "PDF", save_all=True, append_images=rest)
    url = f"data:application/pdf;base64,{base64.b64encode(file.getvalue()).decode()}"
    job = answered(pocket_service, {"type": "file", "file": {"file_data": url}}, "What number is on page 2?")
    assert job["output"]["answer"] == "407"


def test_a_question_in_chinese_is_answered(pocket_service: Service) -> None:
    job = answered(pocket_service, DEMO, "有几个圆形？")
    assert job["output"]["answer"] == "3"
