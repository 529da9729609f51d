"""``/v1/models``: the model, its defaults and the limits of this installation.

OpenAI's clients read the same routes, so the replies contain all fields that these, and clients of vLLM, expect.
"""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path

from api.dependencies import Services, services
from api.errors.catalog import ERROR_RESPONSES
from api.middleware.access.auth import bearer_auth
from api.schemas.models import ModelList, ModelReply
from jobs.errors import ModelNotFound
from runtime.settings import Settings

Service = Annotated[Services, Depends(services)]

router = APIRouter(prefix="/v1/models", tags=["models"], dependencies=[bearer_auth], responses=ERROR_RESPONSES)


@router.get("", response_model=ModelList)
def list_models(service: Service) -> dict[str, Any]:
    """List the one model of this service under each of its names, in OpenAI's form."""
    return {"data": [_model(service.settings, name) for name in service.settings.model_names]}


@router.get("/{model_id:path}", response_model=ModelReply)
def get_model(model_id: Annotated[str, Path(description="Id of the model.")], service: Service) -> dict[str, Any]:
    """Return the model by its id, or by an alias."""
    if model_id not in service.settings.model_names:
        raise ModelNotFound(f"The only model of this service is {service.settings.model}.")
    return _model(service.settings, model_id)


def _model(settings: Settings, name: str) -> dict[str, Any]:
    family = settings.family
    return {
        "id": name,
        "created": 0,
        "owned_by": "thinkqueue",
        "root": settings.model,
        "parent": None,
        "max_model_len": family.context_tokens,
        "family": family.name,
        "context_tokens": family.context_tokens,
        "defaults": {
            "thinking": {"budget_tokens": family.thinking_budget},
            "max_answer_tokens": family.max_answer_tokens,
            # The model's own generation config overrides these.
            "sampling": asdict(family.sampling),
            "expires_in": settings.job_expires_s,
            "retention_seconds": settings.retention_days * 24 * 3600,
        },
        "limits": {
            "body_bytes": settings.max_body_bytes,
            "image_bytes": settings.max_image_bytes,
            "image_pixels": settings.max_image_pixels,
            "document_bytes": settings.max_document_bytes,
            "video_bytes": settings.max_video_bytes,
            "upload_bytes": settings.max_upload_bytes,
            "images": family.max_images,
            "pages": family.max_pages,
            "videos": family.max_videos,
            "open_jobs": settings.max_open_jobs,
            "requests_per_minute": settings.requests_per_minute,
        },
        "media": {
            "image_url": {
                "formats": ["png", "jpeg", "webp", "gif", "bmp", "tiff", "heic", "avif"],
                "min_pixels": family.images.min_pixels,
                "max_pixels": family.images.max_pixels,
            },
            "file": {"formats": ["pdf", "pptx", "ppt", "odp"]},
            "video_url": {
                "formats": ["mp4", "mov", "webm", "mkv", "avi"],
                "max_pixels": family.videos.max_pixels,
                "with_pictures": family.supports_images_with_video,
            },
        },
    }
