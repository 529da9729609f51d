from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from runtime.address_policy import is_allowed
from runtime.settings import Settings

SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"
GIVEN: dict[str, Any] = {
    "redis_url": "redis://127.0.0.1:6379/0",
    "s3_endpoint": "http://127.0.0.1:8333",
    "s3_access_key": "key",
    "s3_secret_key": "very-secret",
    "webhook_secret": SECRET,
}


def test_the_model_family_follows_from_the_model() -> None:
    assert Settings(**GIVEN).family.name == "pocket"
    assert Settings(**GIVEN, model="/models/glm").family.name == "glm-4.1v-thinking"
    assert Settings(**GIVEN, model="zai-org/GLM-4.6V-Flash").family.name == "glm-4.6v-flash"


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("webhook_secret", "whsec_not base64", "padded base64"),
        ("webhook_secret", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz", "whsec_"),
        ("webhook_secret", "whsec_c2hvcnQ=", "24 to 64"),
        ("model_family", "llava", "known: glm-4.1v-thinking, glm-4.6v-flash, pocket"),
        ("api_host", "0.0.0.0", "Set AUTH=keys"),
        ("egress_allow", "10.0.0.0/8,nonsense", "not a valid IPv4"),
        ("api_port", "70000", "65535"),
        ("heartbeat_s", "5.1", "HEARTBEAT_S=5.1 must be at most a third of LEASE_S=15"),
        ("lease_s", "0", "greater than 0"),
    ],
)
def test_an_invalid_setting_is_refused_with_the_reason(field: str, value: str, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Settings(**{**GIVEN, field: value})


def test_networks_are_read_from_a_comma_separated_list() -> None:
    settings = Settings(**GIVEN, egress_allow="127.0.0.0/8, ::1/128")
    assert [str(network) for network in settings.egress_allow] == ["127.0.0.0/8", "::1/128"]


def test_secrets_are_not_in_the_repr() -> None:
    assert "very-secret" not in repr(Settings(**GIVEN))
    assert SECRET not in repr(Settings(**GIVEN))


def test_every_setting_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text("utf-8")
    missing = [name for name in Settings.model_fields if f"`{name.upper()}`" not in page]
    assert missing == []


@pytest.mark.parametrize(
    ("networks", "address"),
    [("127.0.0.0/8", "127.0.0.1"), ("::1/128", "::1"), ("0.0.0.0/0", "127.9.9.9"), ("0.0.0.0/0", "0.0.0.0"),
     ("::/0", "::1"), ("::/0", "::"), ("0.0.0.0/0", "::ffff:127.0.0.1"), ("0.0.0.0/0,::/0", "64:ff9b::7f00:1"),
     ("127.0.0.1/32", "127.0.0.1"), ("0.0.0.0/0,::/0", "2002:7f00:1::"), ("126.0.0.0/7", "127.0.0.1")],
)  # fmt: skip
def test_tenants_with_keys_reach_loopback_only_if_a_setting_says_so(networks: str, address: str) -> None:
    given = {**GIVEN, "egress_allow": networks}
    with_keys = Settings(**given, auth="keys")
    assert not is_allowed(address, with_keys.egress_networks)
    assert is_allowed(address, Settings(**given).egress_networks)
    assert is_allowed(address, Settings(**given, auth="keys", egress_loopback_with_keys=True).egress_networks)


def test_other_networks_are_allowed_with_and_without_keys() -> None:
    for auth in ("none", "keys"):
        settings = Settings(**GIVEN, auth=auth, egress_allow="10.0.0.0/8,126.0.0.0/7,::/0")
        assert all(is_allowed(address, settings.egress_networks) for address in ("10.1.2.3", "126.1.1.1", "fd00::1"))
