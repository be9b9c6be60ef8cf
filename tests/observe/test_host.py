"""The machine."""

import os
import socket
import sys

import pytest

from reconciler.observe import host


def test_the_machine_is_as_it_is():
    """Name, processors we may use, memory, interpreter."""
    seen = host.look()
    assert seen.name == host.label(socket.gethostname())
    assert seen.cpus == len(os.sched_getaffinity(0))
    assert seen.memory == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < seen.available <= seen.memory
    assert seen.python == sys.executable


def test_engine_programs_on_path_are_found_and_looked_for_again_only_after_a_while(tmp_path):
    """A look costs microseconds; an installed engine is noticed within half a minute."""
    programs = host.Settled()
    folders = [tmp_path]
    programs.refresh(0.0, path=os.pathsep.join(map(str, folders)))
    assert programs.found == {}
    program = tmp_path / "llama-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    programs.refresh(29.0, path=str(tmp_path))
    assert programs.found == {}
    programs.refresh(30.0, path=str(tmp_path))
    assert programs.found == {"llama-server": str(program)}


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("box1", "box1"),
        ("GPU-Box.example.org", "gpu-box"),
        ("my_host", "my-host"),
        ("-", "local"),
        ("", "local"),
        ("x" * 80, "x" * 63),
        ("x" * 62 + "--y", "x" * 62),
    ],
)
def test_a_host_name_becomes_a_dns_label(name, label):
    """It is what a Node is named by."""
    assert host.label(name) == label
