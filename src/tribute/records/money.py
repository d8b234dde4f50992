"""Cutting an integer into integer parts: floor, then one more to the largest remainders (Hamilton's method).

Every unit is given out, no part is negative, no part is off its exact value by a whole unit, and the tie-break is stated.
"""

from __future__ import annotations

from collections.abc import Mapping

from tribute.records import InvalidInput


def split(amount: int, weights: Mapping[str, int]) -> dict[str, int]:
    """Parts of `amount` ≥ 0 in proportion to integer weights ≥ 0, which sum to exactly `amount`.

    Units left over by rounding down go to the largest remainders; among equal ones to the earlier name in code-point order.
    Raises InvalidInput for negative numbers or weights that are all zero.
    """
    total = sum(weights.values())
    if amount < 0 or total <= 0 or any(weight < 0 for weight in weights.values()):
        raise InvalidInput(f"cannot split {amount} by weights {dict(weights)!r}; give an amount of 0 or more and weights of 0 or more, one above 0")
    parts = {name: amount * weight // total for name, weight in weights.items()}
    left = amount - sum(parts.values())
    by_remainder = sorted(weights, key=lambda name: (-(amount * weights[name] % total), name))
    for name in by_remainder[:left]:
        parts[name] += 1
    return parts


# ISO 4217 currencies whose minor unit is not a hundredth.
EXPONENTS = {"JPY": 0, "KRW": 0, "VND": 0, "CLP": 0, "ISK": 0, "BHD": 3, "JOD": 3, "KWD": 3, "OMR": 3, "TND": 3, "IQD": 3, "LYD": 3}


def format_minor(amount_minor: int, currency: str) -> str:
    """`315000, "CNY"` → `3150.00 CNY`; whole units for JPY, three places for KWD."""
    places = EXPONENTS.get(currency, 2)
    sign, digits = "-" if amount_minor < 0 else "", f"{abs(amount_minor):0{places + 1}d}"
    return f"{sign}{digits[:-places]}.{digits[-places:]} {currency}" if places else f"{sign}{digits} {currency}"


def format_micro(amount_micro: int, currency: str) -> str:
    """Like `format_minor`, with as many of the six further places as are not zero."""
    sign, (whole, rest) = ("-" if amount_micro < 0 else ""), divmod(abs(amount_micro), 1_000_000)
    text = format_minor(whole, currency).removesuffix(f" {currency}")
    if rest:
        text += ("." if "." not in text else "") + f"{rest:06d}".rstrip("0")
    return f"{sign}{text} {currency}"


def parse_minor(text: str, currency: str) -> int:
    """`"10.50", "CNY"` → 1050. Raises InvalidInput for what is no amount in that currency."""
    from decimal import Decimal, InvalidOperation

    try:
        scaled = Decimal(text).scaleb(EXPONENTS.get(currency, 2))
        if not scaled.is_finite() or scaled != scaled.to_integral_value() or not 0 < scaled <= 10**12:
            raise InvalidOperation
    except InvalidOperation as error:
        raise InvalidInput(f"{text!r} is not an amount of {currency}; give one above 0 with at most {EXPONENTS.get(currency, 2)} decimals") from error
    return int(scaled)
