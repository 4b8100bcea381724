/* Convolutions of a training step by Winograd's minimal filtering, four by four outputs at a time.

   A tile of numbers goes to points, the numbers of a point are multiplied with its weights as matrices are, and what
   comes out goes back to a tile of outputs. Numbers lie channels last, so that a vector holds channels of one place and
   every transform is a few operations on whole vectors.

   Who compiles this sets CHANNELS_IN, CHANNELS_OUT, LANES, TILES (side by side, done at once), HALF (bfloat16 in place
   of float32), and gives the coefficients of the transforms in transforms.h. */

#include "transforms.h"
#include "vectors.h"

enum {
    SQUARE = POINTS * POINTS,
    BEFORE = (TAPS - 1) / 2,
    COLUMNS = OUTPUTS * TILES + TAPS - 1,
    PARTS_IN = (CHANNELS_IN + LANES - 1) / LANES,
    PARTS_OUT = (CHANNELS_OUT + LANES - 1) / LANES,
    PADDED_OUT = PARTS_OUT * LANES,
    SUMS = (SQUARE * CHANNELS_IN + 1) * PADDED_OUT, /* of weights as points, and of bias */
    /* Tiles that are multiplied at a time: enough that no product waits for the one before, as far as there are
       registers, and about as many every time. */
    MOST = LANES == 16 ? 5 : 8,
    GROUPS = (TILES + MOST - 1) / MOST,
    GROUP = (TILES + GROUPS - 1) / GROUPS
};

/* Points of POINTS numbers in a row: those of a pair share all products. */
INLINE void to_points(const floats x[POINTS], floats points[POINTS])
{
    floats zero = x[0] * AT_ZERO[0], infinity = x[1] * AT_INFINITY[0];
    UNROLL
    for (int i = 1; i <= PAIRS; i++) {
        zero += x[2 * i] * AT_ZERO[i];
        infinity += x[2 * i + 1] * AT_INFINITY[i];
    }
    points[0] = zero;
    points[POINTS - 1] = infinity;
    UNROLL
    for (int pair = 0; pair < PAIRS; pair++) {
        floats even = x[2] * EVEN[pair][0], odd = x[1] * ODD[pair][0];
        UNROLL
        for (int i = 1; i < PAIRS; i++) {
            even += x[2 * i + 2] * EVEN[pair][i];
            odd += x[2 * i + 1] * ODD[pair][i];
        }
        points[2 * pair + 1] = even + odd;
        points[2 * pair + 2] = even - odd;
    }
}

/* OUTPUTS sums of points: the outputs of a row. */
INLINE void from_points(const floats points[POINTS], floats y[OUTPUTS])
{
    floats sum[PAIRS], difference[PAIRS];
    UNROLL
    for (int pair = 0; pair < PAIRS; pair++) {
        sum[pair] = points[2 * pair + 1] + points[2 * pair + 2];
        difference[pair] = points[2 * pair + 1] - points[2 * pair + 2];
    }
    UNROLL
    for (int i = 0; i < OUTPUTS; i++) {
        y[i] = (i % 2 ? difference : sum)[0] * POWER[i][0];
        UNROLL
        for (int pair = 1; pair < PAIRS; pair++)
            y[i] += (i % 2 ? difference : sum)[pair] * POWER[i][pair];
    }
    y[0] += points[0];
    y[OUTPUTS - 1] += points[POINTS - 1];
}

/* The transpose of from_points: what slopes of outputs mean for the points. */
INLINE void slopes_to_points(const floats slopes[OUTPUTS], floats points[POINTS])
{
    points[0] = slopes[0];
    points[POINTS - 1] = slopes[OUTPUTS - 1];
    UNROLL
    for (int pair = 0; pair < PAIRS; pair++) {
        floats even = slopes[0] * POWER[0][pair], odd = slopes[1] * POWER[1][pair];
        UNROLL
        for (int i = 2; i < OUTPUTS; i += 2) {
            even += slopes[i] * POWER[i][pair];
            odd += slopes[i + 1] * POWER[i + 1][pair];
        }
        points[2 * pair + 1] = even + odd;
        points[2 * pair + 2] = even - odd;
    }
}

