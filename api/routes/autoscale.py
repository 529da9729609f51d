"""``/v1/autoscale``: how many workers each stage should have, for KEDA and other autoscalers."""

from collections import Counter
from typing import Annotated, Any

from fastapi import APIRouter, Depends

from api.dependencies import Services, services
from api.errors.catalog import ERROR_RESPONSES
from api.middleware.access.auth import bearer_auth, caller
from api.schemas.autoscale import AutoscaleReply
from jobs.model.job import Stage
from jobs.scaling import ScalingTargets, decide_scaling
from jobs.tenants.api_key import ApiKey

router = APIRouter(prefix="/v1/autoscale", tags=["operation"], dependencies=[bearer_auth], responses=ERROR_RESPONSES)


@router.get("", response_model=AutoscaleReply)
def get_autoscale(
    _key: Annotated[ApiKey, Depends(caller)], service: Annotated[Services, Depends(services)]
) -> dict[str, Any]:
    """Return the wanted number of workers by stage and its reason. Counts cover all tenants."""
    stats = service.stats.read()
    reply = {}
    for stage in Stage:
        found, decision = (
            stats.stages[stage],
            decide_scaling(stage, stats, ScalingTargets.for_stage(stage, service.settings)),
        )
        reply[stage.value] = {
            "wanted": decision.wanted,
            "reason": decision.reason,
            "backlog_seconds": round(decision.backlog_s, 1),
            "jobs_per_second_per_worker": round(decision.jobs_per_s, 4),
            "arrivals_per_second": round(found.arrivals_per_s, 4),
            "waiting": found.waiting,
            "in_progress": found.in_progress,
            "workers": Counter(worker.state for worker in found.workers),
            "busy": sum(worker.is_busy for worker in found.workers),
        }
    return reply
