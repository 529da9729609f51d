"""Text-only messages: the model says what it can do instead of inventing an answer."""

import random

from pocket.tasks.example import Example, text, user
from pocket.tasks.scene_questions import SCENE_QUESTIONS
from pocket.world.lexicon import Language, vary_phrasing
from pocket.world.scenes import SceneSpec, new_scene

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


def chitchat_example(rng: random.Random, language: Language) -> Example:
    question = rng.choice(SMALL_TALK[language])
    if rng.random() < 0.5:
        scene = new_scene(rng, (168, 168), SceneSpec(1, 4))
        if ask := rng.choice(SCENE_QUESTIONS)(rng, scene, language):
            question = vary_phrasing(ask.question, language, rng)
    thought, answer = NO_PICTURE[language]
    return Example("chitchat", language, [user(text(question))], thought, answer)