/* What every thread is given. */
struct work {
    const number *x, *slopes;
    const float *weights, *bias;
    number *y;
    double *sums;
    char *memory;
    int64_t images, height, width;
};

/* The work memory of a thread. */
struct memory {
    floats strip[POINTS * COLUMNS];
    floats inputs[SQUARE * PARTS_IN * TILES];
    floats outputs[SQUARE * PARTS_OUT * TILES];
    float sums[SUMS]; /* of one image */
};

/* A row of tiles, and the next one with every call of `next`. */
struct tiles {
    int64_t unit, end, image, top, left;
};

/* Channels of a place in one vector. */
INLINE int channels_of(int part, int channels)
{
    return (part + 1) * LANES <= channels ? LANES : channels % LANES;
}

static int64_t units(const struct work *work)
{
    int64_t down = (work->height + OUTPUTS - 1) / OUTPUTS;
    return work->images * down * ((work->width + OUTPUTS * TILES - 1) / (OUTPUTS * TILES));
}

static struct tiles first(const struct work *work, int thread, int threads)
{
    struct tiles tiles = {.unit = units(work) * thread / threads - 1, .end = units(work) * (thread + 1) / threads};
    return tiles;
}

static int next(const struct work *work, struct tiles *tiles)
{
    int64_t down = (work->height + OUTPUTS - 1) / OUTPUTS;
    int64_t across = (work->width + OUTPUTS * TILES - 1) / (OUTPUTS * TILES);
    tiles->unit++;
    tiles->image = tiles->unit / (down * across);
    tiles->top = tiles->unit / across % down * OUTPUTS;
    tiles->left = tiles->unit % across * OUTPUTS * TILES;
    return tiles->unit < tiles->end;
}

static void read_inputs(const struct work *work, const struct tiles *tiles, struct memory *memory)
{
    const number *image = work->x + tiles->image * work->height * work->width * CHANNELS_IN;
    for (int part = 0; part < PARTS_IN; part++) {
        for (int column = 0; column < COLUMNS; column++) {
            int64_t frame = tiles->left - BEFORE + column;
            floats x[POINTS], points[POINTS], zero = {0};
            UNROLL
            for (int i = 0; i < POINTS; i++) {
                int64_t band = tiles->top - BEFORE + i, place = band * work->width + frame;
                int inside = frame >= 0 && frame < work->width && band >= 0 && band < work->height;
                int channels = channels_of(part, CHANNELS_IN);
                x[i] = inside ? load(image + place * CHANNELS_IN + part * LANES, channels) : zero;
            }
            to_points(x, points);
            UNROLL
            for (int i = 0; i < POINTS; i++)
                memory->strip[i * COLUMNS + column] = points[i];
        }
        for (int i = 0; i < POINTS; i++)
            for (int tile = 0; tile < TILES; tile++) {
                floats points[POINTS];
                to_points(memory->strip + i * COLUMNS + OUTPUTS * tile, points);
                UNROLL
                for (int j = 0; j < POINTS; j++)
                    memory->inputs[((i * POINTS + j) * PARTS_IN + part) * TILES + tile] = points[j];
            }
    }
}

