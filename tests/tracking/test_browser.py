"""The addresses a study prints, opened in a real browser: the curves of its arms are drawn."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stacked.apps.map_page import map_page
from stacked.tracking.backend.client import StoreClient
from stacked.tracking.tracker import Store, Tracker, open_store
from stacked.viewing.group_colours import group_tags, grouped
from stacked.viewing.server import address, serve, stop
from stacked.viewing.views import EVERY, MEAN, save_views, view_url
from tests.helpers.tracked import free_port

webdriver = pytest.importorskip("selenium.webdriver", reason="the browser test needs selenium")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.actions.action_builder import ActionBuilder  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER), reason="the browser test needs Debian's packages chromium and chromium-driver"
    ),
]
EXPERIMENT, STUDY = "mnist-conv-16-32", "study-0001"
ARMS = {"layerwise": "#228833", "joint": "#aa3377"}
SECTIONS = ("against updates (Step) (2)", "against GFLOP or seconds of training (2)")
#: The colours of the arms' groups and runs, as the page writes them.
COLOURS = sorted(
    f"rgb({int(colour[1:3], 16)}, {int(colour[3:5], 16)}, {int(colour[5:], 16)})"
    for _, colour in grouped(ARMS).values()
)
OPTIONS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1700,1200"
)

# Every chart on the page: its text (title, axes, legend), the number and the colours of the curves drawn in it (the
# edges of bands are transparent), and the number of pictures that have loaded.
CHARTS = """
return [...document.querySelectorAll('[data-testid="experiment-view-compare-runs-card"]')].map(card => {
  const curves = [...card.querySelectorAll('.scatterlayer path.js-line')]
    .filter(path => path.getAttribute('d').length > 60 && parseFloat(getComputedStyle(path).strokeOpacity) > 0);
  return {
    text: card.innerText,
    curves: curves.length,
    colours: [...new Set(curves.map(path => getComputedStyle(path).stroke))],
    pictures: [...card.querySelectorAll('img')].filter(picture => picture.naturalWidth > 0).length,
  };
});
"""
# Charts are made when they come into view: half a page further down each time, from the top again, until the card is there.
SCROLL_TO = """
const cards = [...document.querySelectorAll('[data-testid="experiment-view-compare-runs-card"]')];
const card = cards.find(card => card.innerText.startsWith(arguments[0]));
if (card) { card.scrollIntoView(); return; }
for (const element of document.querySelectorAll('*')) {
  if (element.scrollHeight <= element.clientHeight + 1) continue;
  const isAtEnd = element.scrollTop + element.clientHeight >= element.scrollHeight - 2;
  element.scrollTop = isAtEnd ? 0 : element.scrollTop + element.clientHeight / 2;
}
"""
# The page opens its assistant on the first visit; a reader closes it once.
CLOSE_ASSISTANT = """
localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true');
localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false');
"""


def record(store: Store, root: Path, arm: str, seed: int) -> None:
    tags = {"kind": "arm", "arm": arm, "seed": seed, "study": STUDY, **group_tags(ARMS)[arm]}
    name = f"{arm}/s{seed}"
    rate = 2.0 if arm == "layerwise" else 1.0
    with Tracker(store, EXPERIMENT, name=name, work=root / name, tags=tags, params={"lr": 0.1}) as tracker:
        for index in (1, 2):
            with tracker.phase(index, f"stage {index}", {"channels": 16 * index}) as stage:
                for step in range(0, 300, 20):
                    stage.log({"stage/loss": math.exp(-step / 100)}, step)
        for step in range(0, 601, 20):
            quality = math.exp(-rate * step / 300) + 0.01 * seed
            tracker.log(
                {
                    "eval/recon_mse": 0.01 + 0.1 * quality,
                    "eval/full_depth_mse": 0.01 + 0.1 * quality,
                    "eval/probe_acc": 0.95 - 0.1 * quality,
                    "train/loss": 0.01 + 0.1 * quality,
                    "progress/stage": 1 + step // 301,
                    "progress/gflop": step * (0.1 if arm == "layerwise" else 0.2),
                    "progress/gflop_at_probe": step * (0.1 if arm == "layerwise" else 0.2),
                    "progress/gflop_at_full_depth": step * (0.1 if arm == "layerwise" else 0.2),
                    "progress/train_seconds": step * (0.01 if arm == "layerwise" else 0.02),
                },
                step,
            )
            if step % 300 == 0:
                grid = np.random.default_rng(step).integers(0, 255, (56, 112), dtype=np.uint8)
                tracker.image("recon_grid", grid, step)
        tracker.image("recon_grid_final", grid, 0)
        tracker.log({"final/recon_mse": 0.012, "final/probe_acc": 0.95 - 0.01 * seed}, 600)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, dict[str, str]]]:
    """A store with two arms of two seeds each, its saved views, and a server that shows it."""
    root = tmp_path_factory.mktemp("store")
    store = open_store(root)
    for arm in ARMS:
        for seed in (0, 1):
            record(store, root / "work", arm, seed)
    keys = save_views(store, EXPERIMENT, STUDY, probe=True, images=True)
    port = free_port()
    server = serve(store, port)
    experiment_id = StoreClient(store, EXPERIMENT).experiment_id
    yield store, {name: view_url(address(port), experiment_id, key) for name, key in keys.items()}
    stop(server)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for option in [*OPTIONS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(option)
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def show(browser: Any, url: str) -> None:
    """Open a view as a reader does who has been there before."""
    browser.get(f"{url.partition('/#/')[0]}/health")
    browser.execute_script(CLOSE_ASSISTANT)
    browser.get(url)


def wait_for_curves(browser: Any, metric: str, curves: int) -> dict[str, Any]:
    """The first chart of a metric, which is scrolled to, once at least that many curves are drawn in it."""

    def drawn(driver: Any) -> dict[str, Any] | None:
        driver.execute_script(SCROLL_TO, metric)
        charts = [chart for chart in driver.execute_script(CHARTS) if chart["text"].startswith(metric)]
        return next((chart for chart in charts if chart["curves"] >= curves), None)

    return WebDriverWait(browser, 60).until(drawn, f"no chart {metric} with {curves} curves was drawn")


@pytest.mark.parametrize("metric", ["eval/full_depth_mse", "eval/probe_acc"])
def test_the_mean_over_seeds_draws_one_curve_an_arm(
    study: tuple[Store, dict[str, str]], browser: Any, tmp_path: Path, metric: str
) -> None:
    show(browser, study[1][MEAN])
    chart = wait_for_curves(browser, metric, curves=2)
    browser.save_screenshot(str(tmp_path / "mean.png"))
    for arm in ARMS:
        assert f"{arm} ({metric})" in chart["text"]
        assert f"{arm}/s0 ({metric})" not in chart["text"]
    assert sorted(chart["colours"]) == COLOURS
    page = browser.find_element("tag name", "body").text.split()
    for words in ("Group: layerwise", "Group: joint", *SECTIONS):
        assert words in " ".join(page)
    assert "stage" not in page


def test_every_seed_draws_all_runs_and_their_pictures(
    study: tuple[Store, dict[str, str]], browser: Any, tmp_path: Path
) -> None:
    show(browser, study[1][EVERY])
    chart = wait_for_curves(browser, "eval/full_depth_mse", curves=4)
    browser.save_screenshot(str(tmp_path / "every.png"))
    for arm in ARMS:
        for seed in (0, 1):
            assert f"{arm}/s{seed} (eval/full_depth_mse)" in chart["text"]
    assert sorted(chart["colours"]) == COLOURS

    def pictures(driver: Any) -> int:
        driver.execute_script(SCROLL_TO, "recon_grid_final")
        charts = driver.execute_script(CHARTS)
        return sum(chart["pictures"] for chart in charts if chart["text"].startswith("recon_grid_final"))

    WebDriverWait(browser, 60).until(lambda driver: pictures(driver) == 4, "not every run showed its picture")
    browser.save_screenshot(str(tmp_path / "pictures.png"))


def test_a_page_of_maps_can_be_looked_at(browser: Any, tmp_path: Path) -> None:
    """Its points are drawn, hovering shows the image's class and name, a class can be hidden, three dimensions turn."""
    points = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    solid = np.concatenate([points, [[0.0], [1.0], [1.0], [0.0]]], axis=1)
    images = np.zeros((4, 1, 6, 6), dtype=np.uint8)
    page = map_page({"flat": points, "solid": solid}, images, list("abcd"), [0, 1, 0, 1], ["nought", "one"])
    (tmp_path / "map.html").write_text(page, encoding="utf-8")
    browser.get((tmp_path / "map.html").as_uri())

    def inked() -> int:
        return int(
            browser.execute_script(
                "const all = pen.getImageData(0, 0, view.width, view.height).data; let count = 0;"
                "for (let k = 3; k < all.length; k += 4) count += all[k] > 0; return count;"
            )
        )

    four = inked()
    assert four > 50
    where = browser.execute_script(
        "const p = placed.find(point => point.k === 1), box = view.getBoundingClientRect();"
        "return [box.left + p.x / devicePixelRatio, box.top + p.y / devicePixelRatio];"
    )
    actions = ActionBuilder(browser)
    actions.pointer_action.move_to_location(*(round(value) for value in where))
    actions.perform()
    WebDriverWait(browser, 10).until(lambda it: it.find_element("id", "card").text == "one \u00b7 b")
    browser.find_element("css selector", "#classes span").click()
    assert inked() == pytest.approx(four / 2, rel=0.1)
    browser.execute_script("chosen.selectedIndex = 1; chosen.dispatchEvent(new Event('change'));")
    before = browser.execute_script("return placed.map(point => point.x)")
    browser.execute_script("turn += 1; draw();")
    assert browser.execute_script("return placed.map(point => point.x)") != before
    told = [
        entry for entry in browser.get_log("browser") if "map.html" in entry["message"]
    ]  # others are of pages before
    assert not [entry for entry in told if entry["level"] == "SEVERE"]


