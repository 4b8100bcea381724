"""The C of training steps under the sanitizers: it touches nothing outside its arrays and does nothing undefined."""

import subprocess
from importlib.resources import files

import pytest

from coppice.core.errors import CoppiceError
from coppice.native.tensors import lanes
from coppice.native.toolchain import compiler
from coppice.training.winograd.kernels import coefficients
from coppice.training.winograd.transforms import transforms

SANITIZED = "-std=gnu99 -O1 -march=native -Wno-psabi -fsanitize=address,undefined -fno-sanitize-recover=all"
# Three threads, one after another, on arrays that end where their numbers end; of outputs, the first is printed.
THREADS = """
#include <stdio.h>
#include <stdlib.h>
static int thread;
int omp_get_thread_num(void) { return thread; }
int omp_get_num_threads(void) { return 3; }
void GOMP_parallel(void (*function)(void *), void *given, unsigned threads, unsigned flags)
{
    (void)flags;
    for (thread = 0; thread < (int)threads; thread++)
        function(given);
}
static number *ones(int64_t count)
{
    number *made = malloc((size_t)count * sizeof *made);
    floats one = {1.0f};
    numbers first = narrow(one);
    for (int64_t i = 0; i < count; i++)
        memcpy(made + i, &first, sizeof *made);
    return made;
}
"""
CONVOLUTION = """
int main(void)
{
    enum { IMAGES = 2, HEIGHT = 6, WIDTH = 13 };
    int64_t places = IMAGES * HEIGHT * WIDTH;
    number *x = ones(places * CHANNELS_IN), *y = ones(places * CHANNELS_OUT);
    float *weights = calloc(SQUARE * CHANNELS_IN * PADDED_OUT, 4), *bias = calloc(PADDED_OUT, 4);
    double *sums = calloc(3 * SUMS, 8);
    void *memory = aligned_alloc(64, (size_t)(3 * memory_bytes()));
    bias[0] = 2.0f;
    convolve(3, x, weights, bias, y, memory, IMAGES, HEIGHT, WIDTH);
    printf("%g ", (double)load(y, 1)[0]);
    weigh(3, x, y, sums, memory, IMAGES, HEIGHT, WIDTH);
    printf("%g", sums[SUMS - PADDED_OUT] + sums[2 * SUMS - PADDED_OUT] + sums[3 * SUMS - PADDED_OUT]);
    free(x), free(y), free(weights), free(bias), free(sums), free(memory);
    return 0;
}
"""
NORMALISATION = """
int main(void)
{
    int64_t count = 1003 * CHANNELS;
    number *x = ones(count), *slopes = ones(count), *y = ones(count);
    float *values = calloc(SIZE, 4);
    double *sums = calloc(3 * 2 * SIZE, 8), all = 0;
    sum(3, x, values, sums, count);
    sum_slopes(3, x, slopes, values, sums, count);
    for (int i = 0; i < 3 * 2 * SIZE; i++)
        all += sums[i];
    normalise(3, x, values, values, y, count);
    slope(3, x, slopes, values, values, values, y, count);
    printf("%g %g", (double)load(y, 1)[0], all / (4 * count));
    free(x), free(slopes), free(y), free(values), free(sums);
    return 0;
}
"""


def run(folder, code, main, constants, more=None):
    """Compile and run with the sanitizers; return what is printed."""
    try:
        command = compiler().command
    except CoppiceError as error:
        pytest.skip(str(error))
    head = "".join(f"#define {name} {value}\n" for name, value in constants.items())
    source = head + code + THREADS + main
    (folder / "main.c").write_text(source)
    (folder / "vectors.h").write_text(files("coppice.native").joinpath("vectors.h").read_text())
    (folder / "transforms.h").write_text(more or "")
    built = subprocess.run(
        [command, *SANITIZED.split(), "main.c", "-o", "main"], cwd=folder, capture_output=True, text=True, check=False
    )
    if "cannot find" in built.stderr:
        pytest.skip("the compiler has no sanitizers")
    assert built.returncode == 0, built.stderr
    done = subprocess.run(["./main"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("channels", "filters", "taps", "tiles", "half"), [(3, 5, 7, 3, 1), (16, 24, 3, 4, 0), (17, 16, 5, 2, 1)]
)
def test_convolutions_stay_within_their_arrays(channels, filters, taps, tiles, half, tmp_path):
    code = files("coppice.training.winograd").joinpath("convolution.c").read_text()
    constants = {"CHANNELS_IN": channels, "CHANNELS_OUT": filters, "TILES": tiles, "HALF": half, "LANES": lanes()}
    found = run(tmp_path, code, CONVOLUTION, constants, coefficients(transforms(taps), taps))
    # Weights are 0, so that outputs are the bias, and the slope of the bias is the sum of those.
    assert found == f"2 {2 * 2 * 6 * 13}"


@pytest.mark.parametrize(("channels", "half"), [(11, 1), (16, 0), (24, 1), (1, 0)])
def test_normalisations_stay_within_their_arrays(channels, half, tmp_path):
    code = files("coppice.training.batch_norm").joinpath("batch_norm.c").read_text()
    found = run(tmp_path, code, NORMALISATION, {"CHANNELS": channels, "HALF": half, "LANES": lanes()})
    # Factors are 0, and all numbers 1: so are their squares, slopes and products.
    assert found == "0 1"
