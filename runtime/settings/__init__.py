"""All settings, read once from the environment when a process starts. An invalid value prevents the start."""

from runtime.networks.loopback import without_loopback
from runtime.networks.network import Network
from runtime.settings.api import ApiSettings
from runtime.settings.inputs import InputSettings
from runtime.settings.jobs import JobSettings
from runtime.settings.model import ModelSettings
from runtime.settings.operation import LogSettings, OperationSettings, ShutdownSettings
from runtime.settings.servers import ServerSettings
from runtime.settings.webhooks import WebhookSettings


class Settings(
    ServerSettings,
    ApiSettings,
    JobSettings,
    InputSettings,
    ModelSettings,
    WebhookSettings,
    ShutdownSettings,
    OperationSettings,
    LogSettings,
):
    """The settings of all processes. The names of the environment variables are those of the fields, in capitals.

    docs/configuration.md is generated from the fields and their docstrings (runtime/settings/page.py).
    """

    @property
    def egress_networks(self) -> tuple[Network, ...]:
        """``egress_allow``, without loopback when tenants with keys choose the URLs."""
        if self.auth == "none" or self.egress_loopback_with_keys:
            return self.egress_allow
        return without_loopback(self.egress_allow)
