"""``/v1/usage``: a tenant's usage by day."""

import re
from datetime import date, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BeforeValidator

from api.dependencies import Services, services
from api.errors.catalog import ERROR_RESPONSES
from api.middleware.access.auth import bearer_auth, caller
from api.schemas.usage import UsageReply
from jobs.errors import Invalid, Problem
from jobs.model.times import format_time
from jobs.model.usage import DayUsage, today
from jobs.tenants.api_key import ApiKey
from jobs.tenants.quotas import QuotaState

MAX_DAYS = 92
ISO_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _check_iso_day(text: str) -> str:
    if not ISO_DAY.fullmatch(text):
        raise ValueError("must be a day such as 2026-01-31")
    return text


Day = Annotated[date, BeforeValidator(_check_iso_day)]
"""Refuses a number of seconds, which pydantic would accept."""

router = APIRouter(prefix="/v1/usage", tags=["usage"], dependencies=[bearer_auth], responses=ERROR_RESPONSES)


@router.get("", response_model=UsageReply)
def get_usage(
    key: Annotated[ApiKey, Depends(caller)],
    service: Annotated[Services, Depends(services)],
    first: Annotated[Day | None, Query(description="First day, UTC. Default: 29 days before the last.")] = None,
    last: Annotated[Day | None, Query(description="Last day, UTC, inclusive. Default: today.")] = None,
) -> dict[str, Any]:
    """Return jobs by status, tokens by kind and GPU time of each day, and the quotas of the API key."""
    end = last or today()
    try:
        begin = first or end - timedelta(days=29)
    except OverflowError:
        begin = end
    if not 0 <= (end - begin).days < MAX_DAYS:
        raise Invalid([Problem("query:first", f"must be 0 to {MAX_DAYS - 1} days before the last day")])
    return {
        "data": [_day(day) for day in service.usage.days(key.tenant, first=begin, last=end)],
        "quotas": [_quota(state) for state in service.quotas.states(key)],
    }


def _quota(state: QuotaState) -> dict[str, Any]:
    return {
        "name": state.name,
        "limit": state.limit,
        "used": round(state.used, 6),
        "resets_at": format_time(int(state.resets_at.timestamp() * 1000)),
    }


def _day(day: DayUsage) -> dict[str, Any]:
    return {
        "day": day.day.isoformat(),
        "jobs": day.jobs,
        "input_tokens": day.usage.input_tokens,
        "thinking_tokens": day.usage.thinking_tokens,
        "answer_tokens": day.usage.answer_tokens,
        "gpu_seconds": day.usage.gpu_ms / 1000,
    }
