"""Pages with a journey, and hands on them: a real pointer, real keys, and what the bench says."""

import contextlib

import numpy as np

import networks
from browser import driven
from cnn.explain import journey
from cnn.report import run_page
from cnn.report.journey import journey_file


def drawn(shape, count, seed=0):
    """Returns pictures of bright boxes on black, as people draw them."""
    rng = np.random.default_rng(seed)
    images = np.zeros((count, *shape), np.uint8)
    for image in images:
        for _ in range(4):
            top, left = (int(rng.integers(side // 2)) for side in shape[:2])
            bottom, right = (int(rng.integers(side // 2, side)) for side in shape[:2])
            image[top:bottom, left:right] = rng.integers(60, 256, shape[2])
    return images


def paged(folder, values, images, max_mb=3.0):
    """Writes the page of a run that was never trained, and returns its path."""
    folder.mkdir()
    (folder / "config.json").write_text(values.json)
    classifier = networks.make_classifier(values, networks.variables(values.layers, values.data.image_shape))
    chosen = [journey.Chosen(f"test/{n}", "mistaken", image, n % 2, n % 2) for n, image in enumerate(images)]
    classes = [f"class {n}" for n in range(values.data.classes)]
    about = {"step": 1, "weights": "last", "max_mb": max_mb}
    journey_file.write(folder / journey_file.JOURNEY, journey.capture(values, classifier, chosen, classes, about))
    return run_page.write(folder)


@contextlib.contextmanager
def opening(folder, size="1280,1000"):
    """Yields a browser whose `opened(path, address)` returns what a page says of its numbers."""
    from selenium.webdriver.support.ui import WebDriverWait

    with driven(folder, size) as driver:

        def opened(path, address=""):
            driver.get("about:blank")
            driver.get(path.as_uri() + address)
            html = WebDriverWait(driver, 60).until(lambda d: d.find_element("css selector", "html[data-agree]"))
            return html.get_attribute("data-agree")

        driver.opened = opened
        yield driver


def bench(driver):
    panel = driver.find_element("css selector", "#journey-explorer .bench")
    name, *place = panel.get_attribute("data-at").split()
    return name, *map(int, place), float(panel.get_attribute("data-sum"))


def pressed(driver, *keys):
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(driver).send_keys(*keys).perform()


def pointed(driver, canvas, x, y, *, click=False):
    """Moves the real pointer to a place of an element, counted from its top left corner."""
    from selenium.webdriver.common.action_chains import ActionChains

    size = canvas.size
    chain = ActionChains(driver, duration=0)
    driver.execute_script("arguments[0].scrollIntoView({block: 'center', inline: 'center'})", canvas)
    chain.move_to_element_with_offset(canvas, round(x - size["width"] / 2), round(y - size["height"] / 2))
    (chain.click() if click else chain).perform()


def atlas(driver, name):
    cards = driver.find_elements("css selector", "#journey-explorer .stage")
    card = next(card for card in cards if card.find_element("css selector", "b").text == name)
    return card, card.find_element("css selector", "canvas")
