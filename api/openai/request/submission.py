"""Submits a translated request through the same intake as a native one."""

from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi.exceptions import RequestValidationError
from pydantic import FailFast, Field, ValidationError

from api.errors.validation import validation_problems
from api.intake.creation import AcceptedJob
from api.intake.service import Intake
from api.openai.request.origins import Origins
from api.schemas.jobs import JobBody
from api.schemas.messages import Message
from jobs.errors import Invalid
from jobs.tenants.api_key import ApiKey


class TranslatedBody(JobBody):
    """A native request whose turns may come in any order: OpenAI's clients send system messages in the middle."""

    messages: Annotated[list[Message], FailFast(), Field(min_length=1, max_length=256)]


@dataclass(frozen=True)
class Submission:
    """A request of the OpenAI surface as a native one."""

    native: dict[str, Any]
    """The fields of ``JobBody``."""
    origins: Origins
    ignored: tuple[str, ...] = field(default=())
    """Names of fields of the client that have no effect."""
    client_fields: dict[str, Any] = field(default_factory=dict)
    """As for ``JobRequest``."""

    def accept(
        self, intake: Intake, *, caller: ApiKey, surface: str, idempotency_key: str | None, retry_count: int | None
    ) -> AcceptedJob:
        """Create the job, or return the one that an earlier attempt created.

        Args:
            surface: requests of different surfaces never have the same job.
            idempotency_key, retry_count: as for ``Intake.accept``.

        Raises:
            Invalid: names the client's own fields.
            ThinkqueueError: as ``Intake.accept``.
        """
        try:
            return intake.accept(
                self.validate(),
                caller=caller,
                surface=surface,
                client_fields=self.client_fields,
                idempotency_key=idempotency_key,
                retry_count=retry_count,
            )
        except Invalid as error:
            raise self.origins.translate(error) from None

    def validate(self) -> TranslatedBody:
        """Return the native request. Raises Invalid, which names native fields."""
        try:
            return TranslatedBody.model_validate(self.native)
        except ValidationError as error:
            problems = [{**detail, "loc": ("body", *detail["loc"])} for detail in error.errors(include_url=False)]
            native = RequestValidationError(problems, body=self.native)
            raise Invalid(validation_problems(native, TranslatedBody)) from None
