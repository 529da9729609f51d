"""Chat completions with LangChain's ChatOpenAI."""

import asyncio
import sys
from collections.abc import Callable

import openai
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI
from run_features import run

URL, MODE = sys.argv[1:]
model = ChatOpenAI(model="pocket", base_url=URL, api_key="unused", temperature=0, n=1)
TURNS = [SystemMessage("Be brief."), HumanMessage("Hello!"), AIMessage("Hi."), HumanMessage("Who are you?")]


def invoke() -> None:
    reply = model.invoke(TURNS)
    assert reply.content
    assert reply.usage_metadata
    assert reply.response_metadata["finish_reason"] == "stop"


def stream() -> None:
    chunks = list(model.stream(TURNS))
    assert "".join(str(chunk.content) for chunk in chunks) == model.invoke(TURNS).content
    assert len(chunks) > 2


def asynchronous() -> None:
    assert asyncio.run(model.ainvoke(TURNS)).content == model.invoke(TURNS).content


def batch() -> None:
    replies = model.batch([TURNS, [HumanMessage("Hello!")], TURNS])
    assert replies[0].content == replies[2].content


def budgets() -> None:
    bound = ChatOpenAI(
        model="pocket", base_url=URL, api_key="unused", temperature=0, reasoning_effort="none", max_completion_tokens=20
    )
    usage = bound.invoke(TURNS).usage_metadata
    assert usage
    assert usage["output_tokens"] <= 20
    assert usage.get("output_token_details", {}).get("reasoning") == 0


def errors() -> None:
    try:
        model.bind(n=2).invoke(TURNS)
    except openai.BadRequestError as error:
        assert error.param == "n"
    else:
        raise AssertionError("n=2 was accepted")


FEATURES: dict[str, Callable[[], None]] = {
    "chat": invoke,
    "chat, streamed": stream,
    "chat, async": asynchronous,
    "several at once": batch,
    "thinking budgets": budgets,
    "errors": errors,
}

if __name__ == "__main__":
    run(FEATURES)
