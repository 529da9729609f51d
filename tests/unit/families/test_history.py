import pytest

from families import FAMILIES, extract_answer, history_answer

SPECIAL_TOKENS = FAMILIES["pocket"].special_tokens


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
def test_history_contains_the_answer_without_the_thinking(sent: str, seen: str) -> None:
    assert history_answer(sent, SPECIAL_TOKENS) == seen


@pytest.mark.parametrize(
    ("raw", "answer"),
    [
        ("<think>one, two</think>\n<answer>four</answer>", "four"),
        ("one, two</think>\n<answer>four", "four"),
        ("</think>\n<answer>at <|begin_of_box|>4<|end_of_box|></answer>", "at <|begin_of_box|>4<|end_of_box|>"),
        ("<think>one</think>\nfour", "four"),
        ("four", "four"),
        ("", ""),
    ],
)
def test_the_answer_of_a_complete_output_is_the_text_after_the_thinking(raw: str, answer: str) -> None:
    assert extract_answer(raw, SPECIAL_TOKENS) == answer
