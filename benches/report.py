"""Times the search of a report in a headless Chromium: python3 benches/report.py PAGE.html [CHROMIUM] [TEXT …]

Needs `pip install playwright`. For each text: the median and the worst of 15 times from the keystroke's event to the end of the layout
of what was found, by performance.now() in the page; what the page says to it; and how long the page took to be ready.
"""

import sys
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

TEXTS = ["250-88-163", "250-88", "250", "1", "<L1_250> <L2_88> <L3_163>", "999-1-1", "nano", "NANO", "librust-seahash-dev", "lib", "a",
         "e", "-", "python bindings", "editor text small", "for", "naïve", "日本語", "zzzzqq"]

MEASURE = """texts => texts.map(text => {
  const box = document.getElementById("query"), times = [];
  const type = value => { box.value = value; box.dispatchEvent(new Event("input")); return document.body.offsetHeight; };
  for (let i = 0; i < 15; i++) {
    type("");
    const begun = performance.now();
    type(text);
    times.push(performance.now() - begun);
  }
  times.sort((a, b) => a - b);
  return [text, times[7], times[14], document.getElementById("told").textContent];
})"""

page_path, chromium = Path(sys.argv[1]).resolve(), sys.argv[2] if len(sys.argv) > 2 else "chromium"
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    begun = time.perf_counter()
    page.goto(page_path.as_uri())
    page.wait_for_selector("#ask[data-ready]", timeout=60_000)
    print(f"{page_path.stat().st_size:,} bytes, ready in {1000 * (time.perf_counter() - begun):.0f} ms, {browser.version}")
    for text, median, worst, told in page.evaluate(MEASURE, sys.argv[3:] or TEXTS):
        print(f"{text:28} median {median:5.1f} ms, worst {worst:5.1f} ms: {told}")
    browser.close()
