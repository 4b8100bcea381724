"""Singh and Plumbley, ICASSP 2023: VGGish_Net, unpruned, pruned by similarity and by uniform ratios."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from coppice.reproduction.claim import RECOMPUTED, Claim, Paper
from coppice.reproduction.counted import counted

PAPER = Paper(
    "icassp2023",
    "Efficient similarity-based filter pruning",
    "A. Singh and M. D. Plumbley, ICASSP 2023, arXiv 2210.17416; code: repository Efficient_similarity_Pruning_Algo",
)

_SIMILAR = (51, 101, 215, 204, 404, 402)
# name -> (widths, parameters, MACs)
_COUNTS = {
    "unpruned": ((64, 128, 256, 256, 512, 512), 55_361_162, 847_119_616),
    "similarity": (_SIMILAR, 42_889_796, 552_226_432),
}


def claims() -> Iterator[Claim]:
    """Yield parameters and MACs of both networks, and what similarity pruning saves."""
    for name, (widths, params, macs) in _COUNTS.items():
        how = f"{RECOMPUTED} from the released " + ("architecture" if name == "unpruned" else "index files")
        for what, convention, published in (("params", "keras_total", params), ("macs", "macs", macs)):
            yield Claim(
                PAPER,
                f"{name}.{what}",
                f"VGGish_Net, {name}: {'parameters' if what == 'params' else 'MACs'}",
                published,
                partial(
                    counted,
                    network="vggish_net",
                    shape=(1, 64, 96),
                    convention=convention,
                    what=what,
                    config=(("widths", widths),),
                ),
                how,
                "all parameters (there is no batch normalisation)" if what == "params" else "MACs without biases",
            )
    for name, what, convention, percent in (
        ("similarity.fewer-params", "params", "keras_total", 22.5),
        ("similarity.fewer-macs", "macs", "macs", 34.8),
    ):
        yield Claim(
            PAPER,
            name,
            f"VGGish_Net, similarity: fewer {'parameters' if what == 'params' else 'MACs'}",
            percent,
            partial(_fewer, what=what, convention=convention),
            f"{RECOMPUTED} from the released index files",
            "all parameters" if what == "params" else "MACs of all layers, without biases",
            unit="%",
            tolerance=0.05,
        )


def _fewer(data: Path, *, what: str, convention: str) -> float:
    before, after = (
        counted(
            data,
            network="vggish_net",
            shape=(1, 64, 96),
            convention=convention,
            what=what,
            config=(("widths", _COUNTS[name][0]),),
        )
        for name in ("unpruned", "similarity")
    )
    return 100 * (1 - after / before)
