"""A recipe of a second: few made-up clips, a small network, one system with a fit."""

from collections.abc import Sequence


def small_recipe(
    *,
    name: str = "tiny",
    widths: Sequence[int] = (3, 4, 4),
    fit: str = "epochs: 1",
    prune: str = "criterion: l1, ratios: 0.5",
    finetune: str | None = None,
) -> str:
    """Return the recipe; ``finetune`` is as ``fit`` if not given."""
    return f"""\
name: {name}
data: {{source: synthetic, synthetic: {{clips_per_class: 5, duration_s: 0.5}}}}
front_end: {{preset: dcase2021, duration_s: 0.5}}
network: {{name: dcase2021, widths: {list(widths)}, dense: 6}}
training: {{{fit}, precision: float32}}
quantize: null
systems:
  thin:
    - prune: {{{prune}}}
    - finetune: {{{finetune or fit}, precision: float32}}
"""
