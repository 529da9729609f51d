"""The stages, on the pocket model's own tokenizer; the names tell the bugs that other engines had."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from engine.core.thinking import LOOP_FIRST, StagedGeneration, ends_in_loop
from engine.core.tokenizer_info import TokenizerInfo
from engine.errors import SequenceError
from engine.events import Phase, Token
from families import FAMILIES

POCKET = FAMILIES["pocket"]


@pytest.fixture(scope="module")
def tokenizer_info(pocket_folder: Path) -> TokenizerInfo:
    tokenizer = AutoTokenizer.from_pretrained(str(pocket_folder))
    ends = [tokenizer.convert_tokens_to_ids(mark) for mark in ("<|endoftext|>", "<|user|>", "<|observation|>")]
    return TokenizerInfo(tokenizer, POCKET, ends)


class Script:
    """Feeds a generation and keeps what came of it."""

    def __init__(
        self, tokenizer_info: TokenizerInfo, *, budget: int = -1, room: int = 10_000, answer: int = 1_000
    ) -> None:
        self.tokenizer_info = tokenizer_info
        self.control = StagedGeneration(tokenizer_info, budget=budget, room=room, max_answer_tokens=answer)
        self.tokens: list[Token] = self.control.begin()

    def say(self, *texts: str) -> "Script":
        """Each text is one token of the pocket vocabulary."""
        for text in texts:
            (token,) = self.tokenizer_info._tokenizer.encode(text, add_special_tokens=False)
            self.tokens += self.control.accept(token)
        return self

    def forced(self) -> str:
        return self.tokenizer_info.decode([token.id for token in self.tokens if token.forced])

    def text(self) -> str:
        return self.tokenizer_info.decode([token.id for token in self.tokens])


def test_a_model_that_closes_by_itself_is_left_alone(tokenizer_info: TokenizerInfo) -> None:
    script = Script(tokenizer_info, budget=50).say("<think>", " red", "</think>", "\n", "<answer>", " red", "</answer>")
    assert script.forced() == ""
    assert script.control.finish_reason == "stop"
    assert script.control.truncation_reason is None
    assert script.control.answer_tokens == 1


def test_the_budget_closes_with_the_familys_text(tokenizer_info: TokenizerInfo) -> None:
    script = Script(tokenizer_info, budget=5).say("<think>", *[" red"] * 5)
    assert script.text() == "<think>" + " red" * 5 + "</think>\n<answer>"
    assert script.forced() == POCKET.closing_text
    assert (script.control.thinking_tokens, script.control.truncation_reason) == (5, "budget")
    assert script.control.phase is Phase.ANSWER


def test_the_opening_mark_is_not_counted_and_neither_are_forced_tokens(tokenizer_info: TokenizerInfo) -> None:
    script = Script(tokenizer_info, budget=3).say("<think>", " red", " red")
    assert script.control.phase is Phase.THINKING
    script.say(" red")
    assert script.control.thinking_tokens == 3
    assert script.control.answer_tokens == 0


def test_a_model_that_skips_the_opening_mark_is_counted_from_its_first_token(tokenizer_info: TokenizerInfo) -> None:
    script = Script(tokenizer_info, budget=2).say(" red", " red")
    assert script.control.truncation_reason == "budget"


def test_budget_zero_closes_before_anything_is_sampled(tokenizer_info: TokenizerInfo) -> None:
    script = Script(tokenizer_info, budget=0)
    assert script.text() == POCKET.closing_text
    assert script.control.phase is Phase.ANSWER
    assert script.say(" red", "</answer>").control.finish_reason == "stop"
    assert script.control.thinking_tokens == 0


def test_budget_one_lets_one_token_pass(tokenizer_info: TokenizerInfo) -> None:
    script = Script(tokenizer_info, budget=1).say("<think>", " red")
    assert script.control.thinking_tokens == 1
    assert script.forced() == POCKET.closing_text


def test_no_budget_is_ended_by_the_context_only(tokenizer_info: TokenizerInfo) -> None:
    script = Script(tokenizer_info, budget=-1, room=40)
    for number in range(40):
        assert script.control.phase is Phase.THINKING
        script.say(" red" if number % 3 else " blue")
    assert script.control.truncation_reason == "context"


def test_from_nine_tenths_on_a_lines_end_closes(tokenizer_info: TokenizerInfo) -> None:
    early = Script(tokenizer_info, budget=20).say(*[" red"] * 16, "\n")
    assert early.control.phase is Phase.THINKING
    late = Script(tokenizer_info, budget=20).say(*[" red"] * 17, "\n")
    assert late.control.phase is Phase.ANSWER
    assert late.control.thinking_tokens == 18


def test_a_character_is_not_cut_in_two(tokenizer_info: TokenizerInfo) -> None:
    """Every engine surveyed but one cuts inside a character."""
    pieces = tokenizer_info._tokenizer.encode("🜚", add_special_tokens=False)
    assert len(pieces) == 4
    script = Script(tokenizer_info, budget=6).say(*[" red"] * 4)
    for piece in pieces[:3]:
        script.tokens += script.control.accept(piece)
        assert script.control.phase is Phase.THINKING
    script.tokens += script.control.accept(pieces[3])
    assert script.control.phase is Phase.ANSWER
    assert script.control.thinking_tokens == 8
    assert "\ufffd" not in script.text()


def test_bytes_that_never_become_a_character_get_three_tokens_of_grace(tokenizer_info: TokenizerInfo) -> None:
    lead = tokenizer_info._tokenizer.encode("🜚", add_special_tokens=False)[0]
    script = Script(tokenizer_info, budget=4)
    for _ in range(7):
        assert script.control.phase is Phase.THINKING
        script.tokens += script.control.accept(lead)
    assert script.control.phase is Phase.ANSWER


@pytest.mark.parametrize("end", ["<|endoftext|>", "<|user|>", "</answer>"])
def test_an_end_inside_thinking_is_dropped_and_the_answer_asked_for(tokenizer_info: TokenizerInfo, end: str) -> None:
    script = Script(tokenizer_info).say("<think>", " red", end)
    assert script.text() == "<think> red</think>\n<answer>"
    assert script.control.truncation_reason == "eos"
    assert script.control.finish_reason is None


def test_an_answer_mark_inside_thinking_closes_the_thought(tokenizer_info: TokenizerInfo) -> None:
    script = Script(tokenizer_info).say("<think>", " red", "<answer>", " blue")
    assert script.text() == "<think> red</think>\n<answer> blue"
    assert script.control.truncation_reason is None
    assert script.forced() == "</think>\n"


def test_a_bare_closing_mark_is_seen_whatever_follows_it(tokenizer_info: TokenizerInfo) -> None:
    """vLLM #39697: the phrase is awaited whole, a bare closing is missed, and the budget fires in the answer."""
    script = Script(tokenizer_info, budget=4).say("<think>", " red", "</think>", *[" blue"] * 20)
    assert script.control.phase is Phase.ANSWER
    assert script.forced() == ""
    assert script.control.answer_tokens == 20


