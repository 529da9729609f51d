import pytest

from pocket.eval.scoring import best_ious, iou, is_right

OPEN, CLOSE = "<|begin_of_box|>", "<|end_of_box|>"


def test_intersection_over_union() -> None:
    assert iou((0, 0, 10, 10), (0, 0, 10, 10)) == 1
    assert iou((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert iou((0, 0, 10, 10), (10, 10, 20, 20)) == 0
    assert iou((5, 5, 5, 5), (5, 5, 5, 5)) == 0


@pytest.mark.parametrize(
    ("answer", "expected", "right"),
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
def test_answers_are_compared_with_the_expected_ones(answer: str, expected: str, right: bool) -> None:
    assert is_right(answer, expected) is right


def test_each_expected_box_is_matched_with_the_best_box() -> None:
    assert best_ious("[[0,0,10,10],[50,50,60,60]]", "[[50,50,60,60],[0,0,10,10],[80,80,90,90]]") == [1, 1, 0]
