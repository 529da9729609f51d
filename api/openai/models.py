"""The names under which clients know the model of this service."""

from api.errors.wording import quoted
from api.openai.request.fields import Fields
from jobs.errors import ModelNotFound
from runtime.settings import Settings


def read_model(fields: Fields, settings: Settings) -> str:
    """Return the name of the model that a request asks for; without one, that of the service's model.

    Raises:
        Invalid: it is no string.
        ModelNotFound: the service has another model.
    """
    name = fields.read("model", lambda value: isinstance(value, str), "a string")
    if name is None:
        return settings.model
    if name not in settings.model_names:
        names = ", ".join(settings.model_names)
        raise ModelNotFound(f"The model {quoted(name)} does not exist here; this service has {names}.")
    return str(name)
