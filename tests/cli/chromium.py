"""A headless Chromium, asked over its debugging protocol what a page got and what it looks like."""

import asyncio
import base64
import contextlib
import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiohttp

from tests.eventually import eventually_async

_OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--mute-audio",
    "--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0",
)  # fmt: skip


_SIGNS = """(async () => {
    const image = new Image(); image.src = "data:image/png;base64,%s"; await image.decode();
    const canvas = document.createElement("canvas"); canvas.width = image.width; canvas.height = image.height;
    const brush = canvas.getContext("2d"); brush.drawImage(image, 0, 0);
    const {data, width, height} = brush.getImageData(0, 0, image.width, image.height);
    const ground = 0x10 + 0x14 + 0x18, rows = [];
    for (let y = 0; y + 8 <= height; y += 8) {
        let row = "";
        for (let x = 0; x + 8 <= width; x += 8) {
            let most = 0;
            for (let dy = 0; dy < 8; dy++) for (let dx = 0; dx < 8; dx++) {
                const at = 4 * ((y + dy) * width + x + dx);
                most = Math.max(most, Math.abs(data[at] + data[at + 1] + data[at + 2] - ground));
            }
            row += most > 120 ? "#" : ".";
        }
        rows.push(row);
    }
    return rows.join("\\n");
})()"""


class Page:
    """What it shows, and what came to it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self.received = ""
        """What its websockets got."""
        self.asked: list[str] = []
        """Every address that it asked for."""

    async def read(self) -> None:
        """All that is said, until the browser ends."""
        async for message in self._socket:
            said = message.json()
            if "id" in said:
                self._answers.pop(said["id"]).set_result(said.get("result"))
            elif said["method"] == "Network.webSocketFrameReceived":
                frame = said["params"]["response"]
                data = frame["payloadData"]
                raw = data if frame["opcode"] == 1 else base64.b64decode(data).decode("utf-8", "replace")
                self.received += raw
            elif said["method"] == "Network.requestWillBeSent":
                self.asked.append(said["params"]["request"]["url"])

    async def do(self, method: str, **params: Any) -> Any:
        """One command of the protocol."""
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        return await self._answers[number]

    async def evaluate(self, script: str) -> Any:
        """The value of an expression."""
        found = await self.do("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        return found["result"].get("value")

    async def drawn(self) -> str:
        """What it looks like: a sign for 8 × 8 pixels, `#` where something differs from the ground."""
        found = await self.do("Page.captureScreenshot", format="png")
        return await self.evaluate(_SIGNS % found["data"])

    async def press(self, key: str) -> None:
        """A key that writes a letter."""
        await self.do("Input.dispatchKeyEvent", type="keyDown", text=key, key=key)
        await self.do("Input.dispatchKeyEvent", type="keyUp", key=key)


@contextlib.asynccontextmanager
async def opened(place: Path, url: str) -> AsyncGenerator[Page]:
    """A page with that address, in a browser with a profile of its own."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert program is not None, "apt-get install chromium"
    env = os.environ | {"HOME": str(place)}
    argv = [program, *_OPTIONS, f"--user-data-dir={place}", "--window-size=1200,700", "about:blank"]
    browser = subprocess.Popen(
        argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, env=env
    )
    try:
        told = place / "DevToolsActivePort"
        await eventually_async(lambda: told.exists() and told.read_text().count("\n"), within=60)
        port = told.read_text().split()[0]
        async with aiohttp.ClientSession() as http:
            async with http.get(f"http://127.0.0.1:{port}/json") as answer:
                [target] = [each for each in await answer.json() if each["type"] == "page"]
            async with http.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                page = Page(socket)
                reading = asyncio.create_task(page.read())
                for domain in ("Page", "Network", "Runtime"):
                    await page.do(f"{domain}.enable")
                await page.do("Page.navigate", url=url)
                yield page
                reading.cancel()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(browser.pid, signal.SIGKILL)
        browser.wait()
