import pytest

from families import FAMILIES, answer_of

MARKS = FAMILIES["pocket"].marks


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ("four", "four"),
        ("  four\n", "  four\n"),
        ("<think>one, two</think><answer>four</answer>", "four"),
        ("<think>\none\n</think>\n<answer>\nfour\n</answer>\n", "four"),
        ("<think>one</think>\nfour", "four"),
        ("<answer>four</answer>", "four"),
        ("<answer>cut off in the mid", "cut off in the mid"),
        ("<div>a <b>b</b></div>", "<div>a <b>b</b></div>"),
        ("<think>x</think><answer>use <answer>…</answer> tags</answer>", "use <answer>…</answer> tags"),
        ("say </think> aloud", "say </think> aloud"),
        ("<think>without an end", "<think>without an end"),
        ("at <|begin_of_box|>[[1,2,3,4]]<|end_of_box|>", "at <|begin_of_box|>[[1,2,3,4]]<|end_of_box|>"),
    ],
)
def test_history_keeps_the_answer_and_nothing_of_the_thinking(sent: str, seen: str) -> None:
    assert answer_of(sent, MARKS) == seen
