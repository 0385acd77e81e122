"""The page in a real browser, without a network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from foad_plugins.benchmarks.records.schema import RunRecord

from .conftest import HOSTILE, PageOf

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright, of the extra browser")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"needs a browser ({', '.join(BROWSERS)}), and none is on the path")
    with sync_api.sync_playwright() as playwright:
        # Containers often give a process neither a sandbox nor much shared memory.
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        found = playwright.chromium.launch(executable_path=program, args=arguments)
        yield found
        found.close()


@contextmanager
def opened(browser: Any, path: Path, ready: str = "plots", **options: Any) -> Iterator[Any]:
    """The page, ready; on leaving, an error if it asked for anything or complained."""
    asked: list[str] = []
    complaints: list[str] = []
    context = browser.new_context(viewport={"width": 1400, "height": 1000}, **options)
    try:
        page = context.new_page()
        page.route("http*://**", lambda route: (asked.append(route.request.url), route.abort()))
        page.on("console", lambda message: message.type in ("error", "warning") and complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path.as_uri())
        page.wait_for_selector(f"html[data-ready={ready}]", timeout=60_000)
        yield page
        assert (asked, complaints) == ([], [])
    finally:
        context.close()


def column(page: Any, heading: str) -> list[str]:
    """Cells of the first table that show, from top to bottom."""
    table = page.locator("table.sortable").first
    headings = [text.strip() for text in table.locator("thead th").all_text_contents()]
    place = headings.index(heading)
    return [row.locator("th, td").nth(place).inner_text() for row in table.locator("tbody tr:visible").all()]


def sort_by(page: Any, heading: str, direction: str) -> None:
    head = page.locator("table.sortable").first.locator("thead th").filter(has_text=heading).first
    head.click()
    sync_api.expect(head).to_have_attribute("aria-sort", direction)


def means(cells: list[str]) -> list[float]:
    return [float(cell.split()[0]) for cell in cells]


def test_columns_sort_both_ways_filters_hide_rows_and_points_tell(
    browser: Any, comparison: list[RunRecord], page_of: PageOf
) -> None:
    with opened(browser, page_of(comparison)) as page:
        before = means(column(page, "before fine-tuning (%)"))
        sort_by(page, "before fine-tuning (%)", "ascending")
        up = means(column(page, "before fine-tuning (%)"))
        assert up == sorted(before) != before
        sort_by(page, "before fine-tuning (%)", "descending")
        assert means(column(page, "before fine-tuning (%)")) == up[::-1]

        # The rank that a row without all seeds lacks comes last both ways.
        for direction in ("ascending", "descending"):
            sort_by(page, "rank", direction)
            assert column(page, "rank")[-1] == ""

        page.get_by_label("criterion", exact=True).select_option("hrank")
        assert column(page, "criterion") == ["hrank"]
        assert page.locator("output").inner_text() == "2 of 28 rows"
        plot = page.locator(".plot").first
        plot.locator(".main-svg").first.wait_for(timeout=20_000)
        assert plot.locator(".scatterlayer .trace").count() == 1
        page.get_by_role("button", name="Show all").click()
        page.get_by_label("all seeds only", exact=True).check()
        assert len(column(page, "criterion")) == 13
        assert "taylor †" not in column(page, "criterion")
        page.get_by_label("target", exact=True).select_option("FLOPs -75%")
        assert page.locator(".board:visible h3").all_inner_texts() == ["FLOPs -75%"]
        page.get_by_role("button", name="Show all").click()
        page.get_by_label("compensation", exact=True).select_option("least_squares")
        assert column(page, "criterion") == ["l1+ls"]

        # One series is left: hovering over its point shows its values.
        plot.scroll_into_view_if_needed()
        plot.locator(".scatterlayer .trace .points path").first.hover(force=True)
        text = plot.locator(".hoverlayer .hovertext")
        text.wait_for(timeout=10_000)
        for words in ("l1+ls", "±", "FLOPs", "parameters", "3 seeds"):
            assert words in text.text_content()


def test_a_heading_is_reached_and_pressed_by_keyboard(
    browser: Any, comparison: list[RunRecord], page_of: PageOf
) -> None:
    with opened(browser, page_of(comparison)) as page:
        # Where a label of marks alone belongs is a matter of taste.
        before = [name for name in column(page, "criterion") if not name.startswith("<")]
        head = page.locator("table.sortable").first.locator("thead th").first
        head.locator(".dt-column-order").focus()
        for direction, is_down in (("ascending", False), ("descending", True)):
            page.keyboard.press("Enter")
            sync_api.expect(head).to_have_attribute("aria-sort", direction)
            after = [name for name in column(page, "criterion") if not name.startswith("<")]
            assert after == sorted(before, reverse=is_down) != before


def test_a_hostile_label_does_nothing(browser: Any, comparison: list[RunRecord], page_of: PageOf) -> None:
    with opened(browser, page_of(comparison), color_scheme="dark") as page:
        assert page.title() == "Leaderboard"
        assert page.locator("main img").count() == 0
        assert HOSTILE[:60] in column(page, "criterion")
        page.locator(".plot").first.locator(".legendtext").first.wait_for(timeout=20_000)
        legend = page.locator(".plot").first.locator(".legendtext").all_text_contents()
        assert any(text.startswith("<script>") for text in legend)


def test_every_plot_of_every_kind_of_suite_is_drawn(
    browser: Any,
    comparison: list[RunRecord],
    stability: list[RunRecord],
    ablation: list[RunRecord],
    page_of: PageOf,
) -> None:
    with opened(browser, page_of([*comparison, *stability, *ablation]), color_scheme="dark") as page:
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        drawn = page.locator(".plot:has(.main-svg)").count()
        assert drawn == page.locator(".plot").count() > 20
        heat = page.locator("figure", has_text="foad: agreement between numbers").locator(".plot")
        heat.scroll_into_view_if_needed()
        heat.locator(".nsewdrag").first.hover(force=True)
        heat.locator(".hoverlayer .hovertext").wait_for(timeout=10_000)
        assert "IoU 1.000" in heat.locator(".hoverlayer").text_content()


def test_nothing_is_wider_than_a_telephone(browser: Any, comparison: list[RunRecord], page_of: PageOf) -> None:
    path = page_of(comparison)
    with opened(browser, path) as page:
        page.set_viewport_size({"width": 390, "height": 800})
        page.reload()
        page.wait_for_selector("html[data-ready]", timeout=60_000)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
