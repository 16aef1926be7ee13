"""The facts of companyfacts read as columns, without an object for each: for exactly the layout in which the SEC writes them.

    {"start":"2014-09-28","end":"2015-09-26","val":233715000000,"accn":"0000320193-15-000356","fy":2015,"fp":"FY",
     "form":"10-K","filed":"2015-10-28","frame":"CY2015"}     start and frame may be missing, fy and fp may be null

Every byte is accounted for: its place, its key, and for each value its grammar and range. Where anything is otherwise (another
order of keys, a blank, an escape, a thirteenth month) the answer is None, nothing is guessed, and the caller reads the text with
a JSON parser. So a fact read here is the fact a parser reads; a test compares the two on random and on damaged facts.

A part of a fact whose places are fixed is taken as some integers of eight bytes each, of all facts at once, and held against a
pattern; digits become numbers by three multiplications (https://lemire.me/blog/2022/01/21/swar-explained-parsing-eight-digits/).
"""

from collections.abc import Iterable, Iterator, Sequence
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
    try:
        parts = [_read(block) for block in _blocks(units)]
    except _OtherLayout:
        return None
    # The lists are numbered through.
    before = np.cumsum([0, *(len(block) for block in _blocks(units))])
    of_unit = np.concatenate([part[0] + n for part, n in zip(parts, before, strict=False)])
    return FactColumns(of_unit, *(np.concatenate(columns) for columns in list(zip(*parts, strict=True))[1:]))


