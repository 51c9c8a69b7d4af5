"""The local dashboard in a real browser: the chromium of the system, driven by playwright."""

import contextlib
import shutil
import time
from pathlib import Path

import pytest

from benchmarks.dashboard import FLAGS, until, write_sweep
from chemscale.dashboards.local.page import write_page
from chemscale.records import RunRecord, State
from tests.helpers.local_runs import grow, served, write_law, write_run

pytestmark = pytest.mark.slow
EVIL = "<script>self.ran = 1</script><img src=x onerror='self.ran = 1'>"


@pytest.fixture(scope="module")
def browser():
    """A browser with an empty profile."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as play:
        found = play.chromium.launch(executable_path=chromium, args=FLAGS)
        yield found
        found.close()


@pytest.fixture
def serve():
    """Serves a folder until the pages of the test are closed; gives its address."""
    with contextlib.ExitStack() as stack:
        yield lambda runs: stack.enter_context(served(runs))[0]


@pytest.fixture
def open_page(browser, serve):
    """Opens an address in a new window; in the end nothing may have gone wrong in any of them."""
    windows, wrong = [], []

    def open_(url: str, width: int = 1400, lost: bool = False, **settings):
        context = browser.new_context(viewport={"width": width, "height": 900}, **settings)
        windows.append(context)
        page = context.new_page()
        # Chromium itself writes of every request without an answer: told to expect them, these are no errors.
        expected = "ERR_CONNECTION" if lost else "\n"
        page.on("console", lambda said: None if expected in said.text else wrong.append(said.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.asked = []
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(url)
        until(page, "document.querySelectorAll('tbody tr').length > 0")
        return page

    yield open_
    for context in windows:
        context.close()
    assert wrong == []


@pytest.fixture
def runs(tmp_path):
    """Two sweeps in several states; names and reasons try to be scripts."""
    root = tmp_path / "runs"
    for width in (16, 24, 32, 48):
        size = {"matrices": 96 * width**2, "overrides": [f"model.width={width}"]}
        write_run(root / "sizes", f"w{width}", loss=4 * width**-0.2, **size)
    write_run(root / "sizes", "going", State.RUNNING, matrices=200, steps=50)
    failed = write_run(root / "sizes", EVIL, State.FAILED, matrices=300, steps=20, reason=EVIL)
    (failed / "error.txt").write_text("Traceback")
    (root / "sizes" / "broken").mkdir()
    (root / "sizes" / "broken" / "record.json").write_text('{"half')
    write_run(root / "other", "alone")
    return root


def names(page) -> list[str]:
    return page.evaluate("[...document.querySelectorAll('tbody th')].map(cell => cell.textContent)")


def choose_sizes(page) -> None:
    page.click("[data-sweep='sizes']")
    until(page, "document.querySelectorAll('tbody tr').length === 7")


def drawn(page, canvas: str) -> int:
    """Pixels of a plot that are not empty."""
    return page.evaluate(
        f"""(() => {{ const c = document.querySelector('{canvas} canvas');
        const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n; }})()"""
    )


def wide(page) -> list[int]:
    return page.evaluate("[document.documentElement.scrollWidth, innerWidth]")


def test_rows_states_and_reasons_are_shown_and_nothing_of_a_record_runs(runs, serve, open_page):
    page = open_page(serve(runs))
    choose_sizes(page)
    assert EVIL in names(page)
    card = page.inner_text("[data-sweep='sizes']")
    assert "4 done, 1 running, 1 failed, 1 unreadable" in card
    failed = page.locator("tr[data-state='failed']")
    assert "error.txt" in failed.inner_text()
    assert EVIL in failed.inner_text()
    assert "not valid JSON" in page.inner_text("tr[data-state='unreadable']")
    # What needs a person stands first.
    assert names(page)[:2] == [EVIL, "broken"]
    failed.locator("button").click()
    assert EVIL in page.inner_text("#detail")
    page.hover("#curves canvas:last-of-type", position={"x": 300, "y": 150})
    assert page.evaluate("window.ran") is None


def test_a_change_arrives_by_itself_and_what_a_person_chose_stays(runs, serve, open_page):
    page = open_page(serve(runs), 700)
    choose_sizes(page)
    page.click("thead th[data-key='N'] button")
    page.click("thead th[data-key='N'] button")
    page.fill("#find", "model.width")
    page.click("tr:has-text('w32') button")
    until(page, "curves.byPoint.size === 7")
    page.evaluate("document.querySelector('#table').scrollLeft = 40")
    before = names(page)
    assert before == ["w48", "w32", "w24", "w16"]
    assert page.evaluate("document.querySelector('#table').scrollLeft") == 40
    record = RunRecord.load(runs / "sizes" / "w24")
    record.state, record.reason = State.FAILED, "late"
    record.save(runs / "sizes" / "w24")
    grow(runs / "sizes" / "going", 60, 0.123)
    until(page, "document.querySelectorAll('tr[data-state=failed]').length === 1", 20)
    until(page, "curves.byPoint.get('sizes/going')['train/loss'].y.at(-1) === 0.123", 20)
    assert names(page) == before
    assert "late" in page.inner_text("tr[data-state='failed']")
    assert page.evaluate("document.querySelector('tr.picked').dataset.id") == "sizes/w32"
    assert page.evaluate("document.querySelector('#table').scrollLeft") == 40
    # The address holds what was chosen.
    again = open_page(page.url)
    until(again, "document.querySelectorAll('tbody tr').length === 4")
    assert names(again) == before


def test_points_are_sorted_filtered_and_found(runs, serve, open_page):
    page = open_page(serve(runs))
    choose_sizes(page)
    page.click("thead th[data-key='nats_per_token'] button")
    values = page.evaluate(
        "[...known.rows.values()].filter(r => r.sweep === 'sizes' && r.losses)"
        ".map(r => r.losses.nats_per_token).sort((a, b) => a - b)"
    )
    # A point without a loss stays at the end, whichever way.
    column = page.evaluate("table.now.findIndex(column => column.key === 'nats_per_token')")
    shown = page.evaluate(
        f"[...document.querySelectorAll('tbody tr')].map(row => row.children[{column}].textContent)"
    )
    assert [float(text) for text in shown[:-1]] == pytest.approx(values, abs=1e-4)
    assert shown[-1] == ""
    assert page.get_attribute("th[data-key='nats_per_token']", "aria-sort") == "ascending"
    page.click("#states [data-state='done']")
    assert page.inner_text("#shown") == "4 of 7 points"
    page.fill("#find", "w4")
    assert names(page) == ["w48"]


def test_it_is_worked_by_the_keyboard_alone(runs, serve, open_page):
    page = open_page(serve(runs))
    page.focus("[data-sweep='sizes']")
    page.keyboard.press("Enter")
    until(page, "curves.byPoint.size === 7")
    page.focus("#curves canvas:last-of-type")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    assert "training tokens seen" in page.inner_text("#curves .tip")
    page.keyboard.press("Enter")
    assert page.is_visible("#detail")
    page.focus("tbody tr:nth-child(2) button")
    page.keyboard.press("Enter")
    assert page.get_attribute("tbody tr:nth-child(2) button", "aria-pressed") == "true"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_follows_the_system_or_the_button(runs, open_page, scheme):
    page_file = write_page(runs, runs.parent / "page.html")
    page = open_page(page_file.as_uri(), 360, color_scheme=scheme, has_touch=True)
    choose_sizes(page)
    page.click("tbody tr:first-child button")
    content, window = wide(page)
    assert content <= window == 360
    paper = "getComputedStyle(document.body).backgroundColor"
    light, dark = "rgb(255, 255, 255)", "rgb(23, 25, 27)"
    assert page.evaluate(paper) == (dark if scheme == "dark" else light)
    page.click("#theme")
    assert page.evaluate(paper) == light
    page.click("#theme")
    assert page.evaluate(paper) == dark
    assert page.evaluate("Math.min(...[...document.querySelectorAll('td, p, button, label')]"
                         ".map(e => parseFloat(getComputedStyle(e).fontSize)))") >= 12  # fmt: skip


def test_a_law_is_drawn_only_where_one_was_fitted(runs, serve, open_page):
    page = open_page(serve(runs / "sizes"))
    assert "No law is fitted yet" in page.inner_text("#law-note")
    assert page.evaluate("lawPlot.lines.filter(line => line.stroke !== false).length") == 0
    good = runs.parent / "good"
    for width in (16, 24, 32, 48):
        shutil.copytree(runs / "sizes" / f"w{width}", good / f"w{width}")
    write_law(good, runs / "sizes" / "law")
    until(page, "document.querySelector('#law-note').textContent.includes('β = ')", 30)
    assert page.evaluate("lawPlot.lines.filter(line => line.stroke !== false).length") == 1
    assert page.evaluate("lawPlot.bands.length") == 1
    with page.context.expect_page() as opened:
        page.click("#law-note a")
    opened.value.wait_for_load_state()
    assert opened.value.inner_text("h1") == "the report"
    assert opened.value.evaluate("window.ran") is None
    opened.value.close()


def test_a_page_from_the_disk_asks_for_nothing(runs, open_page):
    page_file = write_page(runs, runs.parent / "page.html")
    page = open_page(page_file.as_uri())
    choose_sizes(page)
    until(page, "curves.byPoint.size === 7")
    page.select_option("#metric", "train/gradient_norm")
    page.select_option("#metric", "truth/tokens_per_second")
    page.select_option("#axis", "seconds")
    assert drawn(page, "#curves") > 1000
    assert drawn(page, "#law") > 1000
    time.sleep(0.5)
    assert page.asked == [page_file.as_uri()]
    assert "this page does not change" in page.inner_text("#status")


def test_a_server_that_goes_away_is_said_and_its_return_is_noticed(runs, open_page):
    with served(runs) as (url, _):
        page = open_page(url, lost=True)
        until(page, "document.querySelector('#status').textContent.startsWith('live')")
        port = url.rstrip("/").rpartition(":")[2]
    until(page, "document.querySelector('#status').textContent.startsWith('no answer')", 20)
    assert len(names(page)) > 0
    with served(runs, "--port", port):
        until(page, "document.querySelector('#status').textContent.startsWith('live')", 20)


def test_a_thousand_points_are_shown_within_seconds(tmp_path: Path, serve, open_page):
    write_sweep(tmp_path, 1000, rows=40)
    url = serve(tmp_path)
    began = time.monotonic()
    page = open_page(url)
    until(page, "document.querySelectorAll('tbody tr').length === 1000")
    until(page, "curves.byPoint.size === 1000 && !curves.more")
    assert time.monotonic() - began < 30  # some 3 s on a free core
    assert page.evaluate("plot.lines.length") > 1000
    assert drawn(page, "#curves") > 10_000
    sizes = page.evaluate("performance.getEntriesByType('resource').map(entry => entry.transferSize)")
    assert sum(sizes) < 2e6
    page.evaluate("document.querySelector('#table').scrollTop = 5000")
    late = tmp_path / "made_up" / "000000000000"
    record = RunRecord.load(late)
    record.skipped_steps = 7
    record.save(late)
    until(page, "known.rows.get('made_up/000000000000').skipped === 7", 20)
    assert page.evaluate("document.querySelector('#table').scrollTop") == 5000
    page.click("#states [data-state='failed']")
    assert page.inner_text("#shown") == "40 of 1000 points"
