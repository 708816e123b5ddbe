"""A browser, and what it draws: shadow roots and frames included, waited for, kept as a picture."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from selenium import webdriver
from selenium.common.exceptions import JavascriptException, StaleElementReferenceException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

__all__ = ["Tab", "browser"]

T = TypeVar("T")
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--enable-unsafe-swiftshader",  # the projector draws with WebGL
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    "--window-size=1500,1000",
    "--force-device-scale-factor=1",
)
_DEEP = """
const find = (root, found) => {
  for (const element of root.querySelectorAll('*')) {
    if (element.matches(arguments[0])) found.push(element);
    if (element.shadowRoot) find(element.shadowRoot, found);
    if (element.tagName === 'IFRAME' && element.contentDocument) find(element.contentDocument, found);
  }
  return found;
};
const shown = element => element.getClientRects().length > 0;
"""


@contextmanager
def browser(profile: Path) -> Iterator[Any]:
    """Chromium without a window, with a profile of its own."""
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not chromedriver:
        raise FileNotFoundError("chromium and chromedriver are not installed: see `make browser`")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(chromedriver))
    driver.set_page_load_timeout(60)
    driver.set_script_timeout(60)
    try:
        yield driver
    finally:
        driver.quit()


class Tab:
    """One tab of a TensorBoard."""

    def __init__(self, driver: Any, url: str, name: str, pictures: Path) -> None:
        self._driver = driver
        self._pictures = pictures
        self._name = name
        driver.get("about:blank")  # else a change behind the # alone loads nothing
        driver.get(f"{url}/#{name}")

    def wait(self, get: Callable[[], T], what: Callable[[T], object], timeout: float = 40) -> T:
        """What ``get`` gives, as soon as ``what`` holds of it; a picture is kept of the end either way."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                found = get()
                held = what(found)
            except (JavascriptException, StaleElementReferenceException) as error:  # it is being drawn
                found, held = repr(error), False  # type: ignore[assignment]
            if held:
                self.picture()
                return found
            if time.monotonic() > deadline:
                self.picture("failed")
                raise AssertionError(f"{self._name}: {found!r}")
            time.sleep(0.1)

    def picture(self, suffix: str = "") -> None:
        """Keep what it looks like."""
        name = f"{self._name}-{suffix}" if suffix else self._name
        self._driver.save_screenshot(str(self._pictures / f"{name}.png"))

    def texts(self, selector: str) -> list[str]:
        """The text of every shown element that matches."""
        code = f"{_DEEP} return find(document, []).filter(shown).map(e => e.innerText ?? e.textContent)"
        return [" ".join(text.split()) for text in self._driver.execute_script(code, selector)]

    def count(self, selector: str) -> int:
        """How many elements match and are shown."""
        return int(self.run("return find(document, []).filter(shown).length", selector))

    def run(self, code: str, selector: str, *arguments: Any) -> Any:
        """Run JavaScript that may use ``find(document, [])``, of the elements that match."""
        return self._driver.execute_script(_DEEP + code, selector, *arguments)

    def elements(self, selector: str) -> list[Any]:
        """The shown elements that match."""
        return list(self.run("return find(document, []).filter(shown)", selector))

    def hover(self, element: Any) -> None:
        """Move the mouse about the middle of an element."""
        ActionChains(self._driver).move_to_element(element).move_by_offset(5, 5).perform()

    def click(self, element: Any) -> None:
        """Click it, wherever it is."""
        self._driver.execute_script("arguments[0].click()", element)

    def colours(self, selector: str) -> list[list[int]]:
        """The colour in the middle of each picture that matches and is loaded."""
        code = """
        return find(document, []).filter(image => shown(image) && image.complete && image.naturalWidth)
          .map(image => {
            const canvas = document.createElement('canvas');
            [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
            const context = canvas.getContext('2d');
            context.drawImage(image, 0, 0);
            const middle = context.getImageData(canvas.width >> 1, canvas.height >> 1, 1, 1);
            return [...middle.data].slice(0, 3);
          })"""
        return list(self.run(code, selector))

    def errors(self) -> list[str]:
        """What the browser complained of since it was asked last."""
        return [
            json.dumps(entry["message"])
            for entry in self._driver.get_log("browser")
            if entry["level"] == "SEVERE"
        ]

    def body(self) -> str:
        """All text that is shown outside of shadow roots."""
        return str(self._driver.find_element(By.TAG_NAME, "body").text)
