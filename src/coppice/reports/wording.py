"""How a report writes measures: signs, intervals, times, factors. Unknown values are a dash."""

from coppice.core.units import bytes_text, count_text, percent_text
from coppice.reports.measures import Interval

UNKNOWN = "–"


def points_text(change: float) -> str:
    """Write a change of a fraction in percentage points, with its sign.

    Examples
    --------
    >>> points_text(-0.025), points_text(0.0125), points_text(0.0)
    ('−2.5', '+1.2', '0.0')
    """
    # 0.7875 − 0.8 is not quite −1 / 80; both are the same change to a reader.
    return signed_text(round(100 * change, 6), 1)


def points_interval_text(interval: Interval) -> str:
    """Write an interval of changes in percentage points.

    Examples
    --------
    >>> points_interval_text((-0.0875, 0.0375))
    '−8.8 to +3.8'
    """
    return f"{points_text(interval[0])} to {points_text(interval[1])}"


def percent_interval_text(interval: Interval | None) -> str:
    """Write an interval of fractions in percent.

    Examples
    --------
    >>> percent_interval_text((0.8, 0.9625))
    '80.0 to 96.2 %'
    """
    return UNKNOWN if interval is None else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f} %"


def number_interval_text(interval: Interval | None, digits: int = 2) -> str:
    """Write an interval of plain numbers.

    Examples
    --------
    >>> number_interval_text((0.25, 0.5))
    '0.25 to 0.50'
    """
    return UNKNOWN if interval is None else f"{interval[0]:.{digits}f} to {interval[1]:.{digits}f}"


def percent_or_dash(fraction: float | None) -> str:
    """Write a fraction in percent, or a dash."""
    return UNKNOWN if fraction is None else percent_text(fraction)


def number_or_dash(value: float | None, digits: int = 2) -> str:
    """Write a plain number, or a dash."""
    return UNKNOWN if value is None else f"{value:.{digits}f}"


def whole_or_dash(count: float | None) -> str:
    """Write a count in full with thousands separators, or a dash.

    Examples
    --------
    >>> whole_or_dash(46246), whole_or_dash(None)
    ('46,246', '–')
    """
    return UNKNOWN if count is None else f"{count:,.0f}"


def count_or_dash(count: float | None) -> str:
    """Write a large count with a metric prefix, or a dash."""
    return UNKNOWN if count is None else count_text(count)


def bytes_or_dash(size: float | None) -> str:
    """Write a size, or a dash."""
    return UNKNOWN if size is None else bytes_text(size)


def ms_text(milliseconds: float | None) -> str:
    """Write a time in milliseconds with three significant digits, or a dash.

    Examples
    --------
    >>> ms_text(3.0812), ms_text(0.7316), ms_text(41.26)
    ('3.08 ms', '0.732 ms', '41.3 ms')
    """
    if milliseconds is None:
        return UNKNOWN
    digits = 3 if milliseconds < 1 else 2 if milliseconds < 10 else 1
    return f"{milliseconds:.{digits}f} ms"


def seconds_text(seconds: float | None) -> str:
    """Write how long something took.

    Examples
    --------
    >>> seconds_text(8.2), seconds_text(75), seconds_text(4000)
    ('8 s', '1 min 15 s', '1 h 6 min')
    """
    if seconds is None:
        return UNKNOWN
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def signed_text(value: float, digits: int = 3) -> str:
    """Write a change of a plain number with its sign.

    Examples
    --------
    >>> signed_text(-0.0214), signed_text(0.5, 1), signed_text(-0.0001)
    ('−0.021', '+0.5', '0.000')
    """
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    return ("−" if value < 0 else "+") + text


def signed_interval_text(interval: Interval, digits: int = 3) -> str:
    """Write an interval of changes of a plain number.

    Examples
    --------
    >>> signed_interval_text((-0.01, 0.052), 2)
    '−0.01 to +0.05'
    """
    return f"{signed_text(interval[0], digits)} to {signed_text(interval[1], digits)}"


def plural(count: int, noun: str) -> str:
    """Write a count with its noun.

    Examples
    --------
    >>> plural(1, "clip"), plural(3, "clip")
    ('1 clip', '3 clips')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def less_text(before: float, after: float) -> str:
    """Say in words how much less (or more) there is.

    Examples
    --------
    >>> less_text(46_246, 24_056), less_text(100, 100), less_text(100, 110)
    ('48.0 % fewer', 'as many', '10.0 % more')
    """
    change = round(100 * (before - after) / before, 1) if before else 0.0
    if change == 0:
        return "as many"
    return f"{change:.1f} % fewer" if change > 0 else f"{-change:.1f} % more"
