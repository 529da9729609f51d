"""What the groups of settings share: their base class, and the types of fields with rules of their own."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from runtime.networks.network import Network

SAMPLE = "change-me"


class SettingsGroup(BaseSettings):
    """A part of the settings. The docstring of a field is its description in docs/configuration.md."""

    # An error must not show the value: it may contain a password.
    model_config = SettingsConfigDict(
        extra="ignore", frozen=True, env_ignore_empty=True, use_attribute_docstrings=True, hide_input_in_errors=True
    )


def _refuse_sample_value(value: SecretStr) -> SecretStr:
    if SAMPLE in value.get_secret_value():
        raise ValueError("is the sample value of .env.example; generate secrets with `thinkqueue secrets`")
    return value


def _split_list(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


Secret = Annotated[SecretStr, AfterValidator(_refuse_sample_value)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_list)]
"""Comma-separated names."""
Networks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_split_list)]
"""Comma-separated networks."""
