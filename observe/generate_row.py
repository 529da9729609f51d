"""The row of the dashboard about generate workers and their GPUs."""

from observe.panels import INSTANCE, Panel, largest, quantiles, rate, rates, table_rate, workers

KV_CACHE_IN_USE = (
    f"1 - sum(thinkqueue_engine_kv_free_tokens{{{INSTANCE}}}) / sum(thinkqueue_engine_kv_tokens{{{INSTANCE}}})"
)
GENERATE: tuple[str, list[Panel]] = (
    "Generate workers",
    [
        Panel(
            "Generate workers, present and wanted",
            "short",
            workers("generate"),
            "wanted is what the autoscaler reads.",
        ),
        Panel(
            "Backlog",
            "s",
            largest("backlog_seconds", "stage"),
            "Time in which the present workers finish the waiting jobs; -1 without workers.",
        ),
        Panel(
            "GPU busy",
            "percentunit",
            [(f"avg by (instance) ({rate('engine_busy_seconds_total')})", "{{instance}}")],
            "Share of the time with a step to compute. Low while jobs wait: inputs arrive too slowly.",
        ),
        Panel(
            "Batch and KV cache in use",
            "percentunit",
            [
                (
                    f"sum(thinkqueue_engine_running{{{INSTANCE}}}) / sum(thinkqueue_engine_slots{{{INSTANCE}}})",
                    "slots",
                ),
                (KV_CACHE_IN_USE, "KV cache"),
            ],
            "With a full KV cache, jobs wait or are preempted although slots are free.",
            0.95,
        ),
        Panel(
            "GPU memory in use",
            "percentunit",
            [
                (
                    f"1 - thinkqueue_gpu_memory_bytes{{state='free', {INSTANCE}}}"
                    f" / on (instance) thinkqueue_gpu_memory_bytes{{state='total', {INSTANCE}}}",
                    "{{instance}}",
                )
            ],
            "The KV cache is allocated at the start, so a high share is normal.",
        ),
        Panel(
            "Tokens per second",
            "short",
            [
                (f"sum({rate('engine_sampled_tokens_total')})", "sampled"),
                (f"sum({rate('engine_prefill_tokens_total')})", "prefilled"),
            ],
            "Of all workers.",
        ),
        Panel(
            "Time to first token",
            "s",
            quantiles("first_token_seconds"),
            "From a worker's claim: reading the inputs, and prefill.",
        ),
        Panel(
            "Time per output token",
            "s",
            quantiles("output_token_seconds", shares=(0.5, 0.95, 0.99)),
            "Of each job, after its first token. It grows with the batch and with long prefills.",
        ),
        Panel(
            "Preemptions per second",
            "short",
            rates("engine_preemptions_total", "instance"),
            "Work that is done again: the KV cache is too small.",
        ),
        Panel(
            "Slots",
            "short",
            [('max by (state) (thinkqueue_slots{stage="generate"})', "{{state}}")],
            "Of ready workers.",
        ),
        Panel("Thinking tokens per job", "short", quantiles("thinking_tokens"), "The budget is a ceiling."),
        Panel(
            "Thinking closed, by reason",
            "short",
            rates("thinking_cutoffs_total", "reason"),
            "budget is normal. repetition means that the model loops: check its sampling and its weights.",
        ),
        Panel(
            "Leases lost, jobs resumed, jobs released",
            "short",
            [
                (f"max by (stage) ({table_rate('leases_lost_total')})", "lost {{stage}}"),
                (f"sum({rate('resumes_total')})", "resumed"),
                (f"sum({rate('jobs_released_total')})", "released"),
            ],
            "A lost lease is a worker that crashed or hung; a release is one that was told to stop.",
        ),
    ],
)
