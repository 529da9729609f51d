"""Codes of failed jobs: each value of ``error.code``, what happened, and what to do.

docs/errors.md is generated from this table and the tree in errors.py; a test compares the table with the code.
"""

FAILURES: dict[str, tuple[str, str]] = {
    "cancelled": ("The client cancelled the job.", "Nothing. Output generated before the cancellation is kept."),
    "expired": (
        "No worker started the job before its deadline.",
        "Add workers, or submit the job with a longer `expires_in`.",
    ),
    "run_time_exceeded": (
        "The job ran longer than its `max_run_seconds`.",
        "Allow more time, or set smaller token budgets. Output generated so far is kept.",
    ),
    "worker_lost": (
        "Four workers were lost while they ran the job.",
        "Retry it once. If it happens again, the job may be what crashes them: read their logs.",
    ),
    "context_exceeded": (
        "The request does not fit the model's context or the worker's KV cache.",
        "Send less input, or lower the thinking budget, `max_answer_tokens` or `max_total_tokens`.",
    ),
    "grammar_failed": (
        "The answer could not be held to the `response_format`: its schema became too complex while it was followed.",
        "Simplify the schema: shorter patterns, fewer alternatives.",
    ),
    "media_changed": (
        "An uploaded file is not the one that the job was submitted with.",
        "Upload it again, and submit a new job.",
    ),
    "media_missing": ("A media file is missing in the object store.", "Submit the job again."),
    "request_missing": ("The request is missing in the object store.", "Submit the job again."),
    "storage_error": (
        "A server, in general the object store, answered with errors for this job's data several times, while other "
        "jobs succeeded.",
        "Submit the job again, with new uploads. Operators: the log of the prepare or generate worker names the error.",
    ),
    "image_unsupported": (
        "The file is not an image of a supported format.",
        "Send PNG, JPEG, WebP, GIF, BMP, TIFF, HEIC or AVIF.",
    ),
    "image_unreadable": ("The image cannot be decoded.", "Open it in another program and save it again."),
    "image_truncated": ("The file ends in the middle of the image.", "Send the complete file."),
    "image_too_many_pixels": ("The image has more pixels than the service decodes.", "Scale it down."),
    "image_aspect": ("The image or page is more than 200 times as long as it is wide.", "Cut it into pieces."),
    "document_unsupported": (
        "The file is not a PDF or a presentation, or its pages are only a placeholder, as in dynamic XFA forms and PDF "
        "portfolios.",
        "Send PDF, PPTX, PPT or ODP.",
    ),
    "document_unreadable": ("The document, or one of its pages, cannot be read.", "Save it again as PDF."),
    "document_encrypted": ("The document is protected by a password.", "Remove the password."),
    "document_empty": ("The document has no pages or slides.", "Send another document."),
    "document_pages": ("`pages` selects a page that the document does not have.", "Correct `pages`."),
    "document_too_long": (
        "The documents have more pages than the service accepts for one job.",
        "Select some with `pages`.",
    ),
    "document_too_large": ("The presentation unpacks to more data than the service reads.", "Send it as PDF."),
    "office_unavailable": ("LibreOffice is not installed, or it cannot be sandboxed.", "Send a PDF."),
    "video_unsupported": ("The file is not a video of a supported format.", "Send MP4, MOV, WebM, MKV or AVI."),
    "video_unreadable": ("The video cannot be decoded.", "Save it again with another program."),
    "video_truncated": ("The file ends long before the video does.", "Send the complete file."),
    "video_empty": ("The video has no frames.", "Send another video."),
    "video_too_long": ("The video has more frames than the service reads.", "Cut it."),
    "video_aspect": ("The video is more than 200 times as long as it is wide.", "Crop it."),
    "decode_timeout": ("A file took too long to decode.", "Send a simpler or shorter file."),
    "decode_memory": ("A file needs more memory to decode than the service allows.", "Scale it down."),
    "decode_crashed": ("A file crashed its decoder.", "Save it again with another program."),
    "media_too_large": (
        "The job's files together exceed the space that the service has for one job.",
        "Send fewer or smaller files; upload those that are given by URL.",
    ),
    "prepare_timeout": ("Fetching and converting the job's media took too long.", "Send fewer or smaller files."),
    "url_invalid": ("The URL is not valid.", "Correct it."),
    "url_forbidden": (
        "The URL resolves to an address that is not public.",
        "Upload the file instead. Operators can allow networks with `EGRESS_ALLOW`.",
    ),
    "url_unreachable": (
        "The URL's host cannot be reached, or its certificate is not accepted.",
        "The message says why.",
    ),
    "url_timeout": ("The URL did not answer in time in three attempts.", "Upload the file instead."),
    "url_too_large": ("The file at the URL exceeds the size limit.", "Send a smaller file."),
    "url_redirects": ("The URL redirects too often.", "Send the URL that it redirects to."),
    "url_status": ("The URL answered with an error status.", "Check whether it needs a login or has expired."),
    "url_failed": ("The URL could not be fetched.", "Upload the file instead."),
    "out_of_memory": (
        "The GPU has no memory left for this job.",
        "Send fewer or smaller images, or lower the token budgets.",
    ),
    "model_nan": ("The model returned NaN for this input.", "Retry it; then check the input."),
    "engine_error": ("The engine failed on this job.", "Retry it; then report it with the job's id."),
    "engine_stuck": ("The engine did not stop when it was asked to.", "Retry it; then report it with the job's id."),
    "journal_mismatch": (
        "The journal was generated with other settings than those of the worker that resumes the job.",
        "Retry it: the new job starts without the journal.",
    ),
    "internal_error": ("An unexpected error occurred.", "Retry it; then report it with the job's id."),
}