def test_closed_thinking_cannot_be_opened_again(tokenizer_info: TokenizerInfo) -> None:
    """vLLM #43708: the model reopens thinking behind the cut. ferrox #205: a second closing behind budget 0."""
    for script in (Script(tokenizer_info, budget=0), Script(tokenizer_info, budget=1).say(" red")):
        suppressed_ids = tokenizer_info.decode(script.control.suppressed_ids)
        assert suppressed_ids == "<think></think>"
    assert Script(tokenizer_info).control.suppressed_ids == ()


def test_marks_come_from_the_tokenizer(tokenizer_info: TokenizerInfo) -> None:
    """SGLang's processor has GLM-4.5's ids written down, which are others than GLM-4.1V's."""
    assert tokenizer_info.decode([tokenizer_info.special_tokens.think_open]) == "<think>"
    assert tokenizer_info.special_tokens.think_open < 1_100, "no published id fits this small vocabulary"


def test_a_model_that_ends_without_an_answer_is_asked_for_one_once(tokenizer_info: TokenizerInfo) -> None:
    script = Script(tokenizer_info).say("<think>", " red", "</think>", "<|user|>")
    assert script.control.finish_reason is None
    assert script.text() == "<think> red</think>\n<answer>"
    assert script.say("<|user|>").control.finish_reason == "stop"


