"""Text in other encodings than UTF-8, as programs on Windows write it: Chinese in GBK, European languages in Windows-1252."""

from __future__ import annotations

import re
from contextlib import suppress

_LETTER = re.compile('[A-Za-z]')
_UTF16 = (b'\xff\xfe', b'\xfe\xff')
_XML_ENCODING = re.compile(rb'\s*<\?xml[^>]*?encoding\s*=\s*["\']([A-Za-z0-9._-]{1,40})["\']')
# Encodings that an XML file may name and expat does not know, and how Python calls them; GBK and GB2312 are parts of GB18030.
_NAMED = {
    **dict.fromkeys(('gb2312', 'gbk', 'gb18030', 'cp936', 'ms936', 'euc-cn'), 'gb18030'),
    **dict.fromkeys(('big5', 'cp950'), 'cp950'),
    **dict.fromkeys(('shift_jis', 'shift-jis', 'sjis', 'windows-31j', 'cp932'), 'cp932'),
    **dict.fromkeys(('euc-kr', 'ks_c_5601-1987', 'cp949'), 'cp949'),
    'euc-jp': 'euc_jp',
    'koi8-r': 'koi8_r',
    **{f'windows-{page}': f'cp{page}' for page in range(1250, 1259)},
}


def is_utf16(content: bytes) -> bool:
    """Whether bytes begin with the mark of UTF-16."""
    return content[:2] in _UTF16


def decode(content: bytes, *, latin: bool = False) -> tuple[str, str | None]:
    """Text of bytes, and the name of its encoding where that had to be guessed, None where it is UTF-8 or UTF-16 with its mark.

    Args:
        content: The bytes.
        latin: Take what is neither UTF-8 nor Chinese for a text of Windows in a European language.

    Raises:
        ValueError: If it is none of these.

    Example:
        >>> decode('猫 狗'.encode('gbk')), decode('Größe'.encode('cp1252'), latin=True), decode(b'cat')
        (('猫 狗', 'GBK'), ('Größe', 'Windows-1252'), ('cat', None))
    """
    try:
        return content.decode('utf-16' if is_utf16(content) else 'utf-8-sig'), None
    except ValueError as error:
        if _is_chinese(content):
            return content.decode('gb18030'), 'GBK'
        if not latin or is_utf16(content):
            raise error
        return content.decode('cp1252', 'replace'), 'Windows-1252'


def _is_chinese(content: bytes) -> bool:
    """Whether bytes make sense in GBK: most characters beyond ASCII are usual ones, in words without Latin letters.

    Letters with accents give rare characters, or ones within Latin words.
    """
    try:
        text = content.decode('gb18030')
    except ValueError:
        return False
    usual = other = 0
    for place, character in enumerate(text):
        if character < '\x80':
            continue
        around = text[max(place - 1, 0) : place] + text[place + 1 : place + 2]
        good = _is_usual(character) and not _LETTER.search(around)
        usual, other = usual + good, other + (not good)
    return usual > other


def _is_usual(character: str) -> bool:
    """Whether a character is one of the 7445 of GB2312."""
    try:
        return bool(character.encode('gb2312'))
    except ValueError:
        return False


def xml_text(content: bytes) -> str:
    """The text of an XML file that expat does not read as it is: in UTF-8, the encoding that it names, or GBK.

    Raises:
        ValueError: If it is in another encoding.
    """
    found = _XML_ENCODING.match(content)
    name = _NAMED.get(found[1].decode().lower()) if found else None
    for encoding in ('utf-8-sig', name):  # programs that convert a file leave the old name in it
        if encoding:
            with suppress(ValueError):
                return content.decode(encoding)
    return decode(content)[0]
