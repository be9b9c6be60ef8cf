"""Where things are, by what was typed, the environment and the customs of the machine."""

import argparse
import contextlib
from pathlib import Path

import pytest

from reconciler.booted import for_gateways
from reconciler.cli.places import SYSTEM, places

HOME = {"HOME": "/home/ada"}
XDG = {"XDG_CONFIG_HOME": "/c", "XDG_STATE_HOME": "/s", "XDG_RUNTIME_DIR": "/run/user/7"}
CASES = {
    "a user": (
        {},
        HOME,
        7,
        (
            "/home/ada/.config/holdfast/fleet.d",
            "/home/ada/.local/state/holdfast",
            "/home/ada/.local/state/holdfast/holdfast.sock",
        ),
    ),
    "a user with XDG": (
        {},
        HOME | XDG,
        7,
        ("/c/holdfast/fleet.d", "/s/holdfast", "/run/user/7/holdfast/holdfast.sock"),
    ),
    "a relative XDG path is ignored": (
        {},
        HOME | {"XDG_CONFIG_HOME": "c", "XDG_STATE_HOME": "/s", "XDG_RUNTIME_DIR": "r"},
        7,
        ("/home/ada/.config/holdfast/fleet.d", "/s/holdfast", "/s/holdfast/holdfast.sock"),
    ),
    "root under systemd": ({}, HOME | XDG | {"INVOCATION_ID": "1"}, 0, SYSTEM),
    "a user's own unit": (
        {},
        HOME | XDG | {"INVOCATION_ID": "1"},
        7,
        ("/c/holdfast/fleet.d", "/s/holdfast", "/run/user/7/holdfast/holdfast.sock"),
    ),
    "the environment": (
        {},
        HOME | XDG | {"HOLDFAST_FLEET": "/f", "HOLDFAST_STATE": "/st", "HOLDFAST_SOCKET": "/so"},
        7,
        ("/f", "/st", "/so"),
    ),
    "options before the environment": (
        {"fleet": "/a", "state": "/b", "socket": "/c"},
        HOME | {"HOLDFAST_FLEET": "/f", "HOLDFAST_STATE": "/st", "HOLDFAST_SOCKET": "/so"},
        7,
        ("/a", "/b", "/c"),
    ),
    "a directory that was typed before all": (
        {"directory": "/typed", "fleet": "/a"},
        HOME | XDG | {"HOLDFAST_FLEET": "/f"},
        7,
        ("/typed", "/s/holdfast", "/run/user/7/holdfast/holdfast.sock"),
    ),
    "a state of one's own has a socket of its own": (
        {"state": "/mine"},
        HOME | XDG,
        7,
        ("/c/holdfast/fleet.d", "/mine", "/mine/holdfast.sock"),
    ),
}


@pytest.mark.parametrize(("typed", "env", "uid", "expected"), CASES.values(), ids=CASES)
def test_where_things_are(typed, env, uid, expected):
    found = places(argparse.Namespace(**typed), env=env, uid=uid)
    assert (found.fleet, found.state, found.socket) == expected


def test_a_fleet_in_the_current_directory_is_meant_by_verbs_that_begin_one(tmp_path: Path):
    (tmp_path / "fleet.d").mkdir()
    with contextlib.chdir(tmp_path):
        assert places(argparse.Namespace(), env=HOME, uid=7, here=True).fleet == "fleet.d"
        assert places(argparse.Namespace(), env=HOME, uid=7).fleet == "/home/ada/.config/holdfast/fleet.d"


@pytest.mark.parametrize(
    ("people", "gateways"),
    [
        (SYSTEM[2], "/run/holdfast-gateways/holdfast.sock"),
        ("/run/user/7/holdfast/holdfast.sock", "/run/user/7/holdfast/holdfast-gateway.sock"),
        ("/a.b/s", "/a.b/s-gateway"),
    ],
)
def test_gateways_have_a_socket_beside_that_of_people(people: str, gateways: str):
    assert for_gateways(people) == gateways
