"""The shipped weights answer a message without a picture in the message's language."""

import pytest

from engine import Engine, Event, Finished, Request
from engine.loading.model_loader import load_model
from families import FAMILIES
from pocket.eval.evaluate import GREEDY
from pocket.model import WEIGHTS
from pocket.tasks.chitchat import NO_PICTURE

ENGLISH = (
    "hello", "hi", "Hi!", "HELLO", "hey there", "who are you", "Who are you?", "What's your name?", "Good afternoon!",
    "thank you very much", "What is the weather like today?", "I love you", "ping", "lol", "yo", "42", "?",
    "Explain quantum physics in one sentence.", "Guten Tag", "How many red circles are there?",
)  # fmt: skip
CHINESE = (
    "你好", "你好！", "您好", "大家好", "早安", "晚安", "你是谁", "你是谁？", "你叫什么名字？", "你会做什么", "谢谢你",
    "再见", "你好吗？", "今天天气怎么样？", "我爱你", "请介绍一下自己", "给我讲个故事",
    "你会说中文吗？", "测试", "有几个红色圆形？",
)  # fmt: skip


@pytest.fixture(scope="module")
def shipped() -> Engine:
    return Engine(load_model(str(WEIGHTS), revision="main", device="cpu", dtype="float32", family=FAMILIES["pocket"]))


def answers(engine: Engine, messages: tuple[str, ...]) -> dict[str, str]:
    events: dict[str, list[Event]] = {message: [] for message in messages}
    for message, report in events.items():
        inputs = engine.prepare([{"role": "user", "content": [{"type": "text", "text": message}]}], [])
        engine.submit(Request(message, inputs, -1, 64, GREEDY), report.append)
    while not engine.is_idle:
        engine.step()
    ends = {message: report[-1] for message, report in events.items()}
    return {message: end.answer for message, end in ends.items() if isinstance(end, Finished)}


def test_english_messages_are_answered_in_english(shipped: Engine) -> None:
    assert answers(shipped, ENGLISH) == dict.fromkeys(ENGLISH, NO_PICTURE["en"][1])


def test_chinese_messages_are_answered_in_chinese(shipped: Engine) -> None:
    assert answers(shipped, CHINESE) == dict.fromkeys(CHINESE, NO_PICTURE["zh"][1])
