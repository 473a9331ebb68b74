"""Take the pictures of messages from a deployment: its newest alert with its recovery, and a report as its HTML file.

    python docs/pictures/messages.py postgresql://… /path/to/report.html

Messages are drawn from the blocks in the outbox, as Slack would: Slack's own page is not needed.
"""

from __future__ import annotations

import html
import io
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import psycopg
from PIL import Image
from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
_COLOURS = {
    "red_circle": "#dc2f3c",
    "large_orange_circle": "#f08a24",
    "large_yellow_circle": "#f2c744",
    "large_green_circle": "#2f9e5f",
}
_STYLE = """
body { font: 15px/1.45 Lato, "Segoe UI", sans-serif; color: #1d1c1d; width: 760px; padding: 14px 20px; margin: 0; }
.message { display: flex; gap: 10px; margin-bottom: 16px; } .body { flex: 1; }
.icon { width: 36px; height: 36px; border-radius: 6px; background: #24557a; color: #fff; text-align: center;
        line-height: 36px; font-weight: 700; }
.who { font-weight: 800; } .at { color: #616061; font-size: 12px; margin-left: 6px; }
h3 { font-size: 18px; margin: 4px 0; } .fields { display: grid; grid-template-columns: 1fr 1fr; gap: 8px 16px; }
.small { color: #616061; font-size: 12px; margin: 6px 0; } hr { border: 0; border-top: 1px solid #ddd; }
code { color: #c01343; background: #f7f7f8; border: 1px solid #e3e3e4; border-radius: 3px; padding: 0 3px;
       font-size: 12px; } p { margin: 4px 0; white-space: pre-wrap; }
.dot { display: inline-block; width: 14px; height: 14px; border-radius: 7px; vertical-align: -1px; }
"""


def markup(text: str, *, escaped: bool = True) -> str:
    """Slack's markup as HTML."""
    text = text if escaped else html.escape(text, quote=False)
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    text = re.sub(r"(?<!\w)\*([^*\n]+)\*(?!\w)", r"<b>\1</b>", text)
    return re.sub(r":(\w+):", _dot, text)


def _dot(match: re.Match[str]) -> str:
    return f'<span class="dot" style="background:{_COLOURS.get(match[1], "#999999")}"></span>'


def block(one: dict[str, Any]) -> str:
    """One block as HTML."""
    match one["type"]:
        case "header":
            return f"<h3>{markup(one['text']['text'], escaped=False)}</h3>"
        case "divider":
            return "<hr>"
        case "context":
            return f'<p class="small">{markup(one["elements"][0]["text"])}</p>'
    if "fields" in one:
        parts = "".join(f"<p>{markup(each['text'])}</p>" for each in one["fields"])
        return f'<div class="fields">{parts}</div>'
    return f"<p>{markup(one['text']['text'])}</p>"


def conversation(url: str) -> str:
    """The newest alert that is over, and the message that says so, as a page."""
    query = (
        "SELECT kind, body, sent_at FROM ops.outbox WHERE kind IN ('alert', 'recovery') AND state = 'sent' "
        "ORDER BY id DESC LIMIT 2"
    )
    with psycopg.connect(url) as connection:
        rows = connection.execute(query).fetchall()[::-1]
    parts = []
    for _, body, at in rows:
        head = f'<span class="who">crypto_pipeline</span><span class="at">{at:%H:%M}</span>'
        blocks = "".join(block(one) for one in body["blocks"])
        parts.append(f'<div class="message"><div class="icon">cp</div><div class="body">{head}{blocks}</div></div>')
    return f"<!doctype html><meta charset=utf-8><style>{_STYLE}</style>{''.join(parts)}"


def main(url: str, report: Path) -> None:
    """Write alert.png and report.png."""
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 800, "height": 400}, device_scale_factor=1.5)
        for name, content in (("alert", conversation(url)), ("report", report.read_text("utf-8"))):
            page.set_viewport_size({"width": 800 if name == "alert" else 960, "height": 400})
            page.set_content(content)
            image = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
            path = HERE / f"{name}.png"
            image.quantize(255, dither=Image.Dither.NONE).save(path, optimize=True)
            print(f"{path} {path.stat().st_size // 1000} kB")
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
