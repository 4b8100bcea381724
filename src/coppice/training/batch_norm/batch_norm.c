/* The passes of batch normalisation over numbers that lie channels last.

   Who compiles this sets CHANNELS, LANES and HALF. Vectors lie across the channels of as many places as it takes until
   they begin anew with channel 0: a round is ROUND vectors, whatever the number of channels. */

#include "vectors.h"

enum {
    SMALLER = CHANNELS & -CHANNELS,
    SHARED = SMALLER < LANES ? SMALLER : LANES, /* the greatest common divisor: LANES is a power of two */
    ROUND = CHANNELS / SHARED,
    SIZE = ROUND * LANES,
    /* So many rounds are summed up in float32 before they are added in float64. */
    BLOCK = 256
};

struct work {
    const number *x, *slopes;
    const float *first, *second, *third;
    number *y;
    double *sums;
    int64_t count;
};

/* Rounds of a thread. The last thread has what is left of one after them, too. */
struct part {
    int64_t begin, end;
    int rest;
};

static struct part own_part(const struct work *work)
{
    int64_t thread = omp_get_thread_num(), threads = omp_get_num_threads(), rounds = work->count / SIZE;
    struct part part = {rounds * thread / threads, rounds * (thread + 1) / threads, 0};
    part.rest = thread == threads - 1 && work->count % SIZE != 0;
    return part;
}

/* How many numbers there are in the vector that begins at a place. */
static int left(const struct work *work, int64_t at)
{
    int64_t count = work->count - at;
    return count >= LANES ? LANES : count > 0 ? (int)count : 0;
}

/* Vector i of a round. Squares: the sums of x - first, and of its square; else those of slopes, and of slopes times
   x - first. Lanes that hold no number add nothing. */
INLINE void add(const struct work *work, int64_t at, int i, int count, int squares, floats *sum, floats *product)
{
    floats value = load(work->x + at, count) - load_floats(work->first + i * LANES);
    floats factor = squares ? value : load(work->slopes + at, count);
    for (int lane = count; lane < LANES; lane++)
        factor[lane] = 0.0f;
    *sum += factor;
    *product += factor * value;
}

static void add_block(double *sums, floats *sum, floats *product)
{
    for (int i = 0; i < ROUND; i++) {
        floats zero = {0};
        for (int lane = 0; lane < LANES; lane++) {
            sums[i * LANES + lane] += sum[i][lane];
            sums[SIZE + i * LANES + lane] += product[i][lane];
        }
        sum[i] = product[i] = zero;
    }
}

INLINE void add_all(const struct work *work, int squares)
{
    struct part part = own_part(work);
    double *sums = work->sums + 2 * SIZE * (int64_t)omp_get_thread_num();
    floats sum[ROUND] = {{0}}, product[ROUND] = {{0}};
    for (int64_t round = part.begin; round < part.end;) {
        int64_t end = round + BLOCK < part.end ? round + BLOCK : part.end;
        for (; round < end; round++)
            for (int i = 0; i < ROUND; i++)
                add(work, round * SIZE + i * LANES, i, LANES, squares, &sum[i], &product[i]);
        add_block(sums, sum, product);
    }
    for (int i = 0; i < ROUND * part.rest; i++) {
        int64_t at = part.end * SIZE + i * LANES;
        add(work, at, i, left(work, at), squares, &sum[i], &product[i]);
    }
    add_block(sums, sum, product);
}

/* Vector i of a round: first * x + second, or first * slopes + second * x + third. */
INLINE void scale(const struct work *work, int64_t at, int i, int count, int slopes)
{
    floats x = load(work->x + at, count);
    floats first = load_floats(work->first + i * LANES), second = load_floats(work->second + i * LANES);
    if (slopes)
        x = first * load(work->slopes + at, count) + (second * x + load_floats(work->third + i * LANES));
    else
        x = first * x + second;
    store(work->y + at, count, x);
}

INLINE void scale_all(const struct work *work, int slopes)
{
    struct part part = own_part(work);
    for (int64_t round = part.begin; round < part.end; round++)
        for (int i = 0; i < ROUND; i++)
            scale(work, round * SIZE + i * LANES, i, LANES, slopes);
    for (int i = 0; i < ROUND * part.rest; i++) {
        int64_t at = part.end * SIZE + i * LANES;
        scale(work, at, i, left(work, at), slopes);
    }
}

static void sum_part(void *work)
{
    add_all(work, 1);
}

static void sum_slopes_part(void *work)
{
    add_all(work, 0);
}

static void normalise_part(void *work)
{
    scale_all(work, 0);
}

static void slope_part(void *work)
{
    scale_all(work, 1);
}

/* Numbers in a round: values of a channel are given for each of them, and sums are, too, and for each thread. */
int round_size(void)
{
    return SIZE;
}

/* Sums of x - about, and then of its square. */
void sum(int threads, const void *x, const float *about, double *sums, int64_t count)
{
    struct work work = {.x = x, .first = about, .sums = sums, .count = count};
    GOMP_parallel(sum_part, &work, (unsigned)threads, 0);
}

/* Sums of slopes, and then of slopes times x - about. */
void sum_slopes(int threads, const void *x, const void *slopes, const float *about, double *sums, int64_t count)
{
    struct work work = {.x = x, .slopes = slopes, .first = about, .sums = sums, .count = count};
    GOMP_parallel(sum_slopes_part, &work, (unsigned)threads, 0);
}

/* y = factor * x + offset */
void normalise(int threads, const void *x, const float *factor, const float *offset, void *y, int64_t count)
{
    struct work work = {.x = x, .first = factor, .second = offset, .y = y, .count = count};
    GOMP_parallel(normalise_part, &work, (unsigned)threads, 0);
}

/* y = by_slope * slopes + by_number * x + offset */
void slope(int threads, const void *x, const void *slopes, const float *by_slope, const float *by_number,
           const float *offset, void *y, int64_t count)
{
    struct work work = {.x = x, .slopes = slopes, .y = y, .count = count};
    work.first = by_slope, work.second = by_number, work.third = offset;
    GOMP_parallel(slope_part, &work, (unsigned)threads, 0);
}
