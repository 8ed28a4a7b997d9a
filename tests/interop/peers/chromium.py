"""Chromium without a window, spoken to in the DevTools protocol through two pipes."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.interop.peers.process import Tool

CHROMIUM = Tool("chromium", "chromium")
_OPTIONS = (
    "--headless",
    "--no-sandbox",  # root has none
    "--disable-gpu",
    "--disable-dev-shm-usage",  # small in containers
    "--disable-background-networking",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
_SECONDS = 60.0


@dataclass
class Browser:
    """One page of a browser, and what was heard of it."""

    commands: int
    answers: int
    session: str | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    _number: int = 0
    _buffer: bytes = b""

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Call a method of the protocol, and wait for its answer."""
        self._number += 1
        message: dict[str, object] = {"id": self._number, "method": method, "params": parameters}
        if self.session is not None:
            message["sessionId"] = self.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def load(self, page: Path) -> None:
        """Show a page, and wait until all of it is there; events are those since then."""
        self.events.clear()
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=page.resolve().as_uri())
        while not any(each.get("method") == "Page.loadEventFired" for each in self.events):
            self.events.append(self._next())

    def evaluate(self, expression: str) -> Any:  # noqa: ANN401  # whatever it comes to
        """The value of an expression of JavaScript, which the page's policy does not hinder."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def resize(self, width: int, height: int = 900) -> None:
        """Show the page in a window of this size."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)

    def pdf(self) -> bytes:
        """The page as it is printed on the paper that it asks for."""
        options = {"preferCSSPageSize": True, "printBackground": True}
        return base64.b64decode(self.call("Page.printToPDF", **options)["data"])

    def requests(self) -> list[str]:
        """The addresses of everything that was asked for."""
        sent = self._heard("Network.requestWillBeSent")
        return [each["request"]["url"] for each in sent]

    def complaints(self) -> list[str]:
        """What stands in the console, and errors of scripts."""
        logged = [each["entry"]["text"] for each in self._heard("Log.entryAdded")]
        said = [str(each["args"]) for each in self._heard("Runtime.consoleAPICalled")]
        return logged + said + [str(each) for each in self._heard("Runtime.exceptionThrown")]

    def _heard(self, method: str) -> list[dict[str, Any]]:
        return [each["params"] for each in self.events if each.get("method") == method]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            data = os.read(self.answers, 1 << 20)
            assert data, "chromium ended"
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser with an empty page, and its profile in ``folder``."""
    CHROMIUM.require()
    to_browser, commands = os.pipe()
    answers, from_browser = os.pipe()
    high = [fcntl.fcntl(each, fcntl.F_DUPFD, 20) for each in (to_browser, from_browser)]
    for each in (to_browser, from_browser):
        os.close(each)
    script = f'exec "$@" 3<&{high[0]} 4>&{high[1]}'  # the numbers that it reads and writes
    options = (*_OPTIONS, f"--user-data-dir={folder}")
    process = subprocess.Popen(
        ["bash", "-c", script, "bash", CHROMIUM.command, *options],
        pass_fds=high,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for each in high:
        os.close(each)
    try:
        opened = Browser(commands, answers)
        target = opened.call("Target.createTarget", url="about:blank")["targetId"]
        attached = opened.call("Target.attachToTarget", targetId=target, flatten=True)
        opened.session = attached["sessionId"]
        yield opened
    finally:
        os.close(commands)  # which ends it
        os.close(answers)
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 5
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait(_SECONDS)
