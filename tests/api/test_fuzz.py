"""The API against its own description: requests made from it, good and bad, and every answer held to it."""

import asyncio
import threading
from collections.abc import Generator
from dataclasses import replace

import pytest
import schemathesis
from aiohttp import web
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    negative_data_rejection,
    positive_data_acceptance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from reconciler.api import openapi
from reconciler.api.server import application
from tests.api.daemon import GPUS, Recorder

schema = schemathesis.openapi.from_dict(openapi.document()).exclude(path_regex="/stream$")
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    response_schema_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    unsupported_method,
]


class Finite(Recorder):
    """Logs that are followed end, so that every request has an answer."""

    def log(self, name, index, run, *, lines, follow):
        return super().log(name, index, run, lines=lines, follow=False)


@pytest.fixture(scope="module")
def address() -> Generator[str, None, None]:
    """The real application, on a port of this test alone: what makes the requests speaks TCP only."""
    recorder = Finite()
    recorder.now = replace(recorder.now, gpus=GPUS)
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(application(recorder), access_log=None, shutdown_timeout=0.1)

    async def start() -> str:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    url = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield url
    loop.call_soon_threadsafe(loop.stop)
    thread.join(60)
    loop.run_until_complete(runner.cleanup())
    loop.close()


@schema.parametrize()  # pyright: ignore[reportUntypedFunctionDecorator]
@settings(max_examples=25, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_every_answer_is_as_described(case, address):
    case.call_and_validate(base_url=address, headers={"Host": "localhost"}, checks=CHECKS)
