"""What tests of pages look for, in their text and in a browser."""

import re
from html import unescape

# Of the text of an element with what lies behind it, as WCAG computes it: 4.5 is readable.
CONTRAST = """selector => {
  const linear = x => x / 255 <= .04045 ? x / 255 / 12.92 : ((x / 255 + .055) / 1.055) ** 2.4;
  const light = c => { const v = c.match(/[\\d.]+/g).slice(0, 3).map(linear);
    return .2126 * v[0] + .7152 * v[1] + .0722 * v[2] };
  const element = document.querySelector(selector);
  let below = element, ground = 'rgba(0, 0, 0, 0)';
  while (below && ground === 'rgba(0, 0, 0, 0)') { ground = getComputedStyle(below).backgroundColor; below = below.parentElement }
  const [a, b] = [light(getComputedStyle(element).color), light(ground)].sort((x, y) => y - x);
  return (a + .05) / (b + .05) }"""


def rows_of(text: str) -> list[list[str]]:
    """The text of the cells of all tables in a section."""
    rows = re.findall(r'(?s)<tr>(.*?)</tr>', text)
    return [
        [unescape(re.sub('<[^>]*>', '', cell)) for cell in re.findall(r'(?s)<t[dh][^>]*>(.*?)</t[dh]>', row)]
        for row in rows
    ]
