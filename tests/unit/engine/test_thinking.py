"""Thinking control with the pocket model's tokenizer. Some tests name the bugs of other engines that they prevent."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from engine.core.thinking import REPETITION_MIN_TOKENS, ThinkingController, ends_in_repetition
from engine.core.tokenizer_info import TokenizerInfo
from engine.errors import SequenceError
from engine.events import Phase, Token
from families import FAMILIES

POCKET = FAMILIES["pocket"]


@pytest.fixture(scope="module")
def tokenizer_info(pocket_folder: Path) -> TokenizerInfo:
    tokenizer = AutoTokenizer.from_pretrained(str(pocket_folder))
    ends = [tokenizer.convert_tokens_to_ids(token) for token in ("<|endoftext|>", "<|user|>", "<|observation|>")]
    return TokenizerInfo(tokenizer, POCKET, ends)


class Script:
    """Feeds tokens to a controller and records its output."""

    def __init__(
        self,
        tokenizer_info: TokenizerInfo,
        *,
        budget: int = -1,
        room: int = 10_000,
        answer: int = 1_000,
        total: int | None = None,
    ) -> None:
        self.tokenizer_info = tokenizer_info
        self.controller = ThinkingController(
            tokenizer_info,
            budget=budget,
            max_thinking_tokens=room,
            max_answer_tokens=answer,
            max_total_tokens=total,
        )
        self.tokens: list[Token] = self.controller.begin()

    def sample(self, *texts: str) -> "Script":
        """Each text is one token of the pocket vocabulary."""
        for text in texts:
            (token,) = self.tokenizer_info.encode(text)
            self.tokens += self.controller.accept(token)
        return self

    def forced(self) -> str:
        return self.tokenizer_info.decode([token.id for token in self.tokens if token.forced])

    def text(self) -> str:
        return self.tokenizer_info.decode([token.id for token in self.tokens])


def test_a_model_that_closes_its_thinking_is_not_changed(tokenizer_info: TokenizerInfo) -> None:
    script = Script(tokenizer_info, budget=50).sample(
        "<think>", " red", "</think>", "\n", "<answer>", " red", "</answer>"
    )
    assert script.forced() == ""
    assert script.controller.finish_reason == "stop"
    assert script.controller.truncation_reason is None
    assert script.controller.answer_tokens == 1


def test_the_budget_closes_the_thinking_with_the_familys_text(tokenizer_info: TokenizerInfo) -> None:
    script = Script(tokenizer_info, budget=5).sample("<think>", *[" red"] * 5)
    assert script.text() == "<think>" + " red" * 5 + "</think>\n<answer>"
    assert script.forced() == POCKET.closing_text
    assert (script.controller.thinking_tokens, script.controller.truncation_reason) == (5, "budget")
    assert script.controller.phase is Phase.ANSWER


def test_a_total_gives_the_answer_what_the_thinking_leaves(tokenizer_info: TokenizerInfo) -> None:
    for thinking in (1, 4, 6):
        script = Script(tokenizer_info, budget=6, total=10).sample("<think>", *[" red"] * thinking)
        if thinking < 6:
            script.sample("</think>")
        while script.controller.finish_reason is None:
            script.sample(" red")
        assert (script.controller.thinking_tokens, script.controller.answer_tokens) == (thinking, 10 - thinking)
        assert script.controller.finish_reason == "length"


def test_a_total_leaves_an_answer_although_the_budget_ends_inside_a_character(tokenizer_info: TokenizerInfo) -> None:
    script = Script(tokenizer_info, budget=4, total=6).sample(*[" red"] * 3)
    for piece in tokenizer_info.encode("🜚"):
        if script.controller.phase is Phase.THINKING:
            script.tokens += script.controller.accept(piece)
    assert script.controller.thinking_tokens == 5
    assert script.sample(" red").controller.finish_reason == "length"


def test_the_opening_token_and_forced_tokens_do_not_count(tokenizer_info: TokenizerInfo) -> None:
    script = Script(tokenizer_info, budget=3).sample("<think>", " red", " red")
    assert script.controller.phase is Phase.THINKING
    script.sample(" red")
    assert script.controller.thinking_tokens == 3
    assert script.controller.answer_tokens == 0


def test_without_an_opening_token_the_first_token_counts(tokenizer_info: TokenizerInfo) -> None:
    script = Script(tokenizer_info, budget=2).sample(" red", " red")
    assert script.controller.truncation_reason == "budget"


def test_budget_zero_closes_the_thinking_before_sampling(tokenizer_info: TokenizerInfo) -> None:
    script = Script(tokenizer_info, budget=0)
    assert script.text() == POCKET.closing_text
    assert script.controller.phase is Phase.ANSWER
    assert script.sample(" red", "</answer>").controller.finish_reason == "stop"
    assert script.controller.thinking_tokens == 0


def test_budget_one_allows_one_token(tokenizer_info: TokenizerInfo) -> None:
    script = Script(tokenizer_info, budget=1).sample("<think>", " red")
    assert script.controller.thinking_tokens == 1
    assert script.forced() == POCKET.closing_text


def test_without_a_budget_the_context_limits_the_thinking(tokenizer_info: TokenizerInfo) -> None:
    script = Script(tokenizer_info, budget=-1, room=40)
    for number in range(40):
        assert script.controller.phase is Phase.THINKING
        script.sample(" red" if number % 3 else " blue")
    assert script.controller.truncation_reason == "context"


def test_from_nine_tenths_of_the_budget_a_line_end_closes_the_thinking(tokenizer_info: TokenizerInfo) -> None:
    early = Script(tokenizer_info, budget=20).sample(*[" red"] * 16, "\n")
    assert early.controller.phase is Phase.THINKING
    late = Script(tokenizer_info, budget=20).sample(*[" red"] * 17, "\n")
    assert late.controller.phase is Phase.ANSWER
    assert late.controller.thinking_tokens == 18


def test_the_budget_does_not_split_a_character(tokenizer_info: TokenizerInfo) -> None:
    """Of all engines surveyed, only one avoids this."""
    pieces = tokenizer_info.encode("🜚")
    assert len(pieces) == 4
    script = Script(tokenizer_info, budget=6).sample(*[" red"] * 4)
    for piece in pieces[:3]:
        script.tokens += script.controller.accept(piece)
        assert script.controller.phase is Phase.THINKING
    script.tokens += script.controller.accept(pieces[3])
    assert script.controller.phase is Phase.ANSWER
    assert script.controller.thinking_tokens == 8
    assert "\ufffd" not in script.text()


def test_an_incomplete_character_gets_three_tokens_of_grace(tokenizer_info: TokenizerInfo) -> None:
    lead = tokenizer_info.encode("🜚")[0]
    script = Script(tokenizer_info, budget=4)
    for _ in range(7):
        assert script.controller.phase is Phase.THINKING
        script.tokens += script.controller.accept(lead)
    assert script.controller.phase is Phase.ANSWER


@pytest.mark.parametrize("end", ["<|endoftext|>", "<|user|>", "</answer>"])
def test_a_stop_token_inside_thinking_is_dropped_and_opens_the_answer(tokenizer_info: TokenizerInfo, end: str) -> None:
    script = Script(tokenizer_info).sample("<think>", " red", end)
    assert script.text() == "<think> red</think>\n<answer>"
    assert script.controller.truncation_reason == "eos"
    assert script.controller.finish_reason is None


def test_an_answer_token_inside_thinking_closes_the_thinking(tokenizer_info: TokenizerInfo) -> None:
    script = Script(tokenizer_info).sample("<think>", " red", "<answer>", " blue")
    assert script.text() == "<think> red</think>\n<answer> blue"
    assert script.controller.truncation_reason is None
    assert script.forced() == "</think>\n"


def test_a_bare_closing_token_is_detected_whatever_follows(tokenizer_info: TokenizerInfo) -> None:
    """vLLM #39697: a bare closing token is missed, and the budget fires in the answer."""
    script = Script(tokenizer_info, budget=4).sample("<think>", " red", "</think>", *[" blue"] * 20)
    assert script.controller.phase is Phase.ANSWER
    assert script.forced() == ""
    assert script.controller.answer_tokens == 20