def test_an_answer_without_its_mark_is_an_answer(tokenizer_info: TokenizerInfo) -> None:
    script = Script(tokenizer_info).say("<think>", " red", "</think>", "\n", " blue", "<|user|>")
    assert script.control.finish_reason == "stop"
    assert script.control.answer_tokens == 1


def test_the_answer_has_a_limit_of_its_own(tokenizer_info: TokenizerInfo) -> None:
    script = Script(tokenizer_info, budget=2, answer=3).say(" red", " red", " blue", " blue")
    assert script.control.finish_reason is None
    assert script.say(" blue").control.finish_reason == "length"


def test_a_loop_closes_the_thinking(tokenizer_info: TokenizerInfo) -> None:
    script = Script(tokenizer_info)
    while script.control.phase is Phase.THINKING and script.control.thinking_tokens < 2 * LOOP_FIRST:
        script.say(" red", " blue", " green", " yellow", " one")
    assert script.control.truncation_reason == "repetition"
    assert script.control.thinking_tokens == LOOP_FIRST


def test_a_loop_ends_the_answer(tokenizer_info: TokenizerInfo) -> None:
    script = Script(tokenizer_info, budget=0)
    while script.control.finish_reason is None:
        script.say(" red", " blue", " green", " yellow")
    assert script.control.finish_reason == "repetition"


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([1, 2, 3, 4] * 3, True),
        ([9, 9, *([1, 2, 3, 4] * 3)], True),
        ([1, 2, 3] * 3, False),
        ([7] * 12, True),
        ([1, 2, 3, 4] * 2, False),
        ([*range(128)] * 3, True),
        ([*range(129)] * 3, False),
        ([*([1, 2, 3, 4] * 3), 5], False),
        ([], False),
    ],
)
def test_a_loop_is_three_copies_of_four_to_128_tokens(tokens: list[int], expected: bool) -> None:
    assert ends_in_loop(tokens) is expected


SCRIPTS = {
    "budget": (5, ["<think>", *[" red"] * 5, " blue", "</answer>"]),
    "budget zero": (0, [" blue", "</answer>"]),
    "natural": (50, ["<think>", " red", "</think>", "\n", "<answer>", " blue", "</answer>"]),
    "eos": (-1, ["<think>", " red", "<|user|>", " blue", "</answer>"]),
    "bare answer": (-1, ["<think>", " red", "<answer>", " blue", "</answer>"]),
    "no answer": (-1, ["<think>", " red", "</think>", "<|user|>", " blue", "</answer>"]),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_journal_cut_anywhere_leads_to_the_same_state(tokenizer_info: TokenizerInfo, name: str) -> None:
    budget, said = SCRIPTS[name]
    whole = Script(tokenizer_info, budget=budget).say(*said)
    for cut in range(len(whole.tokens) + 1):
        again = Script(tokenizer_info, budget=budget)
        again.control = StagedGeneration(tokenizer_info, budget=budget, room=10_000, max_answer_tokens=1_000)
        owed = again.control.replay(whole.tokens[:cut], lambda *_: None)
        rest = whole.tokens[cut:]
        if owed and rest[: len(owed)] != owed:
            # Cut between what nobody could tell apart: a bridge to an answer that the model opened by itself.
            assert name == "bare answer"
            continue
        again.tokens = [*whole.tokens[:cut], *owed]
        for token in rest[len(owed) :]:
            if not token.forced and len(again.tokens) < len(whole.tokens):
                again.tokens += again.control.accept(token.id)
        if name in ("eos", "no answer") and any(token.forced for token in rest[len(owed) :]):
            continue  # the dropped end is in no journal: a cut before it leaves the model free to go on otherwise
        assert again.tokens == whole.tokens
        for field in ("phase", "thinking_tokens", "answer_tokens", "truncation_reason", "finish_reason"):
            assert getattr(again.control, field) == getattr(whole.control, field)


def test_a_journal_made_under_other_rules_is_refused(tokenizer_info: TokenizerInfo) -> None:
    made_with_three = Script(tokenizer_info, budget=3).say(" red", " red", " red", " blue")
    control = StagedGeneration(tokenizer_info, budget=2, room=10_000, max_answer_tokens=100)
    with pytest.raises(SequenceError, match="other rules"):
        control.replay(made_with_three.tokens, lambda *_: None)