static void read_slopes(const struct work *work, const struct tiles *tiles, struct memory *memory)
{
    const number *image = work->slopes + tiles->image * work->height * work->width * CHANNELS_OUT;
    for (int part = 0; part < PARTS_OUT; part++) {
        floats all = {0};
        for (int tile = 0; tile < TILES; tile++) {
            floats rows[POINTS][OUTPUTS];
            for (int column = 0; column < OUTPUTS; column++) {
                int64_t frame = tiles->left + tile * OUTPUTS + column;
                floats slopes[OUTPUTS], points[POINTS], zero = {0};
                UNROLL
                for (int i = 0; i < OUTPUTS; i++) {
                    int64_t band = tiles->top + i, place = band * work->width + frame;
                    int inside = frame < work->width && band < work->height;
                    int channels = channels_of(part, CHANNELS_OUT);
                    slopes[i] = inside ? load(image + place * CHANNELS_OUT + part * LANES, channels) : zero;
                    all += slopes[i];
                }
                slopes_to_points(slopes, points);
                UNROLL
                for (int i = 0; i < POINTS; i++)
                    rows[i][column] = points[i];
            }
            for (int i = 0; i < POINTS; i++) {
                floats points[POINTS];
                slopes_to_points(rows[i], points);
                UNROLL
                for (int j = 0; j < POINTS; j++)
                    memory->outputs[((i * POINTS + j) * PARTS_OUT + part) * TILES + tile] = points[j];
            }
        }
        for (int lane = 0; lane < LANES; lane++)
            memory->sums[SQUARE * CHANNELS_IN * PADDED_OUT + part * LANES + lane] += all[lane];
    }
}

/* `count` tiles from `tile` on at one point: products of their inputs and the weights, summed over the inputs. */
INLINE void multiply(const struct work *work, struct memory *memory, int point, int part, int tile, int count)
{
    const float *weights = work->weights + (int64_t)point * CHANNELS_IN * PADDED_OUT + part * LANES;
    floats sums[GROUP] = {{0}};
    for (int from = 0; from < PARTS_IN; from++) {
        const float *inputs = (const float *)(memory->inputs + (point * PARTS_IN + from) * TILES + tile);
        UNROLL
        for (int lane = 0; lane < LANES; lane++) {
            floats weight;
            if (from * LANES + lane >= CHANNELS_IN)
                break;
            weight = load_floats(weights + (from * LANES + lane) * PADDED_OUT);
            UNROLL
            for (int i = 0; i < count; i++)
                sums[i] += weight * inputs[i * LANES + lane];
        }
    }
    UNROLL
    for (int i = 0; i < count; i++)
        memory->outputs[(point * PARTS_OUT + part) * TILES + tile + i] = sums[i];
}

static void write_outputs(const struct work *work, const struct tiles *tiles, const struct memory *memory)
{
    number *image = work->y + tiles->image * work->height * work->width * CHANNELS_OUT;
    for (int part = 0; part < PARTS_OUT; part++) {
        floats bias = load_floats(work->bias + part * LANES);
        for (int tile = 0; tile < TILES && tiles->left + tile * OUTPUTS < work->width; tile++) {
            floats rows[POINTS][OUTPUTS];
            for (int i = 0; i < POINTS; i++) {
                floats points[POINTS];
                UNROLL
                for (int j = 0; j < POINTS; j++)
                    points[j] = memory->outputs[((i * POINTS + j) * PARTS_OUT + part) * TILES + tile];
                from_points(points, rows[i]);
            }
            for (int column = 0; column < OUTPUTS; column++) {
                int64_t frame = tiles->left + tile * OUTPUTS + column;
                floats points[POINTS], y[OUTPUTS];
                if (frame >= work->width)
                    break;
                UNROLL
                for (int i = 0; i < POINTS; i++)
                    points[i] = rows[i][column];
                from_points(points, y);
                UNROLL
                for (int i = 0; i < OUTPUTS; i++) {
                    int64_t band = tiles->top + i, place = band * work->width + frame;
                    int channels = channels_of(part, CHANNELS_OUT);
                    if (band < work->height)
                        store(image + place * CHANNELS_OUT + part * LANES, channels, y[i] + bias);
                }
            }
        }
    }
}

