"""Questions without anything to look at, and talk: the model says what it can do instead of inventing."""

import random

from pocket.tasks.example import Example, text, user
from pocket.tasks.scene_questions import ASKING
from pocket.world.lexicon import Language, varied
from pocket.world.scenes import Crowd, new_scene

SMALL_TALK = {
    "en": (
        "Hi.", "Hello!", "Hello, who are you?", "Who are you?", "What can you do?", "Tell me a joke.", "How are you?",
        "What is the capital of France?", "What is 2 + 2?", "Write a poem.", "Thanks!", "Translate this.", "Help", "Test",
        "Number 3?", "Number 11?", "Say hello.", "What time is it?", "Summarise this text.", "Are you there?",
    ),
    "zh": ("你好", "你好！", "你是谁？", "你能做什么？", "讲个笑话。", "谢谢！", "法国的首都是哪里？", "写一首诗。", "帮帮我", "测试"),
}  # fmt: skip
NO_PICTURE = {
    "en": ("There is no picture.\n", "I see no picture. Send me one with coloured shapes."),
    "zh": ("没有图片。\n", "我没有看到图片。请发一张有彩色图形的图片。"),
}


def talk(rng: random.Random, language: Language) -> Example:
    question = rng.choice(SMALL_TALK[language])
    if rng.random() < 0.5:
        scene = new_scene(rng, (168, 168), Crowd(1, 4))
        if ask := rng.choice(ASKING)(rng, scene, language):
            question = varied(ask.question, language, rng)
    thought, answer = NO_PICTURE[language]
    return Example("talk", language, [user(text(question))], thought, answer)
