"""Web pages in a real browser: a headless Chromium, driven over its DevTools protocol."""

import base64
import fcntl
import json
import os
import pathlib
import select
import shutil
import subprocess
import tempfile
import time

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
PATIENCE = 60  # seconds for an answer

# Elements with text of their own whose colour is too near that of what lies behind them (WCAG AA).
LOW_CONTRAST = """
(() => {
  const channels = (colour) => (colour.match(/[\\d.]+/g) || []).map(Number);
  const luminance = (colour) => {
    const [r, g, b] = channels(colour).map((c) => {
      c /= 255;
      return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const colour = getComputedStyle(element).backgroundColor;
      const alpha = channels(colour)[3];
      if (alpha === undefined || alpha > 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const found = [];
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || ["title", "desc", "style"].includes(element.localName)) continue;
    const style = getComputedStyle(element);
    const front = luminance(element instanceof SVGElement ? style.fill : style.color);
    const back = luminance(behind(element));
    const ratio = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
    const large = parseFloat(style.fontSize) >= 24;
    if (ratio < (large ? 3 : 4.5)) found.push(`${element.localName}: ${ratio.toFixed(2)}`);
  }
  return found;
})()
"""


def find_browser():
    """Path of a Chromium, or a skip where there is none; on the build server it must be there."""
    for name in NAMES:
        path = shutil.which(name)
        if path:
            return path
    if os.environ.get("CI") == "true":
        pytest.fail(f"no browser on this build server: none of {', '.join(NAMES)}")
    pytest.skip(f"no browser on this machine: none of {', '.join(NAMES)}")


class Browser:
    """A running browser, to be used in a `with`; `open` gives a page."""

    def __init__(self, executable=None):
        self.executable = executable or find_browser()

    def __enter__(self):
        self._profile = tempfile.mkdtemp(prefix="browser-")
        commands, answers = os.pipe(), os.pipe()
        # The browser reads its file descriptor 3 and writes 4: the pipes must not lie there before.
        reads, writes = (fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (commands[0], answers[1]))
        os.close(commands[0])
        os.close(answers[1])
        self._commands, self._answers = commands[1], answers[0]
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{reads} 4>&{writes}', "bash", self.executable]
            + [*FLAGS, f"--user-data-dir={self._profile}", "about:blank"],
            pass_fds=(reads, writes),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(reads)
        os.close(writes)
        self._buffer, self._number, self._pages = b"", 0, {}
        return self

    def __exit__(self, *error):
        os.close(self._commands)  # the browser ends when its pipe does
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._answers)
        shutil.rmtree(self._profile, ignore_errors=True)

    def open(self, address, width=1200, height=900, dark=False):
        """The page at a path or an address, loaded, in a window of this size."""
        if isinstance(address, pathlib.Path):
            address = address.resolve().as_uri()
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        attached = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})
        page = Page(self, attached["sessionId"])
        self._pages[page.session] = page
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        page.call("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.call("Emulation.setEmulatedMedia", {"features": [scheme]})
        page.call("Page.navigate", {"url": address})
        deadline = time.monotonic() + PATIENCE
        while not page.loaded:
            self._receive(deadline)
        page.evaluate("document.fonts.ready.then(() => true)")
        return page

    def call(self, method, parameters=None, session=None):
        """The result of a command of the protocol."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters or {}}
        if session:
            message["sessionId"] = session
        content, number = json.dumps(message).encode() + b"\0", self._number
        while content:
            content = content[os.write(self._commands, content) :]
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = self._receive(deadline)
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer)
                return answer["result"]

    def _receive(self, deadline):
        """The next message; what it tells of a page is noted there."""
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"the browser gave no answer in {PATIENCE} s"
            content = os.read(self._answers, 1 << 20)
            assert content, "the browser has ended"
            self._buffer += content
        content, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(content)
        if message.get("sessionId") in self._pages and "method" in message:
            self._pages[message["sessionId"]].note(message["method"], message["params"])
        return message


class Page:
    """An open page.

    Attributes:
        messages: what the page, or the browser about it, wrote on the console.
        requests: addresses that were asked for, without `data:`; the first is the page itself.
    """

    def __init__(self, browser, session):
        self.browser, self.session = browser, session
        self.messages, self.requests, self.loaded = [], [], False

    def call(self, method, parameters=None):
        return self.browser.call(method, parameters, self.session)

    def note(self, method, parameters):
        if method == "Page.loadEventFired":
            self.loaded = True
        elif method == "Log.entryAdded":
            self.messages.append(parameters["entry"]["text"])
        elif method == "Runtime.consoleAPICalled":
            self.messages.append(str([value.get("value") for value in parameters["args"]]))
        elif method == "Runtime.exceptionThrown":
            self.messages.append(str(parameters["exceptionDetails"]))
        elif method == "Network.requestWillBeSent":
            if not parameters["request"]["url"].startswith("data:"):
                self.requests.append(parameters["request"]["url"])

    def evaluate(self, expression):
        """The value of a JavaScript expression; a promise is waited for."""
        asked = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        answer = self.call("Runtime.evaluate", asked)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def overflow(self):
        """By how many pixels the page is wider than its window."""
        return self.evaluate("document.documentElement.scrollWidth - innerWidth")

    def broken_images(self):
        """Alternative texts of the images that do not show."""
        return self.evaluate("[...document.images].filter((i) => !i.naturalWidth).map((i) => i.alt)")

    def low_contrast(self):
        """Elements whose text cannot be told well from what lies behind it."""
        return self.evaluate(LOW_CONTRAST)

    def screenshot(self, path):
        """Write a picture of the whole page."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        asked = {"captureBeyondViewport": True, "clip": {**size, "scale": 1}}
        pathlib.Path(path).write_bytes(base64.b64decode(self.call("Page.captureScreenshot", asked)["data"]))