def test_closed_thinking_cannot_be_reopened(tokenizer_info: TokenizerInfo) -> None:
    """vLLM #43708: the model reopens thinking after the cut. ferrox #205: a second closing token after budget 0."""
    for script in (Script(tokenizer_info, budget=0), Script(tokenizer_info, budget=1).sample(" red")):
        assert tokenizer_info.decode(script.controller.suppressed_ids) == "<think></think>"
    assert Script(tokenizer_info).controller.suppressed_ids == ()


def test_special_token_ids_come_from_the_tokenizer(tokenizer_info: TokenizerInfo) -> None:
    """SGLang's processor hard-codes GLM-4.5's ids, which differ from GLM-4.1V's."""
    assert tokenizer_info.decode([tokenizer_info.special_tokens.think_open]) == "<think>"
    assert tokenizer_info.special_tokens.think_open < 1_100, "no published id fits this small vocabulary"


def test_a_model_that_stops_without_an_answer_is_prompted_for_one_once(tokenizer_info: TokenizerInfo) -> None:
    script = Script(tokenizer_info).sample("<think>", " red", "</think>", "<|user|>")
    assert script.controller.finish_reason is None
    assert script.text() == "<think> red</think>\n<answer>"
    assert script.sample("<|user|>").controller.finish_reason == "stop"