def _blocks(units: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Some lists at a time: what is made of them stays near the core, and the memory for it is used again."""
    begin = size = 0
    for n, unit in enumerate(units):
        size += len(unit)
        if size >= _BLOCK_BYTES:
            yield units[begin : n + 1]
            begin, size = n + 1, 0
    yield units[begin:]


def text_of(word: int) -> str:
    """The characters packed into an integer."""
    return int(word).to_bytes(8, "little").rstrip(b"\0").decode("ascii")


def accession_of(digits: int) -> str:
    """0000320193-15-000356 from its digits."""
    text = f"{digits:018d}"
    return f"{text[:10]}-{text[10:12]}-{text[12:]}"


def _read(units: Sequence[Any]) -> tuple[npt.NDArray[Any], ...]:
    """As in FactColumns."""
    lengths = np.fromiter(map(len, units), np.int64, len(units))
    text = b"".join([_PAD, *units, _PAD, b" " * (-int(lengths.sum()) % 8)])
    if not text.isascii() or b"\\" in text:
        raise _OtherLayout
    octets = np.frombuffer(text, np.uint8)
    _require(octets.min() >= ord(" "))
    opens, closes, of_unit = _braces(octets, lengths)

    started = octets[opens + 2] == ord("s")
    start = np.full(len(opens), NO_DATE, np.int32)
    start[started] = _days(*_START.of(text, opens[started] - 4)[1:3])
    at = opens - 6 + 21 * started
    _, century, rest, _, first, second = _END.of(text, at)
    end = _days(century, rest)
    at += 32
    value, digits = _numbers(text, first, second, at)
    at += digits - 5
    filing = _FILING.of(text, at)
    form, length = _short_text(filing[8])
    at += 61 + length
    filed = _FILED.of(text, at)
    at += 25
    _check_frames(text, octets, at, closes)
    year, period = _fiscal_years(filing[5]), _fiscal_periods(filing[6])
    return of_unit, start, end, value, _accessions(filing), year, period, form, _days(*filed[1:3])


def _require(*conditions: Any) -> None:
    for condition in conditions:
        if not np.all(condition):
            raise _OtherLayout


def _word(characters: str) -> int:
    return int.from_bytes(characters.encode(), "little")


def _mask(octets: int) -> int:
    return (1 << 8 * octets) - 1


class _Pattern:
    """What stands at fixed places: characters that must be there, `#` a digit, `?` anything. The length is a multiple of eight."""

    def __init__(self, pattern: str) -> None:
        self._size = len(pattern)
        self._expected = self._words("0" if c == "#" else "\0" if c == "?" else c for c in pattern)
        self._checked = self._words("\xf0" if c == "#" else "\0" if c == "?" else "\xff" for c in pattern)
        self._six = self._words("\6" if c == "#" else "\0" for c in pattern)

    @staticmethod
    def _words(characters: Iterable[str]) -> Words:
        return np.frombuffer("".join(characters).encode("latin-1"), "<u8").reshape(-1, 1)

    def of(self, text: bytes, at: Places) -> Words:
        """Word by word, of all places `at`: digits as numbers, zero for the other characters of the pattern, and what stands at `?`."""
        # One copy of a whole record costs as much as one of a single word.
        records = np.ndarray((len(text) - self._size + 1,), f"V{self._size}", text, 0, (1,))[at]
        words = np.ascontiguousarray(records.view("<u8").reshape(-1, self._size // 8).T)
        words ^= self._expected
        # A digit is below ten: neither it nor it plus six reaches the upper half of its octet.
        wrong = words + self._six
        wrong |= words
        wrong &= self._checked
        _require(not wrong.any())
        return words


# The dates of each stand in the same places: the century at the end of the second word, the rest in the third.
_START = _Pattern('????{"start":"####-##-##","?????')
_END = _Pattern('???????"end":"####-##-##","val":????????????????')
_FILING = _Pattern('?????,"accn":"##########-##-######","fy":????,"fp":????,"form":"????????')
_FILED = _Pattern('???","filed":"####-##-##"???????')
_FRAME = _Pattern(',"frame":"CY####????????')

_BLOCK_BYTES = 1 << 21
_PAD = b" " * 128  # so that a pattern can be taken wherever a fact might go on
_QUOTE = ord('"')
_ZEROS = _word("0" * 8)
_ONES = 0x0101010101010101
_UPPER = 0xF0F0F0F0F0F0F0F0


def _braces(octets: npt.NDArray[np.uint8], lengths: Places) -> tuple[Places, Places, Places]:
    """Where each fact begins and ends, and in which list it stands. Lists hold facts, commas between them, and nothing else."""
    ends = np.cumsum(lengths) + len(_PAD)
    begins = ends - lengths
    _require(lengths >= 2, octets[begins] == ord("["), octets[ends - 1] == ord("]"))
    opens = _places(octets, "{")
    filled = np.flatnonzero(lengths > 2)  # what is longer than [] has facts
    first = np.searchsorted(opens, begins[filled])
    _require(np.append(opens, 0)[first] == begins[filled] + 1)
    counts = np.diff(first, append=len(opens))
    _require(counts > 0, counts.sum() == len(opens))
    before = octets[opens - 1]
    before[first] = ord(",")
    closes = np.empty_like(opens)
    closes[:-1] = opens[1:] - 2
    closes[first + counts - 1] = ends[filled] - 2
    _require(before == ord(","), octets[closes] == ord("}"), closes > opens)
    return opens, closes, np.repeat(filled, counts)


def _places(octets: npt.NDArray[np.uint8], character: str) -> Places:
    """Where the character stands, if nowhere twice among eight octets: an eighth of the work of looking at each."""
    words = (octets == ord(character)).view("<u8")
    at = np.flatnonzero(words != 0)
    found = words[at]
    _require(found & found - 1 == 0)
    return (at << 3) + (np.bitwise_count(found - 1) >> 3)


def _eight_digits(digits: Words) -> Words:
    """The number that eight digits (0 to 9 each) are, the first lowest."""
    number = digits * 2561 >> 8
    number = (number & 0x00FF00FF00FF00FF) * 6553601 >> 16
    return (number & 0x0000FFFF0000FFFF) * 42949672960001 >> 32


def _are_digits(digits: Words) -> npt.NDArray[np.bool_]:
    return (digits | digits + 6 * _ONES) & _UPPER == 0


_MONTHS = np.arange(np.datetime64("0001-01"), np.datetime64("10000-02")).astype("datetime64[D]").astype(np.int32)
_MONTH_LENGTHS = np.diff(_MONTHS)


def _days(century: Words, rest: Words) -> Days:
    """Of the digits of YYYY-MM-DD in the years 1 to 9999, the first two at the end of one word, the others in the next."""
    century, rest = (word * 10 + (word >> 8) for word in (century, rest))  # each with its right neighbour
    year = (century >> 48 & 0xFF) * 100 + (rest & 0xFF)
    month, day = rest >> 24 & 0xFF, rest >> 48 & 0xFF
    _require(year - 1 < 9999, month - 1 < 12, day - 1 < 31)
    nth_month = (year * 12 + month - 13).astype(np.int64)
    day = day.astype(np.int32)
    _require(day <= _MONTH_LENGTHS[nth_month])
    return _MONTHS[nth_month] + (day - np.int32(1))


_LONGEST = 400  # characters of a number that a double can tell from others, and more than enough
_POWERS = np.array([10**n for n in range(9)], np.uint64)


def _numbers(text: bytes, first: Words, second: Words, at: Places) -> tuple[npt.NDArray[np.float64], Places]:
    """The numbers that begin with these two words, and how many characters they have: whole ones of up to 16 from their digits, a
    parser reads the others."""
    head, tail = _octets_before(first, ","), _octets_before(second, ",")
    tail = np.where(head < 8, 0, tail)
    length = head + tail
    negative = first & 0xFF == ord("-")
    digits = first ^ _ZEROS
    digits[negative] &= 0xFFFFFFFFFFFFFF00
    leading = np.where(negative, digits >> 8, digits) & 0xFF == 0
    # The first digit is the lowest: without what stands behind the number, and with zeros before it.
    digits <<= (8 - head).astype(np.uint64) << 3
    others = (second ^ _ZEROS) << ((8 - tail).astype(np.uint64) << 3)
    whole = _are_digits(digits) & _are_digits(others) & (length > negative) & (~leading | ((length == 1) & ~negative))
    value = (_eight_digits(digits) * _POWERS[tail] + _eight_digits(others)).astype(np.float64)
    value[negative] *= -1
    longer = np.flatnonzero(length == 16)
    length[longer] = [max(text.find(b",", start, start + _LONGEST) - start, 0) for start in at[longer].tolist()]
    whole[longer] &= length[longer] == 16
    others = np.flatnonzero(~whole)
    if len(others):
        spans = zip(at[others].tolist(), (at + length)[others].tolist(), strict=True)
        try:
            read = msgspec.json.decode(b"[" + b",".join([text[a:b] for a, b in spans]) + b"]", type=list[float])
        except msgspec.DecodeError:
            raise _OtherLayout from None
        _require(len(read) == len(others))
        value[others] = read
    return value, length


def _octets_before(word: Words, character: str) -> Places:
    """How many octets stand before the first one that is the character: 0 to 8."""
    differs = word ^ _word(character * 8)
    zero = differs - _ONES & ~differs & 0x8080808080808080  # the lowest is true
    return (np.bitwise_count(zero - 1 & ~zero) >> 3).astype(np.int64)


def _accessions(filing: Words) -> Words:
    """The 18 digits of ##########-##-######, of which eight stand in a word of their own."""
    _, second, third, fourth, fifth, *_ = filing
    first = (second >> 48 & 0xFF) * 10 + (second >> 56)
    rest = fourth >> 8 & 0xFFFF
    rest |= fourth >> 16 & 0x0000FFFFFFFF0000
    rest |= fifth << 48
    return (first * 10**8 + _eight_digits(third)) * 10**8 + _eight_digits(rest)


def _fiscal_years(word: Words) -> npt.NDArray[np.int32]:
    word = word >> 8 & _mask(4)
    null = word == _word("null")
    word[null] = _word("1000")
    digits = (word ^ _ZEROS & _mask(4)) << 32
    _require(_are_digits(digits), word & 0xFF != ord("0"))
    year = _eight_digits(digits).astype(np.int32)
    year[null] = NO_YEAR
    return year


def _fiscal_periods(word: Words) -> Words:
    word = word >> 24 & _mask(4)
    text = word >> 8 & _mask(2)
    quoted = (word & 0xFF0000FF == 0x22000022) & (text & 0xFF != _QUOTE)
    quoted &= text >> 8 != _QUOTE
    null = word == _word("null")
    _require(quoted | null)
    text[null] = 0
    return text


def _short_text(word: Words) -> tuple[Words, Places]:
    """The up to eight characters before the next quote, and how many they are. That a quote follows is for the caller to see."""
    length = _octets_before(word, '"')
    return word & (1 << (length.astype(np.uint64) << 3)) - 1, length


def _check_frames(text: bytes, octets: npt.NDArray[np.uint8], at: Places, closes: Places) -> None:
    """A fact ends after its filing date or with a frame (CY2015, CY2015Q3, CY2015Q3I), which is not kept."""
    framed = at != closes
    at, closes = at[framed], closes[framed]
    rest = _FRAME.of(text, at)[2]
    length = closes - at - 16
    quarter = (rest & 0xFF == ord("Q")) & ((rest >> 8 & 0xFF) - ord("0") <= 9)
    instant = quarter & (rest >> 16 & 0xFF == ord("I"))
    _require((length == 1) | (length == 3) & quarter | (length == 4) & instant, octets[closes - 1] == _QUOTE)
