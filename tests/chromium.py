"""Headless Chromium, driven through its own pipe: no driver, no sockets, no further package."""

import itertools
import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def chromium_program() -> str | None:
    """Return the browser of this machine, where it has one."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


class Page:
    """One tab: scripts in it, files chosen in it, and every request that it and its workers made."""

    def __init__(self, browser: "Browser", session: str) -> None:
        self._browser, self._session = browser, session

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, session=self._session, **parameters)

    @property
    def requests(self) -> list[str]:
        """Addresses asked for since the browser began, by any page or worker of it."""
        return [
            event["params"]["request"]["url"]
            for event in self._browser.events
            if event["method"] == "Network.requestWillBeSent"
        ]

    @property
    def complaints(self) -> list[str]:
        """What the console of the page has to say: uncaught errors and refusals of the content policy."""
        found = []
        for event in self._browser.events:
            if event["method"] == "Runtime.exceptionThrown":
                details = event["params"]["exceptionDetails"]
                found.append(details.get("exception", {}).get("description") or details["text"])
            elif event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
                found.append(event["params"]["entry"]["text"])
        return found

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def value(self, script: str) -> Any:
        """Evaluate an expression; a promise is waited for."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def wait(self, script: str, *, seconds: float = 30.0) -> Any:
        """Evaluate an expression until it is true; return its value."""
        end = time.monotonic() + seconds
        while True:
            with suppress(AssertionError):  # while the page changes, there is nothing to ask
                if value := self.value(script):
                    return value
            if time.monotonic() > end:
                raise AssertionError(
                    f"{script} is still not true; the page says: {self.value('document.body.innerText')}"
                )
            time.sleep(0.02)

    def choose(self, selector: str, *files: Path) -> None:
        """Choose files in a file input."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def click(self, selector: str) -> None:
        self.call("Runtime.evaluate", expression=f"document.querySelector({selector!r}).click()", userGesture=True)

    def press(self, key: str, code: int) -> None:
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)


class Browser:
    """A headless Chromium of its own, with a clip for a microphone; nothing but this machine can be reached from it."""

    def __init__(self, program: str, *, microphone: Path | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        heard = [f"--use-file-for-fake-audio-capture={microphone}"] if microphone else []
        arguments = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--mute-audio",
            "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update",
            "--disable-extensions", "--autoplay-policy=no-user-gesture-required",
            "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
            "--use-fake-device-for-media-stream", *heard,
            f"--user-data-dir={self._folder.name}", "--remote-debugging-pipe", "about:blank",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", f'exec "$0" "$@" 3</dev/fd/{to_read} 4>/dev/fd/{to_write}', program, *arguments],
            pass_fds=(to_read, to_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_read)
        os.close(to_write)
        self.events: list[dict[str, Any]] = []
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self._numbers = itertools.count(1)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError, AssertionError):
            self.call("Browser.close", seconds=5)
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        self._listener.join(timeout=5)
        os.close(self._read)
        self._folder.cleanup()

    def page(self) -> Page:
        """Open a tab that reports its requests and errors, also those of its workers."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._watch(session)
        page = Page(self, session)
        page.call("Page.enable")
        return page

    def call(
        self, method: str, *, session: str | None = None, seconds: float = 60.0, **parameters: Any
    ) -> dict[str, Any]:
        number = self._send(method, session, parameters)
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            with suppress(queue.Empty):
                answer = self._answers.get(timeout=left)
                if answer["id"] == number:
                    assert "error" not in answer, (method, answer["error"])
                    return answer["result"]
        raise AssertionError(f"the browser does not answer {method}")

    def _send(self, method: str, session: str | None, parameters: dict[str, Any]) -> int:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        os.write(self._write, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        return number

    def _watch(self, session: str) -> None:
        attach = {"autoAttach": True, "waitForDebuggerOnStart": True, "flatten": True}
        for method in ("Network.enable", "Runtime.enable", "Log.enable"):
            self._send(method, session, {})
        self._send("Target.setAutoAttach", session, attach)
        self._send("Runtime.runIfWaitingForDebugger", session, {})

    def _listen(self) -> None:
        rest = b""
        with suppress(OSError):
            while block := os.read(self._read, 1 << 16):
                *messages, rest = (rest + block).split(b"\0")
                for message in map(json.loads, messages):
                    if "id" in message:
                        self._answers.put(message)
                        continue
                    self.events.append(message)
                    if message["method"] == "Target.attachedToTarget":  # a worker, or a part of the audio
                        self._watch(message["params"]["sessionId"])
