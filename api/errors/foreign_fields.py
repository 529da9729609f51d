"""Says what to write instead of the fields and values that other services use.

The names are those of OpenAI's APIs, Anthropic, Gemini, Ollama, vLLM, Replicate and RunPod.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from api.errors.pointers import Step

USE_PARTS = 'put media into a user message\'s content, as {"type": "image_url", "image_url": {"url": "…"}}'
USE_BUDGET = 'use "thinking": {"budget_tokens": N}; 0 turns thinking off'
USE_ANSWER_LIMIT = "use max_total_tokens for thinking and answer together, or max_answer_tokens for the answer alone"
USE_MESSAGES = 'use "messages": [{"role": "user", "content": "…"}]'
USE_CALLBACK = 'use "callback": {"url": "https://…"}'
USE_METADATA = 'use "metadata": {"name": "value"}'
USE_EVENTS = "every job has an event stream, GET /v1/jobs/{id}/events"
USE_SYSTEM = 'use a first message with "role": "system"'
NO_TOOLS = "the service calls no tools"
NOT_SUPPORTED = "remove it, there is nothing like it"
ONE_ANSWER = "a job has one answer; submit several jobs"
USE_FORMAT = 'use "response_format": {"type": "json_schema", "schema": {…}}'
NO_FORMAT = "remove it, and describe the format in the prompt"
NO_LOGPROBS = "the service reports no probabilities"


def _all(names: str, hint: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), hint)


def _moved(names: str, target: str) -> dict[str, str]:
    return {name: f'move it: "{target}": {{"{name}": …}}' for name in names.split()}


JOB = {
    **_all(
        "max_tokens max_completion_tokens max_output_tokens max_new_tokens max_length num_predict", USE_ANSWER_LIMIT
    ),
    **_moved("temperature top_p top_k seed repetition_penalty", "sampling"),
    **_all("frequency_penalty presence_penalty", "use sampling.repetition_penalty"),
    **_all("stop_sequences stop_strings stop_words", 'use "stop": ["…"]'),
    **_all("min_p typical_p logit_bias do_sample bad_words", NOT_SUPPORTED),
    **_all("stream stream_options", USE_EVENTS),
    "model": "the service runs one model, which GET /v1/models names",
    **_all("input inputs prompt query question text contents", USE_MESSAGES),
    **_all("n best_of num_return_sequences candidate_count", ONE_ANSWER),
    **_all("json_schema guided_json format structured_outputs response_schema", USE_FORMAT),
    **_all("guided_regex guided_choice guided_grammar generation_config", NO_FORMAT),
    **_all("tools tool_choice functions function_call parallel_tool_calls tool_config", NO_TOOLS),
    **_all("reasoning_effort reasoning enable_thinking thinking_budget budget_tokens chat_template_kwargs", USE_BUDGET),
    **_all("thinking_budget_tokens think thinking_config max_thinking_tokens", USE_BUDGET),
    **_all("webhook webhook_url callback_url notify_url webhooks hook_url notification_url", USE_CALLBACK),
    **_all("webhook_events_filter webhook_events events", 'use "callback": {"url": "…", "events": ["job.completed"]}'),
    **_all("system instructions system_prompt system_instruction developer", USE_SYSTEM),
    **_all("images image image_url image_urls video video_url videos files file attachments media", USE_PARTS),
    **_all("user user_id safety_identifier tags labels custom_id id name reference external_id", USE_METADATA),
    **_all("idempotency_key idempotency request_id client_request_id", "use the header Idempotency-Key"),
    **_all("timeout ttl deadline expires_at expires expires_after", "use expires_in, in seconds"),
    **_all("max_run_time max_runtime run_timeout execution_timeout", "use max_run_seconds"),
    **_all("retention retention_days keep_for", "use retention_seconds"),
    **_all("previous_response_id conversation conversation_id previous_job parent_id", "use previous_job_id"),
    **_all("logprobs top_logprobs echo prompt_logprobs", NO_LOGPROBS),
    **_all("output_url output_urls upload_url upload_urls result_url", 'use "result_urls": ["https://…"]'),
    **_all("wait sync blocking background", "use the header Prefer: wait=N to wait for the end"),
    **_all("service_tier queue lane", "use priority"),
    **_all("store cache prompt_cache_key truncation include verbosity modalities audio", NOT_SUPPORTED),
}
MESSAGE = {
    **_all("tool_calls tool_call_id function_call", NO_TOOLS),
    **_all("reasoning_content reasoning thinking", "the model does not see the thinking of earlier answers"),
    **_all("images image image_url files attachments", "put media into content, as parts of the message"),
    **_all("text parts message", "use content"),
    **_all("name refusal audio annotations id type status cache_control", NOT_SUPPORTED),
}
PART = {
    **_all("cache_control citations annotations", NOT_SUPPORTED),
    **_moved("detail", "image_url"),
    **_moved("max_frames", "video_url"),
    **_moved("pages file_id file_data file_url filename", "file"),
    "max_pixels": 'move it into "image_url" or "video_url"',
    **_all("image source inline_data url data", 'use "image_url": {"url": "…"}'),
    "video": 'use "video_url": {"url": "…"}',
    "image_url": 'use a part of its own: {"type": "image_url", "image_url": {"url": "…"}}',
    "video_url": 'use a part of its own: {"type": "video_url", "video_url": {"url": "…"}}',
    "file": 'use a part of its own: {"type": "file", "file": {"file_url": "…"}}',
    "text": 'use a part of its own: {"type": "text", "text": "…"}',
}
MEDIA = {
    **_all("fps nframes num_frames sample_fps", "use max_frames"),
    **_all("total_pixels resized_height resized_width size", "use max_pixels"),
    **_all("format media_type mime_type filename name", "the type is detected from the content"),
    **_all("data base64 b64_json", 'use "url": "data:image/png;base64,…"'),
    **_all("uri href file_url", "use url"),
    **_all("file_id upload_id", 'use "url": "upload:<id>"'),
    "min_pixels": NOT_SUPPORTED,
}
DOCUMENT = {
    "url": "use file_url",
    **_all("data base64", "use file_data"),
    **_all("id upload_id", "use file_id"),
    "page_range": 'use "pages": "1-5"',
    **_all("name format media_type mime_type detail", "the type is detected from the content"),
}
THINKING = {
    **_all("budget max_tokens tokens thinking_budget", "use budget_tokens"),
    **_all("type enabled effort include_thoughts", "use budget_tokens; 0 turns thinking off, -1 sets no limit"),
}
RESPONSE_FORMAT = {
    "json_schema": 'use "schema": {…}; its name and strict are not needed',
    **_all("name strict description", "remove it: the schema is always enforced"),
}
SAMPLING = {
    **_all("frequency_penalty presence_penalty", "use repetition_penalty"),
    **_all("max_tokens max_new_tokens", USE_ANSWER_LIMIT),
    **_all("do_sample greedy", "use temperature; 0 is greedy"),
    **_all("n best_of num_beams", ONE_ANSWER),
    "stop": 'move it out of sampling: "stop": ["…"]',
    **_all("min_p typical_p logit_bias", NOT_SUPPORTED),
}
CALLBACK = {
    **_all("secret token key", "the tenant's webhook secret signs, see POST /v1/webhook_secret/rotate"),
    **_all("headers auth authorization method", "webhooks are POSTs with a signature and no other headers"),
    **_all("event event_type events_filter event_types", 'use "events": ["job.completed"]'),
}
BY_PLACE: dict[str, Mapping[str, str]] = {
    "image_url": MEDIA,
    "video_url": MEDIA,
    "file": DOCUMENT,
    "thinking": THINKING,
    "sampling": SAMPLING,
    "callback": CALLBACK,
    "response_format": RESPONSE_FORMAT,
}
"""Hints for the fields of an object, by the name of the field that contains it."""

ROLES = {
    "developer": 'use "system"',
    **_all("tool function ipython", NO_TOOLS),
    **_all("model bot ai assistant_message gpt", 'use "assistant"'),
    **_all("human customer end_user", 'use "user"'),
}
EVENTS = {
    **_all("* all job.* completed,failed", "leave events out to receive all"),
    **_all("completed failed cancelled expired", "write job. before it"),
    **_all("start started output logs job.started job.queued job.running", "only the end of a job is sent"),
    **_all("succeeded job.succeeded done job.done", 'use "job.completed"'),
    **_all("job.canceled canceled", 'use "job.cancelled"'),
}
PRIORITIES = {
    **_all("normal medium standard", 'use "default"'),
    **_all("urgent critical highest", 'use "high"'),
    **_all("lowest batch background flex", 'use "low"'),
}
DETAILS = {"original": 'use "high"', "medium": 'use "low" or max_pixels'}
VALUES: dict[str, Mapping[str, str]] = {
    "role": ROLES,
    "events": EVENTS,
    "event_type": EVENTS,
    "priority": PRIORITIES,
    "detail": DETAILS,
}
"""Hints for the values of a field with fixed values, by its name."""

IMAGE_PART = 'use {"type": "image_url", "image_url": {"url": "…"}}'
DOCUMENT_PART = 'use {"type": "file", "file": {"file_url": "…"}}'
VIDEO_PART = 'use {"type": "video_url", "video_url": {"url": "…"}}'
PARTS = {
    **_all("input_text output_text", 'use {"type": "text", "text": "…"}'),
    **_all("image input_image image_file image_base64 picture", IMAGE_PART),
    **_all("document input_file file_url pdf document_url attachment", DOCUMENT_PART),
    **_all("video input_video video_file", VIDEO_PART),
    **_all("audio input_audio audio_url", "the model does not hear; leave it out"),
    **_all("tool_use tool_result function_call tool_call", NO_TOOLS),
    **_all("thinking reasoning redacted_thinking", "the model does not see the thinking of earlier answers"),
    "refusal": 'use {"type": "text", "text": "…"}',
}
"""Hints for types of content parts."""


def field_hint(place: Sequence[Step], name: str) -> str:
    """Return what to write instead of an unknown field; empty if nothing is known.

    Args:
        place: the steps of the object that contains the field.
        name: the field's name, in any style.
    """
    known: Mapping[str, str]
    if not place:
        known = JOB
    elif isinstance(place[-1], str):
        known = BY_PLACE.get(place[-1], {})
    else:
        known = PART if "content" in place else MESSAGE
    return known.get(snake_case(name), "")


def value_hint(steps: Sequence[Step], value: Any) -> str:
    """Return what to write instead of a value that a field does not have; empty if nothing is known."""
    field = next((step for step in reversed(steps) if isinstance(step, str)), "")
    return VALUES.get(field, {}).get(value.lower(), "") if isinstance(value, str) else ""


def part_hint(part: Any) -> str:
    """Return what to write instead of a content part of an unknown type."""
    if not isinstance(part, dict):
        return 'a part is an object such as {"type": "text", "text": "…"}'
    kind = part.get("type")
    if isinstance(kind, str):
        return PARTS.get(snake_case(kind), "")
    if "text" in part:
        return 'add "type": "text"'
    return IMAGE_PART if {"inline_data", "inlineData", "image_url", "image", "file_data"} & part.keys() else ""


def snake_case(name: str) -> str:
    """Write ``maxTokens`` and ``max-tokens`` as ``max_tokens``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name[:64]).replace("-", "_").lower()
