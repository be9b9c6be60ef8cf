"""The soak, for as long as a test may take. Ports 32300-32399."""

import asyncio

import pytest

from tests.gateway.soak import Soak

pytestmark = pytest.mark.system


def test_no_request_fails_that_had_no_first_byte(tmp_path):
    """While engines are killed, scaled and replaced, the gateway is reloaded, and the daemon killed."""
    soak = Soak(tmp_path, 32300, seed=7)
    try:
        soak.start()
        asyncio.run(soak.run(20, 1.0, print))
    finally:
        left = soak.clear()
    assert not soak.crowd.tally.failures, soak.report()
    assert soak.crowd.tally.total > 300, soak.report()
    assert len(soak.trouble) > 2, soak.report()  # kinds of it: a slow machine comes to fewer
    assert not left, f"left behind: {left}"
