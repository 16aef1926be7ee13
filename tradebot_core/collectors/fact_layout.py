"""The facts of companyfacts read as columns, without an object for each: for exactly the layout in which the SEC writes them.

    {"start":"2014-09-28","end":"2015-09-26","val":233715000000,"accn":"0000320193-15-000356","fy":2015,"fp":"FY",
     "form":"10-K","filed":"2015-10-28","frame":"CY2015"}     start and frame may be missing, fy and fp may be null

Every byte is accounted for: its place, its key, and for each value its grammar and range. Where anything is otherwise (another
order of keys, a blank, an escape, a thirteenth month) the answer is None, nothing is guessed, and the caller reads the text with
a JSON parser. So a fact read here is the fact a parser reads; a test compares the two on random and on damaged facts.

Eight bytes at a time are taken as one integer, of all facts at once; digits become numbers by three multiplications
(https://lemire.me/blog/2022/01/21/swar-explained-parsing-eight-digits/).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

NO_DATE = np.iinfo(np.int32).min
NO_YEAR = -1

Words = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]
Days = npt.NDArray[np.int32]


@dataclass(frozen=True)
class FactColumns:
    """One element for each fact, in the order of the text. Dates are days since 1970-01-01; characters are packed into
    integers, the first lowest."""

    of_unit: Places  # the index of the list in which the fact stands
    period_start: Days  # NO_DATE when there is none
    period_end: Days
    value: npt.NDArray[np.float64]
    accession: Words  # its 18 digits
    fiscal_year: npt.NDArray[np.int32]  # NO_YEAR when null
    fiscal_period: Words  # two characters; 0 when null
    form: Words  # up to eight characters
    filed: Days


class _OtherLayout(Exception):
    pass


def read_columns(units: Sequence[Any]) -> FactColumns | None:
    """The facts of lists in JSON (the bytes of `[{...},{...}]` each), or None when any is not in the SEC's layout."""
    text = b"".join([*units, _PAD])
    if not text.isascii() or b"\\" in text:
        return None
    try:
        return _read(text, np.fromiter((len(unit) for unit in units), np.int64, len(units)))
    except _OtherLayout:
        return None


def text_of(word: int) -> str:
    """The characters packed into an integer."""
    return int(word).to_bytes(8, "little").rstrip(b"\0").decode("ascii")


def accession_of(digits: int) -> str:
    """0000320193-15-000356 from its digits."""
    text = f"{digits:018d}"
    return f"{text[:10]}-{text[10:12]}-{text[12:]}"


def _read(text: bytes, lengths: Places) -> FactColumns:
    octets = np.frombuffer(text, np.uint8)
    words = np.ndarray((len(text) - 7,), "<u8", text, 0, (1,))  # words[n]: the eight octets from n on
    _require(octets.min() >= ord(" "))
    opens, closes, of_unit = _braces(octets, lengths)

    started = octets[opens + 2] == ord("s")
    first = opens[started]
    _require(words[first] == _word('{"start"'), words[first + 2] == _word('start":"'), words[first + 20] == _word('","end":'))
    start = np.full(len(opens), NO_DATE, np.int32)
    start[started] = _days(words, first + 10)
    end = opens + 1 + 21 * started
    _require(words[end] & _mask(7) == _word('"end":"'), words[end + 17] == _word('","val":'))

    accn = np.flatnonzero(octets == ord("a")) - 2
    accn = accn[words[accn] == _word(',"accn":')]  # a place before the text would be -1 or -2, in the blanks at its end
    _require(len(accn) == len(opens))
    _require(accn > end + 25, accn < closes, octets[accn + 8] == _QUOTE)
    _require(words[accn + 29] & _mask(7) == _word('","fy":'), words[accn + 40] & _mask(6) == _word(',"fp":'))
    _require(words[accn + 50] == _word(',"form":'), octets[accn + 58] == _QUOTE)

    form, length = _short_text(octets, words, accn + 59)
    after = accn + 59 + length
    _require(words[after] == _word('","filed'), words[after + 3] == _word('filed":"'), octets[after + 21] == _QUOTE)
    _check_frames(octets, words, after + 22, closes)
    return FactColumns(
        of_unit=of_unit,
        period_start=start,
        period_end=_days(words, end + 7),
        value=_numbers(text, octets, words, end + 25, accn),
        accession=_accessions(words, accn + 9),
        fiscal_year=_fiscal_years(words, accn + 36),
        fiscal_period=_fiscal_periods(words, accn + 46),
        form=form,
        filed=_days(words, after + 11),
    )


