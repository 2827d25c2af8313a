"""Makes the pictures of the README from a running server: `make.py http://127.0.0.1:8000 admin PASSWORD [BROWSER]`.

Needs the package `playwright` (no dependency of WeOps) and a Chromium; BROWSER is its path if playwright has none of
its own. Without a browser's path playwright takes the one it has downloaded itself.

The list is taken as it is, on a phone in the dark, too. For the detail page the newest instance that has run and waited for
others is chosen, and for its lineage; for the preview of an operation a rerun of all that succeeded, which is not applied. The
record is the one on the most instances of the first page. All is livelier while something runs, such as a rerun of all.
"""

import re
import sys
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

HERE = Path(__file__).resolve().parent
MOST_BYTES = 300_000
WIDTH = 1440
# Instances in the order in which they make the better picture.
WANTED = ("?q=delays&state=running", "?q=delays&state=success", "?state=running", "?state=success", "")


def sign_in(page: Page, base: str, user: str, password: str) -> None:
    page.goto(f"{base}/admin/login/?next=/admin/")
    page.fill("[name=username]", user)
    page.fill("[name=password]", password)
    page.click("[type=submit]")
    page.wait_for_load_state("networkidle")
    if "/login/" in page.url:
        raise SystemExit("The server refused the user name or the password.")


def picture(page: Page, name: str, height: int, width: int = WIDTH) -> None:
    page.set_viewport_size({"width": width, "height": height})
    page.wait_for_timeout(1500)
    target = HERE / f"{name}.png"
    page.screenshot(path=target)
    size = target.stat().st_size
    print(f"{target.name}: {size:,} bytes")
    if size > MOST_BYTES:
        raise SystemExit(f"{target.name} is larger than {MOST_BYTES:,} bytes.")


def find_instance(page: Page, base: str) -> str:
    """The address of an instance worth a picture."""
    for query in WANTED:
        page.goto(f"{base}/admin/instances/instance/{query}")
        link = page.locator("td.field-task_cell a.wo-link, th.field-task_cell a.wo-link").first
        if link.count():
            return base + str(link.get_attribute("href"))
    raise SystemExit("There is no instance yet.")


def preview(page: Page, base: str) -> None:
    """The page of a rerun of all successful instances with their downstream, not applied."""
    chosen = "all=1&query=state%3Dsuccess&scope=with_downstream&range=all"
    page.goto(f"{base}/admin/instances/instance/operate/rerun/?{chosen}")
    page.wait_for_selector(".wo-verdict", timeout=60_000)
    picture(page, "operation-preview", 1000)


def record(page: Page, base: str) -> None:
    """The page of an operation on record; no picture if nobody has operated on anything."""
    page.goto(f"{base}/admin/instances/operationrecord/")
    rows = page.locator("#result_list tbody tr")
    links = [
        (_number(rows.nth(index).locator(".field-about_cell").inner_text()), index)
        for index in range(rows.count())
    ]
    if not links:
        print("There is no operation on record: no picture of one.")
        return
    row = rows.nth(max(links)[1])
    page.goto(base + str(row.locator(".field-kind_cell a").get_attribute("href")))
    page.wait_for_load_state("networkidle")
    picture(page, "operation-record", 900)


def _number(text: str) -> int:
    """How many instances a row is about."""
    found = re.match(r"([\d,]+) instances", text.strip())
    return int(found[1].replace(",", "")) if found else 0


def phone(browser: Browser, page: Page, base: str) -> None:
    """The list on a phone, in the dark."""
    narrow = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
    narrow.context.add_cookies(page.context.cookies())  # type: ignore[arg-type]
    narrow.goto(f"{base}/admin/instances/instance/")
    picture(narrow, "instance-list-phone", 1100, 390)


def take(browser: Browser, base: str, user: str, password: str) -> None:
    page = browser.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme="light")
    sign_in(page, base, user, password)
    page.goto(f"{base}/admin/")
    picture(page, "overview", 1100)
    page.goto(f"{base}/admin/instances/instance/")
    picture(page, "instance-list", 900)
    phone(browser, page, base)
    instance = find_instance(page, base)
    page.goto(instance)
    page.wait_for_load_state("networkidle")
    picture(page, "instance-detail", 1100)
    page.goto(instance.replace("/change/", "/lineage/"))
    page.wait_for_selector(".wo-node")
    picture(page, "lineage", 900)
    page.goto(f"{base}/admin/instances/instance/grid/?cycle=DAY")
    picture(page, "grid", 560)
    preview(page, base)
    record(page, base)


def main(arguments: list[str]) -> None:
    if len(arguments) not in (3, 4) or not re.match(r"https?://", arguments[0]):
        raise SystemExit(__doc__)
    base, user, password, *path = arguments
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path[0] if path else None, args=["--no-sandbox", "--disable-gpu"]
        )
        try:
            take(browser, base.rstrip("/"), user, password)
        finally:
            browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
