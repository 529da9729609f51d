"""Says in words why a connection failed: the person who reads it can act on "the certificate expired"."""

import errno
import os
import ssl

import httpcore

CERTIFICATE_PROBLEMS = {
    9: "its TLS certificate is not valid yet; check the clocks of both machines",
    10: "its TLS certificate has expired; renew it",
    18: "its TLS certificate is self-signed; use one of a known authority, or ask the operator to add it to CA_FILE",
    19: "its TLS certificate ends at a self-signed authority that is not known; ask the operator to add it to CA_FILE",
    20: "its TLS certificate comes from an unknown authority, or the server does not send its intermediate "
    "certificates; ask the operator to add the authority to CA_FILE",
    21: "its TLS certificate cannot be verified, because the server does not send its intermediate certificates",
    23: "its TLS certificate was revoked",
    62: "its TLS certificate is for another host name",
    64: "its TLS certificate is for another IP address",
}
"""By OpenSSL's X509_V_ERR_* code."""
TLS_PROBLEMS = {
    "WRONG_VERSION_NUMBER": "it does not speak TLS on this port; use http, or the port for https",
    "HTTP_REQUEST": "it does not speak TLS on this port; use http, or the port for https",
    "UNSUPPORTED_PROTOCOL": "it supports outdated TLS versions only; TLS 1.2 or newer is needed",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it supports outdated TLS versions only; TLS 1.2 or newer is needed",
    "TLSV1_UNRECOGNIZED_NAME": "it serves no such host name",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it requires a client certificate, which is not supported",
}
"""By OpenSSL's reason."""


def failure_text(error: BaseException) -> str:
    """Return why a request had no response, for the end of a sentence."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return CERTIFICATE_PROBLEMS.get(
                cause.verify_code, f"its TLS certificate is not valid: {cause.verify_message}"
            )
        if isinstance(cause, ssl.SSLError):
            reason = str(cause.reason or "no details").replace("SSLV3_ALERT", "TLSV1_ALERT")
            return TLS_PROBLEMS.get(reason, f"the TLS handshake failed: {reason.lower().replace('_', ' ')}")
        if isinstance(cause, OSError) and cause.errno is not None and cause.errno in errno.errorcode:
            return os.strerror(cause.errno).lower()
    return _text_without_cause(error)


def _text_without_cause(error: BaseException) -> str:
    if isinstance(error, httpcore.ConnectError):
        return "the connection failed"
    if isinstance(error, httpcore.NetworkError):
        return "it closed the connection"
    if "without sending a response" in str(error):
        return "it closed the connection without a response"
    if "without sending complete message body" in str(error) or "incomplete" in str(error):
        return "it closed the connection before the response was complete"
    return "it does not send a valid HTTP response"


def is_certificate_problem(error: BaseException) -> bool:
    """Whether an error means that the server's certificate was refused, which a retry does not change."""
    return any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error))


def _causes(error: BaseException | None, depth: int = 0) -> "list[BaseException]":
    """Return an error and the errors that led to it."""
    if error is None or depth > 8:
        return []
    found = [error, *_causes(error.__cause__ or error.__context__, depth + 1)]
    if isinstance(error, BaseExceptionGroup):
        found += [cause for member in error.exceptions[:8] for cause in _causes(member, depth + 1)]
    return found
