"""How numbers are written for people: every quantity with its unit."""


def bytes_text(size_bytes: float) -> str:
    """Write a size in bytes, kB (1000 B), MB or GB; the DCASE limits count this way.

    Examples
    --------
    >>> bytes_text(512), bytes_text(92_492), bytes_text(3_200_000), bytes_text(27_503_592_469)
    ('512 B', '92.5 kB', '3.20 MB', '27.50 GB')
    """
    if size_bytes < 1000:
        return f"{size_bytes:.0f} B"
    if size_bytes < 1_000_000:
        return f"{size_bytes / 1000:.1f} kB"
    if size_bytes < 1_000_000_000:
        return f"{size_bytes / 1_000_000:.2f} MB"
    return f"{size_bytes / 1_000_000_000:.2f} GB"


def count_text(count: float) -> str:
    """Write a large count with a metric prefix.

    Examples
    --------
    >>> count_text(46_246), count_text(286_637_800), count_text(3_400_000_000_000)
    ('46.2 k', '286.6 M', '3.4 T')
    """
    for limit, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= limit:
            return f"{count / limit:.1f} {prefix}"
    return f"{count:.0f}"


def percent_text(fraction: float, digits: int = 1) -> str:
    """Write a fraction as a percentage.

    Examples
    --------
    >>> percent_text(0.9125)
    '91.2 %'
    """
    return f"{100 * fraction:.{digits}f} %"


def change_text(before: float, after: float) -> str:
    """Write a relative change with its sign.

    Examples
    --------
    >>> change_text(46_246, 34_461)
    '−25.5 %'
    """
    if before == 0:
        return "n/a"
    change = 100 * (after - before) / before
    return f"{'−' if change < 0 else '+'}{abs(change):.1f} %"
