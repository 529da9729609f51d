"""A response to a webhook or a result copy counts once its status line has arrived."""

import socket
import threading

import pytest

from testing.egress import post
from testing.processes.raw_server import Reply, raw_server, send, send_and_hold, send_and_reset
from worker.egress.client import EgressResponse
from worker.egress.errors import EgressError

OK = b"HTTP/1.1 200 OK\r\n"
MANY_HEADERS = b"".join(b"x-%d: %s\r\n" % (number, b"a" * 1_000) for number in range(150))


def answer(reply: Reply, timeout_s: float = 10) -> EgressResponse:
    with raw_server(reply) as (port, requests):
        response = post(f"http://127.0.0.1:{port}/hook", timeout_s=timeout_s)
        assert len(requests) == 1
        return response


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(send(OK + b"content-length: 100\r\n\r\nok"), id="short body"),
        pytest.param(send_and_reset(OK + b"content-length: 100\r\n\r\nok"), id="reset in the body"),
        pytest.param(send(OK + b"transfer-encoding: chunked\r\n\r\nnot hex\r\n"), id="malformed chunks"),
        pytest.param(send(OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhel"), id="incomplete chunk"),
        pytest.param(send(OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\nxx"), id="two lengths"),
        pytest.param(send(OK + b"content-length: x\r\n\r\n"), id="malformed length"),
        pytest.param(send(OK + b"transfer-encoding: gzip\r\n\r\nxx"), id="unknown transfer encoding"),
        pytest.param(send_and_reset(OK), id="reset after the status line"),
        pytest.param(send(OK + b"x-a: 1"), id="incomplete head"),
        pytest.param(send(OK + b"no colon\r\n\r\n"), id="malformed header"),
        pytest.param(send(OK + b"x\x00y: 1\r\n\r\n"), id="header name with a null"),
        pytest.param(send(OK + MANY_HEADERS + b"\r\n"), id="150 kB of headers"),
        pytest.param(send(b"HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n"), id="no reason"),
        pytest.param(send(b"HTTP/1.0 200 OK\r\n\r\nok"), id="HTTP/1.0"),
        pytest.param(send(b"HTTP/1.1 100 Continue\r\n\r\n", OK, b"\r\n"), id="100 first"),
        pytest.param(
            send_and_reset(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + OK), id="103 first, then reset"
        ),
    ],
)
def test_a_200_counts_whatever_follows(reply: Reply) -> None:
    assert answer(reply).status == 200


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(send_and_hold(OK), id="nothing after the status line"),
        pytest.param(send_and_hold(OK, b"x-a: 1\r\n"), id="endless head"),
        pytest.param(send_and_hold(OK + b"content-length: 100\r\n\r\n"), id="no body"),
        pytest.param(send_and_hold(OK + b"\r\n", b"x"), id="endless body"),
    ],
)
def test_a_200_counts_although_the_response_does_not_end(reply: Reply) -> None:
    assert answer(reply, timeout_s=0.3).status == 200


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(send_and_reset(b""), id="reset"),
        pytest.param(send(b""), id="nothing"),
        pytest.param(send(b"HTTP/1.1 20"), id="half a status line"),
        pytest.param(send(b"HTTP/1.1 200 OK"), id="a status line without an end"),
        pytest.param(send(b"hello\r\n\r\n"), id="no HTTP"),
        pytest.param(send(b"HTTP/1.1 2000 OK\r\n\r\n"), id="four digits"),
        pytest.param(send(b"HTTP/1.1 100 Continue\r\n\r\n"), id="only an interim response"),
        pytest.param(send(b"HTTP/1.1 100 Continue\r\nx-a: HTTP/1.1 200 OK\r\n"), id="a status in a header"),
        pytest.param(send(b"HTTP/1.1 100 Continue\r\nHTTP/1.1 200 OK\r\n"), id="a status in place of a header"),
    ],
)
def test_without_a_status_line_there_is_no_response(reply: Reply) -> None:
    with pytest.raises(EgressError) as error:
        answer(reply)
    assert error.value.retryable


def test_another_status_counts_as_well() -> None:
    assert answer(send_and_reset(b"HTTP/1.1 410 Gone\r\ncontent-length: 5\r\n\r\n")).status == 410


def test_a_receiver_that_answers_without_reading_the_body_is_heard() -> None:
    def answer_at_once(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(OK + b"content-length: 0\r\n\r\n")
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65_536):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=answer_at_once, args=(listener,), daemon=True).start()
        assert post(f"http://127.0.0.1:{listener.getsockname()[1]}/", body=b"x" * 2**20).status == 200
