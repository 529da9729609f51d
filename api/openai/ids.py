"""The ids of OpenAI's objects: they have the ULID of their job."""

JOB_PREFIX = "job_"
CHAT_PREFIX = "chatcmpl-"


def chat_id(job_id: str) -> str:
    """Return the id of a chat completion."""
    return CHAT_PREFIX + job_id.removeprefix(JOB_PREFIX)