def _require(*conditions: Any) -> None:
    for condition in conditions:
        if not np.all(condition):
            raise _OtherLayout


def _word(characters: str) -> np.uint64:
    return np.uint64(int.from_bytes(characters.encode(), "little"))


def _mask(octets: int) -> np.uint64:
    return np.uint64((1 << 8 * octets) - 1)


_PAD = b" " * 128  # so that eight octets can be taken wherever a fact might go on
_QUOTE = ord('"')
_LOW = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)  # the n octets that come first
_HIGH = ~_LOW[::-1]  # the n octets that come last
_ZEROS = _word("0" * 8)


def _braces(octets: npt.NDArray[np.uint8], lengths: Places) -> tuple[Places, Places, Places]:
    """Where each fact begins and ends, and in which list it stands. Lists hold facts, commas between them, and nothing else."""
    ends = np.cumsum(lengths)
    begins = ends - lengths
    _require(lengths >= 2, octets[begins] == ord("["), octets[ends - 1] == ord("]"))
    opens = np.flatnonzero(octets == ord("{"))
    of_unit = np.searchsorted(ends, opens, side="right")
    _require(np.bincount(of_unit, minlength=len(lengths))[lengths > 2] > 0)  # what is longer than [] has facts
    is_first = np.diff(of_unit, prepend=-1) != 0
    is_last = np.diff(of_unit, append=-1) != 0
    before = opens - 1
    _require(before[is_first] == begins[of_unit[is_first]], octets[before[~is_first]] == ord(","))
    closes = np.where(is_last, ends[of_unit] - 2, np.append(opens[1:], 0) - 2)
    _require(octets[closes] == ord("}"), closes > opens)
    return opens, closes, of_unit


def _eight_digits(word: Words) -> Words:
    """The number that eight digits are, the first lowest."""
    high = np.uint64(0xF0F0F0F0F0F0F0F0)
    _require(word & high == _ZEROS, (word + np.uint64(0x0606060606060606)) & high == _ZEROS)
    number = (word & np.uint64(0x0F0F0F0F0F0F0F0F)) * np.uint64(2561) >> np.uint64(8)
    number = (number & np.uint64(0x00FF00FF00FF00FF)) * np.uint64(6553601) >> np.uint64(16)
    return (number & np.uint64(0x0000FFFF0000FFFF)) * np.uint64(42949672960001) >> np.uint64(32)


_MONTHS = np.arange(np.datetime64("0001-01"), np.datetime64("10000-02")).astype("datetime64[D]").astype(np.int32)
_MONTH_LENGTHS = np.diff(_MONTHS)


