"""Text-only messages: the model says what it can do instead of inventing an answer."""

import random
import string
from functools import cache
from pathlib import Path

from pocket.tasks.example import Example, text, user
from pocket.tasks.scene_questions import SCENE_QUESTIONS
from pocket.world.lexicon import Language, vary_phrasing
from pocket.world.scenes import SceneSpec, new_scene

SMALL_TALK = {
    "en": (
        "Hi.", "Hello!", "Hello there!", "Hey.", "Hello world", "Good morning", "Good evening", "Bye", "OK", "Hola",
        "Bonjour", "Hello, who are you?", "Who are you?", "What can you do?", "Tell me a joke.", "How are you?",
        "What is the capital of France?", "What is 2 + 2?", "Write a poem.", "Thanks!", "Translate this.", "Help",
        "Test", "Number 3?", "Number 11?", "Say hello.", "What time is it?", "Summarise this text.", "Are you there?",
    ),
    "zh": (
        "你好", "早上好", "晚上好", "再见", "好的", "你是谁？", "你能做什么？", "讲个笑话。", "谢谢！", "法国的首都是哪里？", "写一首诗。",
        "帮帮我", "测试",
    ),
}  # fmt: skip
NO_PICTURE = {
    "en": ("There is no picture.\n", "I see no picture. Send me one with coloured shapes."),
    "zh": ("没有图片。\n", "我没有看到图片。请发一张有彩色图形的图片。"),
}
CORPUS = Path(__file__).parents[1] / "corpus.txt"
LETTERS = string.ascii_lowercase + "éèüöñçáíóßåø"
ENDINGS = ("", "", ".", "?", "!", "...", "??")


def chitchat_example(rng: random.Random, language: Language) -> Example:
    """Return a message without a picture; the answer is in its language, Chinese if it has a Chinese character."""
    thought, answer = NO_PICTURE[language]
    return Example("chitchat", language, [user(text(_message(rng, language)))], thought, answer)


def _message(rng: random.Random, language: Language) -> str:
    roll = rng.random()
    if roll < 0.3:
        scene = new_scene(rng, (168, 168), SceneSpec(1, 4))
        if ask := rng.choice(SCENE_QUESTIONS)(rng, scene, language):
            return vary_phrasing(ask.question, language, rng)
    if language == "zh":
        characters = "".join(rng.choices(_chinese_characters(), k=rng.randint(2, 12)))
        message = rng.choice(SMALL_TALK["zh"]).rstrip("！。？") if roll < 0.65 else characters
        return message + rng.choice(("", "。", "？", "！", "?"))
    message = rng.choice(SMALL_TALK["en"]).rstrip("!?.") if roll < 0.6 else _latin_words(rng)
    return rng.choice((str, str.lower, str.upper, str.capitalize))(message) + rng.choice(ENDINGS)


def _latin_words(rng: random.Random) -> str:
    """Return up to eight words, some of them invented, so that the answer depends on the script and not on the words."""

    def word() -> str:
        if rng.random() < 0.5:
            return rng.choice(_english_words())
        if rng.random() < 0.1:
            return str(rng.randrange(1_000))
        return "".join(rng.choices(LETTERS, k=rng.randint(2, 9)))

    return " ".join(word() for _ in range(rng.choice((1, 1, 2, 3, 5, 8))))


@cache
def _english_words() -> list[str]:
    return sorted({word.strip(".,:;?!()") for word in CORPUS.read_text("utf-8").split() if word.isascii()} - {""})


@cache
def _chinese_characters() -> list[str]:
    """Return the common ideographs of the corpus, and a thousand others."""
    corpus = {character for character in CORPUS.read_text("utf-8") if "\u4e00" <= character <= "\u9fff"}
    return sorted(corpus | {chr(0x4E00 + 20 * number) for number in range(1_000)})