/* Products of inputs and slopes of all tiles at one point, added to the sums. */
INLINE void add_products(struct memory *memory, int point, int from, int part)
{
    const float *inputs = (const float *)(memory->inputs + (point * PARTS_IN + from) * TILES);
    const floats *slopes = memory->outputs + (point * PARTS_OUT + part) * TILES;
    float *place = memory->sums + (point * CHANNELS_IN + from * LANES) * PADDED_OUT + part * LANES;
    floats kept[LANES] = {{0}};
    UNROLL
    for (int lane = 0; lane < LANES; lane++)
        if (from * LANES + lane < CHANNELS_IN)
            kept[lane] = load_floats(place + lane * PADDED_OUT);
    for (int tile = 0; tile < TILES; tile++) {
        UNROLL
        for (int lane = 0; lane < LANES; lane++)
            kept[lane] += slopes[tile] * inputs[tile * LANES + lane];
    }
    UNROLL
    for (int lane = 0; lane < LANES; lane++)
        if (from * LANES + lane < CHANNELS_IN)
            store_floats(place + lane * PADDED_OUT, kept[lane]);
}

static void convolve_tiles(void *given)
{
    const struct work *work = given;
    struct memory *memory = (struct memory *)work->memory + omp_get_thread_num();
    struct tiles tiles = first(work, omp_get_thread_num(), omp_get_num_threads());
    while (next(work, &tiles)) {
        read_inputs(work, &tiles, memory);
        for (int point = 0; point < SQUARE; point++)
            for (int part = 0; part < PARTS_OUT; part++) {
                for (int tile = 0; tile + GROUP <= TILES; tile += GROUP)
                    multiply(work, memory, point, part, tile, GROUP);
                if (TILES % GROUP)
                    multiply(work, memory, point, part, TILES - TILES % GROUP, TILES % GROUP);
            }
        write_outputs(work, &tiles, memory);
    }
}

/* Images are added in float64, or the last digits would go with the size of the batch. */
static void add_image(struct memory *memory, double *sums)
{
    for (int i = 0; i < SUMS; i++)
        sums[i] += memory->sums[i];
    memset(memory->sums, 0, sizeof memory->sums);
}

static void weigh_tiles(void *given)
{
    const struct work *work = given;
    struct memory *memory = (struct memory *)work->memory + omp_get_thread_num();
    double *sums = work->sums + (int64_t)omp_get_thread_num() * SUMS;
    struct tiles tiles = first(work, omp_get_thread_num(), omp_get_num_threads());
    int64_t image = -1;
    memset(memory->sums, 0, sizeof memory->sums);
    while (next(work, &tiles)) {
        if (tiles.image != image)
            add_image(memory, sums);
        image = tiles.image;
        read_inputs(work, &tiles, memory);
        read_slopes(work, &tiles, memory);
        for (int point = 0; point < SQUARE; point++)
            for (int from = 0; from < PARTS_IN; from++)
                for (int part = 0; part < PARTS_OUT; part++)
                    add_products(memory, point, from, part);
    }
    add_image(memory, sums);
}

/* Memory that a thread works in. */
int64_t memory_bytes(void)
{
    return sizeof(struct memory);
}

/* y = x * weights + bias. Weights lie by point, input and output; they and bias have PADDED_OUT outputs. */
void convolve(int threads, const void *x, const float *weights, const float *bias, void *y, void *memory,
              int64_t images, int64_t height, int64_t width)
{
    struct work work = {.x = x, .weights = weights, .bias = bias, .y = y, .memory = memory};
    work.images = images, work.height = height, work.width = width;
    GOMP_parallel(convolve_tiles, &work, (unsigned)threads, 0);
}

/* Add up what weights, and after them bias, have done to slopes: sums of every thread, which lie as those do. */
void weigh(int threads, const void *x, const void *slopes, double *sums, void *memory, int64_t images, int64_t height,
           int64_t width)
{
    struct work work = {.x = x, .slopes = slopes, .sums = sums, .memory = memory};
    work.images = images, work.height = height, work.width = width;
    GOMP_parallel(weigh_tiles, &work, (unsigned)threads, 0);
}
