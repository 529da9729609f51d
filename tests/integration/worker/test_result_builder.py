"""The result of a generation has boxes in pixels of the client's image, and annotated images in the object store."""

import io

from PIL import Image

from engine import Finished
from families import FAMILIES
from jobs.model.documents.prepared import PreparedImage, PreparedInputs, PreparedVideo
from jobs.model.job import JobStatus, Stage
from jobs.objects.keys import job_folder
from testing.table import Table
from worker.generate.result_builder import Interruption, ResultBuilder

SPECIAL_TOKENS = FAMILIES["pocket"].special_tokens
ANSWER = (
    "- red: <|begin_of_box|>[[0,0,500,500]]<|end_of_box|>\n- blue: <|begin_of_box|>[[500,500,999,999]]<|end_of_box|>"
)


def ended(answer: str) -> Finished:
    raw = f"<think>I look.</think>\n<answer>{answer}</answer>"
    return Finished("stop", "I look.", "stripped", raw, None, 9, 3, 7, 1, 0.0, 1.0, 2.0, 3.0)


def test_boxes_are_converted_to_pixels_and_drawn_into_their_image(table: Table) -> None:
    table.accept("job_a")
    claimed = table.claim(Stage.PREPARE)
    assert claimed is not None
    job = claimed.job
    png = io.BytesIO()
    Image.new("RGB", (100, 50), "white").save(png, "PNG")
    table.object_store.put("jobs/job_a/a1-x/0.png", png.getvalue())
    inputs = PreparedInputs([], (PreparedImage("jobs/job_a/a1-x/0.png", 100, 50, 2_000, 1_000),))

    result = ResultBuilder(table.object_store, SPECIAL_TOKENS).build_and_upload(job, inputs, ended(ANSWER), None)
    assert result.output is not None
    assert [(box["label"], box["xyxy"]) for box in result.output["boxes"]] == [
        ("red", (0, 0, 1_000, 500)),
        ("blue", (1_000, 500, 1_998, 999)),
    ]
    assert result.output["raw"].endswith("</answer>")
    assert [(medium.kind, medium.name) for medium in result.media] == [
        ("input", "0.png"),
        ("annotated", "0-boxes.png"),
    ]
    key = result.media[1].key
    assert key == f"{job_folder(job.id)}/a{job.attempt}-{job.claim}/0-boxes.png", "under the claim of the worker"
    drawn = Image.open(io.BytesIO(table.object_store.get(key)))
    assert drawn.size == (100, 50)
    assert drawn.getcolors(5_000) != Image.new("RGB", (100, 50), "white").getcolors()


def test_pages_and_videos_have_names_and_an_interrupted_job_keeps_its_output(table: Table) -> None:
    table.accept("job_a")
    claimed = table.claim(Stage.PREPARE)
    assert claimed is not None
    pages = tuple(PreparedImage("k", 9, 9, 9, 9, page=number) for number in (3, 8))
    video = PreparedVideo("v.zip", 9, 9, (0.0, 0.5), 9, 9, sheet_key="sheet.png")
    interruption = Interruption(JobStatus.CANCELLED, "cancelled", "The job was cancelled.")
    result = ResultBuilder(table.object_store, SPECIAL_TOKENS).build_and_upload(
        claimed.job, PreparedInputs([], pages, (video,)), ended("x"), interruption
    )
    assert [(medium.kind, medium.name, medium.key) for medium in result.media] == [
        ("page", "0-page-3.png", "k"),
        ("page", "1-page-8.png", "k"),
        ("contact_sheet", "video-0.png", "sheet.png"),
    ]
    assert (result.status, result.error_code) == (JobStatus.CANCELLED, "cancelled")
    assert result.output is not None
    assert result.output["thinking"] == "I look."