def test_names_of_any_text_run_nothing_in_a_page_of_maps(browser: Any, tmp_path: Path) -> None:
    """They are shown as they are, and no script runs but the page's own."""
    names = [
        " onpointermove=alert(1) x=.png",
        "</script><script>evil=1</script>",
        "<img src=x onerror=evil=1>",
        "{{title}}",
    ]
    points = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    page = map_page({"{{policy}}": points}, np.zeros((4, 1, 6, 6), np.uint8), names, [0] * 4, names[1:2], "{{content}}")
    (tmp_path / "map.html").write_text(page, encoding="utf-8")
    browser.get((tmp_path / "map.html").as_uri())
    assert browser.title == "{{content}}"
    assert browser.execute_script("return data.names") == names
    assert browser.execute_script("return document.querySelectorAll('script, img').length") == 2
    assert browser.execute_script("return view.getAttributeNames().sort()") == [
        "aria-label",
        "height",
        "id",
        "role",
        "style",
        "width",
    ]
    browser.execute_async_script(
        "const done = arguments[0], added = document.createElement('script');"
        "added.textContent = 'evil = 1'; document.body.append(added);"
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"evil = 1\"><p style=\"color: red\" id=p>');"
        "setTimeout(done, 200);"
    )
    assert browser.execute_script("return typeof evil") == "undefined"
    assert browser.execute_script("return getComputedStyle(document.getElementById('p')).color") == "rgb(38, 38, 38)"
