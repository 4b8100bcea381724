"""A recipe of a second: few made-up clips, a small network, one system with a fit."""

SMALL_RECIPE = """\
name: small
data: {source: synthetic, synthetic: {clips_per_class: 5, duration_s: 0.5}}
front_end: {preset: dcase2021, duration_s: 0.5}
network: {name: dcase2021, widths: [3, 4, 4], dense: 6}
training: {epochs: 2, precision: float32}
quantize: null
systems:
  thin:
    - prune: {criterion: l1, ratios: 0.5}
    - finetune: {epochs: 2, precision: float32}
"""
