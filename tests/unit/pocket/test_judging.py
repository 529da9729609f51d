import pytest

from pocket.eval.scoring import is_right, overlap, overlaps

OPEN, CLOSE = "<|begin_of_box|>", "<|end_of_box|>"


def test_boxes_overlap_by_what_they_share() -> None:
    assert overlap((0, 0, 10, 10), (0, 0, 10, 10)) == 1
    assert overlap((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 10, 10), (10, 10, 20, 20)) == 0
    assert overlap((5, 5, 5, 5), (5, 5, 5, 5)) == 0


@pytest.mark.parametrize(
    ("answer", "wanted", "right"),
    [
        ("2", "2", True),
        ("3", "2", False),
        ("", "2", False),
        ("A red star and a blue square", "A blue square and a red star", True),
        ("A red star", "A red star and a red star", False),
        ("一个红色星形和一个蓝色圆形", "一个蓝色圆形和一个红色星形", True),
        ("A star, then a cross", "A cross, then a star", False),
        (f"{OPEN}[[0,0,100,100]]{CLOSE}", f"{OPEN}[[0,0,100,90]]{CLOSE}", True),
        (f"{OPEN}[[0,0,100,100]]{CLOSE}", f"{OPEN}[[0,60,100,160]]{CLOSE}", False),
        ("There is none.", f"{OPEN}[[0,60,100,160]]{CLOSE}", False),
        (f"1\nred star: {OPEN}[[0,0,9,9]]{CLOSE}", f"1\nblue star: {OPEN}[[0,0,9,9]]{CLOSE}", False),
    ],
)
def test_an_answer_is_right_or_not(answer: str, wanted: str, right: bool) -> None:
    assert is_right(answer, wanted) is right


def test_each_wanted_box_takes_the_best_one() -> None:
    assert overlaps("[[0,0,10,10],[50,50,60,60]]", "[[50,50,60,60],[0,0,10,10],[80,80,90,90]]") == [1, 1, 0]
