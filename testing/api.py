"""The API in this process on the test servers, without workers: jobs stay where a test puts them."""

import base64
import io
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from api.app import create_app
from runtime.settings import Settings
from testing.table import Table

HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello."}]}


def inline_picture() -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20), "red").save(buffer, "png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def client_of(settings: Settings) -> TestClient:
    app: FastAPI = create_app(settings)
    return TestClient(app, base_url="http://localhost", raise_server_exceptions=False)


@pytest.fixture
def client(table: Table) -> Iterator[TestClient]:
    with client_of(table.settings) as client:
        yield client