def _days(words: Words, at: Places) -> Days:
    """Of YYYY-MM-DD, in the years 1 to 9999."""
    head, tail = words[at], words[at + 2]
    _require(head & np.uint64(0xFF0000FF00000000) == np.uint64(0x2D00002D00000000))
    month, day = head >> np.uint64(8) & np.uint64(0x0000FFFF00000000), tail & np.uint64(0xFFFF000000000000)
    date = _eight_digits(head & _mask(4) | month | day).astype(np.int32)
    day_of_month, month_of_year = date % 100, date // 100 % 100
    nth_month = (date // 10000 - 1) * 12 + month_of_year - 1
    _require(date >= 10000, month_of_year >= 1, month_of_year <= 12, day_of_month >= 1)
    _require(day_of_month <= _MONTH_LENGTHS[nth_month])
    return _MONTHS[nth_month] + day_of_month - 1


def _numbers(text: bytes, octets: npt.NDArray[np.uint8], words: Words, at: Places, until: Places) -> npt.NDArray[np.float64]:
    """Whole numbers of up to 16 digits from their digits; a parser reads the others."""
    negative = octets[at] == ord("-")
    digits = until - at - negative
    top, rest = np.clip(digits, 0, 8), np.clip(digits - 8, 0, 8)
    last = words[until - 8] & _HIGH[top] | _ZEROS & ~_HIGH[top]
    before = words[until - 16] & _HIGH[rest] | _ZEROS & ~_HIGH[rest]
    high = np.uint64(0xF0F0F0F0F0F0F0F0)
    whole = (digits >= 1) & (digits <= 16) & ((octets[at + negative] != ord("0")) | (digits == 1) & ~negative)
    for word in (last, before):
        whole &= (word & high == _ZEROS) & ((word + np.uint64(0x0606060606060606)) & high == _ZEROS)
    others = np.flatnonzero(~whole)
    last[others] = before[others] = _ZEROS
    value = (_eight_digits(before) * np.uint64(10**8) + _eight_digits(last)).astype(np.float64)
    value[negative] *= -1
    if len(others):
        spans = zip(at[others].tolist(), until[others].tolist(), strict=True)
        try:
            read = msgspec.json.decode(b"[" + b",".join([text[a:b] for a, b in spans]) + b"]", type=list[float])
        except msgspec.DecodeError:
            raise _OtherLayout from None
        _require(len(read) == len(others))
        value[others] = read
    return value


def _accessions(words: Words, at: Places) -> Words:
    """The 18 digits of ##########-##-######."""
    head, middle, tail = words[at], words[at + 8], words[at + 12]
    _require(middle & np.uint64(0x0000FF0000FF0000) == np.uint64(0x00002D00002D0000))
    second = middle & np.uint64(0xFFFF)
    second |= middle >> np.uint64(8) & np.uint64(0xFFFF0000)
    second |= middle >> np.uint64(16) & np.uint64(0x0000FFFF00000000)
    second |= tail << np.uint64(16) & np.uint64(0xFFFF000000000000)
    third = tail & _HIGH[2] | _ZEROS & ~_HIGH[2]
    return _eight_digits(head) * np.uint64(10**10) + _eight_digits(second) * np.uint64(100) + _eight_digits(third)


def _fiscal_years(words: Words, at: Places) -> npt.NDArray[np.int32]:
    word = words[at] & _mask(4)
    null = word == _word("null")
    word[null] = _word("1000")
    _require(word & np.uint64(0xFF) != np.uint64(ord("0")))
    year = _eight_digits(_ZEROS & _mask(4) | word << np.uint64(32)).astype(np.int32)
    year[null] = NO_YEAR
    return year


def _fiscal_periods(words: Words, at: Places) -> Words:
    word = words[at] & _mask(4)
    text = word >> np.uint64(8) & _mask(2)
    quoted = (word & np.uint64(0xFF0000FF) == np.uint64(0x22000022)) & (text & np.uint64(0xFF) != np.uint64(_QUOTE))
    quoted &= text >> np.uint64(8) != np.uint64(_QUOTE)
    null = word == _word("null")
    _require(quoted | null)
    text[null] = 0
    return text


def _short_text(octets: npt.NDArray[np.uint8], words: Words, at: Places) -> tuple[Words, Places]:
    """The up to eight characters before the next quote, and how many they are."""
    word = words[at]
    differs = word ^ _word('"' * 8)
    zero = differs - np.uint64(0x0101010101010101) & ~differs & np.uint64(0x8080808080808080)
    first = zero & (~zero + np.uint64(1))  # the lowest is that of the first quote
    length = np.full(len(at), 8, np.int64)
    short = first != 0
    length[short] = np.log2(first[short].astype(np.float64)).astype(np.int64) >> 3
    _require(octets[at + length] == _QUOTE)
    return word & _LOW[length], length


def _check_frames(octets: npt.NDArray[np.uint8], words: Words, at: Places, closes: Places) -> None:
    """A fact ends after its filing date or with a frame (CY2015, CY2015Q3, CY2015Q3I), which is not kept."""
    framed = at != closes
    at, closes = at[framed], closes[framed]
    length = closes - at - 11
    _require(words[at] == _word(',"frame"'), octets[at + 8] == ord(":"), octets[at + 9] == _QUOTE)
    _require((length == 6) | (length == 8) | (length == 9), octets[at + 10 + length] == _QUOTE)
    frame = words[at + 10]
    _require(frame & _mask(2) == _word("CY"))
    year, quarter = frame >> np.uint64(16) & _mask(4), frame >> np.uint64(56)
    _eight_digits(_ZEROS & _mask(4) | year << np.uint64(32))
    quarterly = length > 6
    _require((frame >> np.uint64(48) & np.uint64(0xFF))[quarterly] == ord("Q"), quarter[quarterly] - ord("0") <= 9)
    _require(octets[at + 18][length == 9] == ord("I"))
