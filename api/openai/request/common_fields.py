"""The fields that chat completions and responses have in common."""

from api.openai.request.fields import HONORED, IGNORED, FieldTable, NoEffect, Refused
from api.openai.request.sampling import SAMPLING_FIELDS
from api.openai.request.token_limits import LIMIT_FIELDS

NO_TOOLS = "the model has no tools"
NO_AUDIO = "the model reads and writes no audio"

COMMON_FIELDS: FieldTable = {
    **SAMPLING_FIELDS,
    **LIMIT_FIELDS,
    "model": HONORED,
    "metadata": HONORED,
    "stream": HONORED,
    "stream_options": HONORED,
    "store": HONORED,
    "stop": HONORED,
    # accepted with any value: they do not change the answer
    **dict.fromkeys(
        (
            "user",
            "safety_identifier",
            "prompt_cache_key",
            "prompt_cache_retention",
            "prompt_cache_options",
            "parallel_tool_calls",
            "verbosity",
            "access_programs",
            "image",
            "chat_id",
            "session_id",
            "request_id",
            "include_reasoning",
            "separate_reasoning",
            "priority",
        ),
        IGNORED,
    ),
    # accepted with the values that change nothing
    "frequency_penalty": NoEffect((0,), "use repetition_penalty"),
    "presence_penalty": NoEffect((0,), "use repetition_penalty"),
    "min_p": NoEffect((0,), "use top_p or top_k"),
    "logit_bias": NoEffect(({},)),
    "logprobs": NoEffect((False,)),
    "top_logprobs": NoEffect((0,)),
    "n": NoEffect((1,), "send the request several times"),
    "best_of": NoEffect((1,)),
    "echo": NoEffect((False,)),
    "ignore_eos": NoEffect((False,)),
    "add_generation_prompt": NoEffect((True,)),
    "tools": NoEffect(([],), NO_TOOLS),
    "functions": NoEffect(([],), NO_TOOLS),
    "tool_choice": NoEffect(("none", "auto"), NO_TOOLS),
    "function_call": NoEffect(("none", "auto"), NO_TOOLS),
    "modalities": NoEffect((["text"],), NO_AUDIO),
    "audio": Refused(NO_AUDIO),
    "prediction": Refused("leave it out: the model does not use predictions"),
    "moderation": Refused("leave it out: the service does not moderate"),
    "web_search_options": Refused("leave it out: the model cannot search"),
}
"""A route's own table adds to this one, and may replace entries."""
