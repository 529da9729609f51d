"""The settings of the prepare stage: limits of media, and what opens them."""

from typing import Literal

from pydantic import Field

from runtime.settings.fields import Networks, SettingsGroup


class InputSettings(SettingsGroup):
    """Limits of media, and what fetches and opens them."""

    max_image_bytes: int = Field(default=20 * 2**20, ge=1_024)
    """The largest image file."""
    max_image_pixels: int = Field(default=100_000_000, ge=1)
    """The largest number of pixels. A larger image is refused before it is decoded."""
    max_document_bytes: int = Field(default=50 * 2**20, ge=1_024)
    """The largest document file."""
    max_video_bytes: int = Field(default=2**30, ge=1_024)
    """The largest video file."""
    fetch_timeout_s: float = Field(default=30, gt=0)
    """Time limit of one attempt to fetch a media file, including redirects. A video has ten times as long."""
    prepare_timeout_s: float = Field(default=600, gt=0)
    """Time limit to fetch and convert all media of a job. Then the job fails with ``prepare_timeout``."""
    prepare_slots: int = Field(default=32, ge=2, le=512)
    """Jobs that a prepare worker has at the same time. Most of them wait for media; one tenant has at most half."""
    decoders: int | None = Field(default=None, ge=1, le=256)
    """Files that a prepare worker opens at the same time. Default: the CPUs that it may use (affinity and the CPU limit
    of its control group), at least 2, and no more than its memory holds. Half as many more are kept for tenants that
    have none open."""
    sandbox: Literal["required", "off"] = "required"
    """``required``: a prepare worker does not start where it cannot confine what opens clients' files (Landlock and
    seccomp). ``off``: only time and memory are limited, and slides are refused; see docs/security.md."""
    decode_memory_bytes: int = Field(default=4 * 2**30, ge=2**29)
    """Address space of a process that opens a client's file. The largest image needs about 1.5 GiB. A file that needs
    more than 512 MiB waits until the worker has memory for it, so that all files together stay below its memory
    limit; see docs/capacity.md."""
    prepare_memory_bytes: int | None = Field(default=None, ge=2**30)
    """Memory of a prepare worker and all that it starts. Default: the memory limit of its control group, or half of the
    machine's memory, whichever is smaller."""
    scratch_bytes: int | None = Field(default=None, ge=2**30)
    """Space that the files of all jobs of a prepare worker take in its temporary folder; further jobs wait. Default:
    half of what is free there at its start. In Kubernetes, less than the ``sizeLimit`` of ``/tmp``."""
    egress_allow: Networks = ()
    """Comma-separated networks that media URLs and webhooks may reach although they are not public. ``thinkqueue up``
    allows loopback. With ``AUTH=keys``, loopback also needs ``EGRESS_LOOPBACK_WITH_KEYS``."""
    egress_loopback_with_keys: bool = False
    """With ``AUTH=keys``, allow the loopback networks of ``EGRESS_ALLOW``. Otherwise they are ignored: a tenant could
    reach the servers on this machine."""
