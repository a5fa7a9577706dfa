"""Draw docs/app.jpg: python tests/app/screenshot.py WORK_DIRS docs/app.jpg."""

import argparse
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright
from test_page import TOOL, choose, settled

PORT = 7899


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('work_dirs', help='with the models of scripts/run_demos.py')
    parser.add_argument('out', type=Path, help='a .jpg file')
    parser.add_argument('--model', default='mask_rcnn_van_lska_t_scenes')
    parser.add_argument('--compare', default='upernet_van_lska_t_scenes')
    parser.add_argument('--example', type=int, default=3, help='which of the examples, counted from 0')
    parser.add_argument(
        '--point', nargs=2, type=float, default=(0.55, 0.5), help='where to click, in shares of the picture'
    )
    parser.add_argument('--browser', help="path of a Chromium; by default playwright's own")
    args = parser.parse_args()
    command = [sys.executable, TOOL, '--work-dirs', args.work_dirs, '--port', str(PORT)]
    server = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
    try:
        next(line for line in server.stdout if 'the page is at' in line)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=args.browser)
            page = browser.new_page(viewport={'width': 1280, 'height': 800})
            page.goto(f'http://127.0.0.1:{PORT}')
            settled(page, '#side0')
            choose(page, 'model', args.model)
            page.wait_for_function("name => document.querySelector('#side0 h2').textContent === name", arg=args.model)
            page.locator('#examples button').nth(args.example).click()
            page.wait_for_timeout(3000)
            choose(page, 'compare', args.compare)
            settled(page, '#side1')
            box = page.locator('#side0 .picture img').bounding_box()
            place = dict(x=box['width'] * args.point[0], y=box['height'] * args.point[1])
            page.locator('#side0 .picture img').click(position=place)
            settled(page, '#field0', '#field1')
            page.mouse.move(0, 0)
            page.wait_for_timeout(1500)
            page.screenshot(path=args.out, type='jpeg', quality=80, full_page=True)
    finally:
        server.terminate()
        server.wait()


if __name__ == '__main__':
    main()
