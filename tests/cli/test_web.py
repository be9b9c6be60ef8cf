"""The dashboard in a browser: who may see it, how many, and that a real browser shows what runs."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp
import pytest
from aiohttp import web as http

from reconciler.act import procfs
from reconciler.cli.web import Site
from reconciler.cli.web_pages import COLOURS
from tests.api.daemon import status, workload
from tests.cli.chromium import Page, opened
from tests.eventually import eventually, eventually_async
from tests.ports import free_port
from tests.tui.daemon import Daemon
from tui.theme import THEMES

INKS = ("dim", "accent", "bad")
KEY = "a key of more than sixteen letters"
SIZE = {"width": "100", "height": "30"}


@pytest.fixture
def daemon(tmp_path):
    with Daemon(tmp_path / "sock", status(workload("a-name-to-look-for"))) as served:
        yield served


@contextlib.asynccontextmanager
async def served(daemon: Daemon, **given: Any) -> AsyncGenerator[tuple]:
    """A site on a free port of loopback, and a client of it."""
    argv = [sys.executable, "-m", "reconciler.cli", "tui", "--theme", "dark", "--socket", daemon.path]
    told: dict[str, Any] = {"argv": argv, "key": "", "names": frozenset({"localhost"}), "port": 1, "most": 2}
    runner = http.AppRunner(Site(**(told | given)).application())
    await runner.setup()
    await http.TCPSite(runner, "127.0.0.1", 0).start()
    at = f"127.0.0.1:{runner.addresses[0][1]}"
    async with aiohttp.ClientSession(f"http://{at}", cookie_jar=aiohttp.CookieJar(unsafe=True)) as client:
        yield client, at
    await runner.cleanup()


def page(client: aiohttp.ClientSession, at: str, **headers: str) -> Any:
    return client.ws_connect("/ws", params=SIZE, headers={"Origin": f"http://{at}", **headers})


async def until(browser: aiohttp.ClientWebSocketResponse, text: bytes) -> bytes:
    said = b""
    while text not in said:
        message = await browser.receive(60)
        assert message.type is aiohttp.WSMsgType.BINARY, message
        said += message.data
    return said


def dashboards(of: int | None = None) -> list[int]:
    """Processes that a server, we ourselves, started to show one."""
    found: list[int] = []
    for stat in procfs.table().values():
        with contextlib.suppress(OSError), open(f"/proc/{stat.pid}/cmdline", "rb") as line:
            if stat.parent == (of or os.getpid()) and b"tui" in line.read().split(b"\0"):
                found.append(stat.pid)
    return found


async def test_a_browser_gets_the_dashboard_and_what_it_types_is_done(daemon):
    async with served(daemon) as (client, at), page(client, at) as browser:
        await until(browser, b"a-name-to-look-for")
        await browser.send_json(["stdin", "?"])
        await until(browser, b"Moving about")


@pytest.mark.parametrize(
    "said",
    [
        "{",
        "[]",
        "7",
        '["stdin"]',
        '["resize", {"width": -3, "height": "x"}]',
        '["resize", 3]',
        '["stdin", ["\\ud800"]]',
    ],
)
async def test_what_a_browser_says_wrongly_is_passed_over(daemon, said):
    async with served(daemon) as (client, at), page(client, at) as browser:
        await until(browser, b"a-name-to-look-for")
        await browser.send_str(said)
        await browser.send_json(["resize", {"width": 120, "height": 40}])
        await browser.send_json(["stdin", "?"])
        await until(browser, b"Moving about")


async def test_its_process_ends_with_the_browser(daemon):
    async with served(daemon) as (client, at):
        async with page(client, at) as browser:
            await until(browser, b"a-name-to-look-for")
            assert len(dashboards()) == 1
        await eventually_async(lambda: dashboards() == [])


async def test_a_process_that_does_not_end_is_made_to(daemon):
    deaf = "import sys, time; print('__GANGLION__', flush=True); time.sleep(1000)"
    async with served(daemon, argv=[sys.executable, "-c", deaf, "tui"]) as (client, at):
        async with page(client, at):
            await eventually_async(lambda: len(dashboards()) == 1)
        await eventually_async(lambda: dashboards() == [])


async def test_the_page_is_told_when_the_dashboard_was_left(daemon):
    async with served(daemon) as (client, at), page(client, at) as browser:
        await until(browser, b"a-name-to-look-for")
        await browser.send_json(["stdin", "q"])
        while (await browser.receive(60)).type is aiohttp.WSMsgType.BINARY:
            pass
        assert browser.closed
        await eventually_async(lambda: dashboards() == [])


async def test_so_many_browsers_and_no_more(daemon):
    async with served(daemon, most=1) as (client, at):
        async with page(client, at) as browser:
            await until(browser, b"a-name-to-look-for")
            with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
                await page(client, at)
            async with client.get("/") as answer:
                assert (answer.status, "1 browsers look at it already" in await answer.text()) == (503, True)
        async with asyncio.timeout(60):
            while (await client.get("/")).status != 200:
                pass
        async with page(client, at) as browser:
            await until(browser, b"a-name-to-look-for")


# -- who may


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:9"}, 200),
        ({"Host": "[::1]:9"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example:9"}, 403),
        ({"Host": "localhost.evil.example"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "localhost:9", "Origin": "http://localhost:10"}, 403),
        ({"Host": "localhost:9", "Origin": "http://localhost:9"}, 200),
    ],
)
async def test_only_a_page_of_ours_at_a_name_of_ours_may_ask(daemon, headers, status):
    async with served(daemon) as (client, _), client.get("/", headers=headers) as answer:
        assert answer.status == status
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("origin", [None, "http://evil.example", "http://127.0.0.1:1", "file://"])
async def test_a_socket_is_opened_by_our_page_alone(daemon, origin):
    async with served(daemon) as (client, _):
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            await client.ws_connect("/ws", headers={"Origin": origin} if origin else {})
    assert dashboards() == []


async def test_a_name_that_was_given_is_good(daemon):
    asked = {"Host": "gpu1.example", "X-Forwarded-Proto": "https"}
    async with served(daemon, names=frozenset({"gpu1.example"})) as (client, _):
        answer = await client.get("/", headers=asked)
        assert 'data-session-websocket-url="wss://gpu1.example/ws"' in await answer.text()


async def test_other_users_of_the_machine_may_not(daemon):
    async with served(daemon, users=frozenset({os.getuid() + 4242})) as (client, at):
        async with client.get("/") as answer:
            assert (answer.status, "another user" in await answer.text()) == (403, True)
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            await page(client, at)


async def test_with_a_key_nothing_is_shown_without_it(daemon):
    async with served(daemon, key=KEY) as (client, at):
        for path in ("/", "/static/js/textual.js", "/no-such-page"):
            async with client.get(path) as answer:
                assert (answer.status, "data-session" in await answer.text()) == (401, False), path
        with pytest.raises(aiohttp.WSServerHandshakeError, match="401"):
            await page(client, at)
        async with client.post("/key", data={"key": KEY + "x"}) as answer:
            assert (answer.status, "not the key" in await answer.text()) == (401, True)
        async with client.post("/key", data={"key": KEY}, headers={"Origin": "http://evil.example"}) as answer:
            assert answer.status == 403
        async with client.post("/key", data={"key": KEY}, allow_redirects=False) as answer:
            assert answer.status == 303
            said = answer.headers["Set-Cookie"]
            assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(said.split("; "))
            assert KEY not in said
        async with client.get("/") as answer:
            assert "data-session" in await answer.text()
        async with page(client, at) as browser:
            await until(browser, b"a-name-to-look-for")


async def test_without_a_key_none_is_good(daemon):
    async with served(daemon) as (client, _), client.post("/key", data={"key": ""}, allow_redirects=False) as answer:
        assert answer.status == 401


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
async def test_the_page_is_of_the_colours_that_the_dashboard_wears(daemon, theme):
    worn = ["dark"]
    ground = {"ansi_default": "#000000"}.get(theme.background or "", theme.background)
    async with served(daemon, theme=lambda: worn[0]) as (client, _):
        worn[0] = theme.name  # it was chosen since
        assert f"--ground: {ground};" in await (await client.get("/")).text()
    async with served(daemon, key=KEY, theme=lambda: theme.name) as (client, _):
        assert f"--ground: {ground};" in await (await client.get("/")).text()
    for name, ink in (("ink", theme.foreground), *((each, theme.variables[f"ink-{each}"]) for each in INKS)):
        assert COLOURS[theme.name][name] == ink or theme.name == "ansi"


async def test_files_are_not_listed_and_lead_nowhere_else(daemon):
    async with served(daemon) as (client, _):
        for path in ("/static/", "/static/js/", "/static/%2e%2e/server.py", "/download/1"):
            async with client.get(path) as answer:
                assert answer.status in (403, 404), path


# -- the command


@pytest.fixture
def begun(daemon, tmp_path):
    """`holdfast web`, on a free port."""
    processes: list[subprocess.Popen[str]] = []

    def begin(*more: str) -> tuple[subprocess.Popen[str], str]:
        at = f"127.0.0.1:{free_port()}"
        argv = [sys.executable, "-m", "reconciler.cli", "web", "--socket", daemon.path, "--listen", at, *more]
        dark = os.environ | {"HOLDFAST_THEME": "dark"}  # whatever was chosen last on this machine
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=dark)
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == f"the dashboard is at http://{at} (Ctrl-C ends it)\n"
        return process, at

    yield begin
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["--listen", "0.0.0.0:24000"], "without a key"),
        (["--listen", "gpu1:24000"], "without a key"),
        (["--listen", "24000"], "HOST:PORT"),
        (["--listen", "127.0.0.1:99999"], "HOST:PORT"),
        (["--listen", "0.0.0.0:24000", "--key-file", "{short}"], "16 characters"),
        (["--listen", "192.0.2.1:24000", "--key-file", "{key}"], "; choose another address with --listen HOST:PORT"),
    ],
)
def test_it_listens_nowhere_else_without_a_good_key(tmp_path, typed, said):
    (tmp_path / "short").write_text("secret\n")
    (tmp_path / "key").write_text(KEY)
    words = [word.format(short=tmp_path / "short", key=tmp_path / "key") for word in typed]
    argv = [sys.executable, "-m", "reconciler.cli", "web", *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert said in done.stderr


async def test_nothing_of_it_is_left_when_it_is_interrupted_or_killed(begun):
    for number, ended in ((signal.SIGINT, 0), (signal.SIGTERM, 0), (signal.SIGKILL, -9)):
        process, at = begun()
        async with aiohttp.ClientSession(f"http://{at}") as client, page(client, at) as browser:
            await until(browser, b"a-name-to-look-for")
            [child] = dashboards(process.pid)
            process.send_signal(number)
            assert await asyncio.to_thread(process.wait, 60) == ended
            await eventually_async(lambda child=child: not procfs.read(f"/proc/{child}/cmdline"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_can_be_ended_before_it_has_said_where_it_is(daemon, number):
    """Whoever reads what it says is slow."""
    at = f"127.0.0.1:{free_port()}"
    host, _, port = at.partition(":")
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(writing, b"x" * 4096):
            pass
    os.set_blocking(writing, True)

    def listens() -> bool:
        with socket.socket() as tried:
            return tried.connect_ex((host, int(port))) == 0

    argv = [sys.executable, "-m", "reconciler.cli", "web", "--socket", daemon.path, "--listen", at]
    with open(reading, "rb") as said, subprocess.Popen(argv, stdout=writing, stderr=writing) as process:
        os.close(writing)
        try:
            eventually(listens, what="it listens")
            process.send_signal(number)
            assert said.read().strip(b"x").startswith(b"the dashboard is at ")
            assert process.wait(60) == 0
        finally:
            process.kill()


async def test_a_real_browser_shows_what_runs(begun, tmp_path):
    _, at = begun()
    async with opened(tmp_path / "profile", f"http://{at}/") as shown:
        await eventually_async(lambda: "a-name-to-look-for" in shown.received, within=60)
        assert all(url.startswith((f"http://{at}/", "data:", "blob:", "about:")) for url in shown.asked), shown.asked
        assert await shown.evaluate("document.querySelectorAll('.xterm-screen canvas').length") > 0
        fleet = await drawn(shown)
        await shown.evaluate("document.querySelector('.xterm-helper-textarea').focus()")
        await shown.press("?")
        await eventually_async(lambda: "Moving about" in shown.received)
        await drawn(shown, unlike=fleet)


async def drawn(shown: Page, *, unlike: str = "") -> str:
    """What is on the screen, once letters are in its upper left, and other ones than before."""
    end = asyncio.get_running_loop().time() + 60
    while (seen := await shown.drawn()) == unlike or "#" not in "".join(row[:60] for row in seen.split("\n")[4:12]):
        assert asyncio.get_running_loop().time() < end, seen
        await asyncio.sleep(0.05)
    return seen
