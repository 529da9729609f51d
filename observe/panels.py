"""A panel of the dashboard, and the queries that panels are made of."""

from dataclasses import dataclass

Query = tuple[str, str]
"""A PromQL expression and its legend."""
INSTANCE = 'instance=~"$instance"'
"""Processes that the reader chose. Only for what each process reports about itself."""


@dataclass(frozen=True, slots=True)
class Panel:
    title: str
    unit: str
    queries: list[Query]
    text: str
    """What it means, and what to do."""
    warn: float | None = None
    """From here on the value is yellow."""
    alarm: float | None = None
    """From here on the value is red."""
    is_number: bool = False
    """Show the newest value only."""


def rate(metric: str) -> str:
    name, _, matchers = metric.partition("{")
    inside = ", ".join(part for part in (matchers.removesuffix("}"), INSTANCE) if part)
    return f"rate(thinkqueue_{name}{{{inside}}}[$__rate_interval])"


def table_rate(metric: str) -> str:
    """Query a counter of the job table, which every keeper reports."""
    return f"rate(thinkqueue_{metric}[$__rate_interval])"


def largest(metric: str, by: str, matchers: str = "") -> list[Query]:
    """Query a metric of the job table. Every keeper reports the same value, hence max."""
    return [(f"max by ({by}) (thinkqueue_{metric}{matchers})", legend(by))]


def rates(metric: str, by: str) -> list[Query]:
    """Query the rate of a counter that each process keeps itself."""
    return [(f"sum by ({by}) ({rate(metric)})", legend(by))]


def legend(by: str) -> str:
    return " ".join(f"{{{{{label}}}}}" for label in by.split(", "))


def quantiles(metric: str, by: str = "", matchers: str = "", shares: tuple[float, ...] = (0.5, 0.95)) -> list[Query]:
    grouped = f"le, {by}" if by else "le"
    prefix = f"{legend(by)} " if by else ""
    return [
        (
            f"histogram_quantile({share}, sum by ({grouped}) ({rate(metric + '_bucket' + matchers)}))",
            f"{prefix}p{share * 100:.0f}",
        )
        for share in shares
    ]


def workers(stage: str) -> list[Query]:
    return [
        (f'max by (state) (thinkqueueworkers{{stage="{stage}"}})', "{{state}}"),
        (f'max(thinkqueueworkers_wanted{{stage="{stage}"}})', "wanted"),
    ]