def test_an_answer_without_its_opening_token_is_an_answer(tokenizer_info: TokenizerInfo) -> None:
    script = Script(tokenizer_info).sample("<think>", " red", "</think>", "\n", " blue", "<|user|>")
    assert script.controller.finish_reason == "stop"
    assert script.controller.answer_tokens == 1


def test_the_answer_has_its_own_limit(tokenizer_info: TokenizerInfo) -> None:
    script = Script(tokenizer_info, budget=2, answer=3).sample(" red", " red", " blue", " blue")
    assert script.controller.finish_reason is None
    assert script.sample(" blue").controller.finish_reason == "length"


def test_repetition_closes_the_thinking(tokenizer_info: TokenizerInfo) -> None:
    script = Script(tokenizer_info)
    while script.controller.phase is Phase.THINKING and script.controller.thinking_tokens < 2 * REPETITION_MIN_TOKENS:
        script.sample(" red", " blue", " green", " yellow", " one")
    assert script.controller.truncation_reason == "repetition"
    assert script.controller.thinking_tokens == REPETITION_MIN_TOKENS


def test_repetition_ends_the_answer(tokenizer_info: TokenizerInfo) -> None:
    script = Script(tokenizer_info, budget=0)
    while script.controller.finish_reason is None:
        script.sample(" red", " blue", " green", " yellow")
    assert script.controller.finish_reason == "repetition"


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
def test_repetition_is_three_copies_of_four_to_128_tokens(tokens: list[int], expected: bool) -> None:
    assert ends_in_repetition(tokens) is expected


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
    budget, texts = SCRIPTS[name]
    whole = Script(tokenizer_info, budget=budget).sample(*texts)
    for cut in range(len(whole.tokens) + 1):
        resumed = Script(tokenizer_info, budget=budget)
        resumed.controller = ThinkingController(
            tokenizer_info, budget=budget, max_thinking_tokens=10_000, max_answer_tokens=1_000
        )
        pending = resumed.controller.replay(whole.tokens[:cut], lambda *_: None)
        rest = whole.tokens[cut:]
        if pending and rest[: len(pending)] != pending:
            # Cut inside the bridge to an answer that the model opened: the journal does not tell it from a dropped EOS.
            assert name == "bare answer"
            continue
        resumed.tokens = [*whole.tokens[:cut], *pending]
        for token in rest[len(pending) :]:
            if not token.forced and len(resumed.tokens) < len(whole.tokens):
                resumed.tokens += resumed.controller.accept(token.id)
        if name in ("eos", "no answer") and any(token.forced for token in rest[len(pending) :]):
            continue  # the dropped stop token is not in the journal, so the model may continue otherwise
        assert resumed.tokens == whole.tokens
        for field in ("phase", "thinking_tokens", "answer_tokens", "truncation_reason", "finish_reason"):
            assert getattr(resumed.controller, field) == getattr(whole.controller, field)


def test_a_journal_with_other_settings_is_rejected(tokenizer_info: TokenizerInfo) -> None:
    with_budget_three = Script(tokenizer_info, budget=3).sample(" red", " red", " red", " blue")
    controller = ThinkingController(tokenizer_info, budget=2, max_thinking_tokens=10_000, max_answer_tokens=100)
    with pytest.raises(SequenceError, match="other settings"):
        controller.replay(with_budget_three.tokens, lambda *_: None)
