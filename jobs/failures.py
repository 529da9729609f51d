"""Why jobs fail: each code that a job's ``error`` may have, what happened, and the way out.

docs/errors.md is made from this table and the tree in errors.py; a test holds it against the code.
"""

FAILURES: dict[str, tuple[str, str]] = {
    "cancelled": ("The client wanted no answer any more.", "Nothing; what was made by then is kept."),
    "expired": ("No worker started the job before its deadline.", "Add workers, or give it a longer `expires_in`."),
    "run_time_exceeded": (
        "It ran longer than its `max_run_seconds`.",
        "Give it more, or smaller budgets; what was made by then is kept.",
    ),
    "worker_lost": (
        "Four workers were lost while they had the job.",
        "Retry it once; if it happens again, the job is what kills them: look into their logs.",
    ),
    "context_exceeded": (
        "Prompt, thinking budget and answer do not fit into the model's context.",
        "Ask for less, or send fewer or smaller pictures.",
    ),
    "media_missing": ("A picture is gone from the object store.", "Send the job anew."),
    "request_missing": ("The request is gone from the object store.", "Send the job anew."),
    "image_unsupported": ("The file is no picture of a known format.", "Send PNG, JPEG, WebP, GIF, BMP, TIFF or HEIC."),
    "image_unreadable": ("The picture cannot be decoded.", "Open and save it with another program."),
    "image_truncated": ("The file ends in the middle of the picture.", "Send it whole."),
    "image_too_many_pixels": ("The picture has more pixels than the service decodes.", "Scale it down."),
    "image_aspect": ("The picture is longer than 200 times its width.", "Cut it into pieces."),
    "url_invalid": ("The URL cannot be asked for.", "Correct it."),
    "url_forbidden": (
        "The URL leads to an address that is not public.",
        "Send the file as an upload; operators can allow networks by `EGRESS_ALLOW`.",
    ),
    "url_unreachable": ("No connection to the URL's host, in three tries.", "Look whether the host is up."),
    "url_timeout": ("The URL did not answer in time, in three tries.", "Send the file as an upload."),
    "url_too_large": ("The file behind the URL is larger than the limit.", "Send a smaller one."),
    "url_redirects": ("The URL redirects too often.", "Send the URL that it ends at."),
    "url_status": ("The URL answered with an error status.", "Look whether it needs a login or has expired."),
    "url_failed": ("The URL could not be fetched.", "Send the file as an upload."),
    "out_of_memory": ("The GPU has no memory left for this job.", "Send fewer or smaller pictures, or ask for less."),
    "model_nan": ("The model gave no numbers for this input.", "Retry it; then look at the input."),
    "engine_error": ("The engine failed on this job.", "Retry it; then report it with the job's id."),
    "engine_stuck": ("The engine did not stop when it was told to.", "Retry it; then report it with the job's id."),
    "journal_mismatch": ("What the job had made does not fit the model that is to go on with it.", "Retry it."),
    "internal_error": ("Something crashed that must not.", "Retry it; then report it with the job's id."),
}
