"""Power of processors and carbon intensity of regions, as the ML CO2 Impact calculator tables them."""

import re

from coppice.core.errors import CoppiceError, did_you_mean

# Thermal design power in watts; https://github.com/mlco2/impact, data/gpus.csv. The calculator's own names and numbers,
# also where a data sheet says another one (V100-SXM2-16GB). Left out: GTX 750, whose 250 W there are a slip.
POWER_W: dict[str, float] = {
    "A100 PCIe 40/80GB": 250,
    "A100 SXM4 80 GB": 400,
    "H100 SXM": 700,
    "GTX 1080": 180,
    "GTX 1080 Ti": 250,
    "GTX TITAN X": 250,
    "RTX 2080": 215,
    "RTX 2080 Ti": 250,
    "RTX 3080": 320,
    "RTX 3080 Ti": 350,
    "RTX 3090": 350,
    "RTX 8000": 260,
    "RTX A4000": 140,
    "RTX A6000": 300,
    "Quadro K6000": 225,
    "Quadro P6000": 250,
    "T4": 70,
    "Tesla K40c": 245,
    "Tesla K80": 300,
    "Tesla M40 24GB": 250,
    "Tesla P40": 250,
    "Tesla P100": 250,
    "Tesla V100-PCIE-16GB": 300,
    "Tesla V100-SXM2-16GB": 250,
    "Tesla V100-SXM2-32GB": 300,
    "Titan RTX": 280,
    "Titan V": 250,
    "Titan X Pascal": 250,
    "Titan Xp": 250,
    "AMD RX480": 150,
    "AGX Xavier": 30,
    "Intel Xeon E5-2630v4": 85,
    "Intel Xeon E5-2650": 105,
    "Intel Xeon E5-2699": 145,
    "Intel Xeon Gold 5220": 125,
    "Intel Xeon Gold 6148": 150,
    "AMD EPYC 7763": 280,
}

# Grams of CO2 equivalent for each kWh; the same repository, data/impact.csv, of 2019. Grids have become cleaner since:
# give today's number as an intensity where it matters.
INTENSITY_G_PER_KWH: dict[str, float] = {
    "Belgium": 267,
    "Beijing": 680,
    "California": 240.6,
    "Finland": 211,
    "Frankfurt": 615,
    "Hong Kong": 702,
    "Iowa": 566.3,
    "Ireland": 617,
    "London": 623,
    "Montreal": 20,
    "Mumbai": 920,
    "Netherlands": 569,
    "Ohio": 568.2,
    "Oregon": 297.6,
    "Paris": 105,
    "Sao Paulo": 205,
    "Seoul": 517,
    "Singapore": 419,
    "Stockholm": 47,
    "Sydney": 802,
    "Taiwan": 557,
    "Tokyo": 516,
    "Virginia": 367.8,
    "Zurich": 16,
}

_VENDORS = {"nvidia", "geforce", "tesla", "amd", "intel", "r"}


def power_w(hardware: str) -> tuple[str, float]:
    """Look up a processor; case, spaces and the maker's name do not matter.

    Parameters
    ----------
    hardware : str
        Such as ``"RTX 2080 Ti"``, or what a driver calls it: ``"NVIDIA GeForce RTX 2080 Ti"``.

    Returns
    -------
    tuple of str and float
        The table's name, and thermal design power in watts.

    Raises
    ------
    CoppiceError
        If it is not in the table.

    Examples
    --------
    >>> power_w("NVIDIA GeForce RTX 2080 Ti")
    ('RTX 2080 Ti', 250)
    """
    for name, power in POWER_W.items():
        if _key(name) == _key(hardware):
            return name, power
    raise CoppiceError(f"there is no power on record for {hardware!r}. {did_you_mean(hardware, POWER_W)}")


def find_power_w(described: str) -> tuple[str, float] | None:
    """Look for a processor in what a system calls it, which says more than its name.

    Examples
    --------
    >>> find_power_w("AMD EPYC 7763 64-Core Processor")
    ('AMD EPYC 7763', 280)
    >>> find_power_w("AMD EPYC") is None
    True
    """
    words = _words(described)
    found = [name for name in POWER_W if _begins(words, _key(name))]
    return (max(found, key=len), POWER_W[max(found, key=len)]) if found else None


def _begins(words: list[str], key: str) -> bool:
    return any("".join(words[:count]) == key for count in range(1, len(words) + 1))


def intensity_g(region: str) -> tuple[str, float]:
    """Look up a region.

    Parameters
    ----------
    region : str
        A city, state or country of the table.

    Returns
    -------
    tuple of str and float
        The table's name, and grams of CO2 equivalent for each kWh.

    Raises
    ------
    CoppiceError
        If it is not in the table.

    Examples
    --------
    >>> intensity_g("london")
    ('London', 623)
    """
    for name, grams in INTENSITY_G_PER_KWH.items():
        if _key(name) == _key(region):
            return name, grams
    raise CoppiceError(
        f"there is no carbon intensity on record for {region!r}. {did_you_mean(region, INTENSITY_G_PER_KWH)}"
    )


def _key(name: str) -> str:
    return "".join(_words(name))


def _words(name: str) -> list[str]:
    return [part for part in re.findall("[a-z0-9]+", name.casefold()) if part not in _VENDORS]
