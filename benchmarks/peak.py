"""How many multiplications and additions one core can do in a second, and loops that are timed as the C is."""

import time
from typing import Any

from coppice.native.library import Library
from coppice.native.toolchain import FLAGS, shared_library

# Twelve sums that do not wait for each other, in registers: what no convolution can exceed.
_SOURCE = """
#include <stdint.h>
#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif
typedef float vector __attribute__((vector_size(LANES * 4)));
int flops_of_a_turn(void) { return 2 * 12 * LANES; }
float products(int turns) {
  vector s[12], x, w;
  for (int i = 0; i < LANES; i++) {
    x[i] = 1.0f;
    w[i] = 1e-9f * (float)turns;
  }
  for (int k = 0; k < 12; k++)
    s[k] = x * (float)k;
  for (int i = 0; i < turns; i++) {
    __asm__ volatile("" : "+x"(x), "+x"(w));
#define ONE(k) s[k] += x * w;
    ONE(0) ONE(1) ONE(2) ONE(3) ONE(4) ONE(5) ONE(6) ONE(7) ONE(8) ONE(9) ONE(10) ONE(11)
  }
  float all = 0.0f;
  for (int k = 0; k < 12; k++)
    all += s[k][0];
  return all;
}
"""
_TURNS = 2_000_000


def peak_gflops(repeats: int = 15) -> float:
    """Return the most float32 operations a second of one core, in billions: a fused multiply-add is two."""
    x86 = _SOURCE if _is_x86() else _SOURCE.replace('"+x"', '"+w"')
    file = shared_library({"peak.c": x86}, flags=FLAGS)
    library = Library(file, "int flops_of_a_turn(void); float products(int turns);").functions
    best = min(_seconds(library) for _ in range(repeats))
    return library.flops_of_a_turn() * _TURNS / best / 1e9


def _seconds(library: Any) -> float:
    begin = time.perf_counter()
    library.products(_TURNS)
    return time.perf_counter() - begin


def _is_x86() -> bool:
    import platform

    return platform.machine().lower() in ("x86_64", "amd64", "i686")
