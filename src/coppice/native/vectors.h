/* Vectors of LANES float32 numbers, read from and written to float32 or, with HALF, bfloat16; and PyTorch's threads. */

#include <stdint.h>
#include <string.h>

typedef float floats __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));

#define UNROLL _Pragma("GCC unroll 16")
#define INLINE static inline __attribute__((always_inline))

#if HALF
typedef uint16_t number;
typedef uint16_t numbers __attribute__((vector_size(2 * LANES)));

INLINE floats wide(numbers given)
{
    return (floats)(__builtin_convertvector(given, ints) << 16);
}

/* Round to the nearest, half to even; what is no number stays none. */
INLINE numbers narrow(floats value)
{
    ints bits = (ints)value, real = value == value;
    bits = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return __builtin_convertvector((bits & real) | (0x7fc0 & ~real), numbers);
}
#else
typedef float number;
typedef floats numbers;

INLINE floats wide(numbers given)
{
    return given;
}

INLINE numbers narrow(floats value)
{
    return value;
}
#endif

/* The first `count` of LANES numbers; the others are 0. */
INLINE floats load(const number *place, int count)
{
    numbers given = {0};
    if (count == LANES)
        memcpy(&given, place, sizeof given);
    else
        memcpy(&given, place, (size_t)count * sizeof(number));
    return wide(given);
}

INLINE void store(number *place, int count, floats value)
{
    numbers given = narrow(value);
    if (count == LANES)
        memcpy(place, &given, sizeof given);
    else
        memcpy(place, &given, (size_t)count * sizeof(number));
}

INLINE floats load_floats(const float *place)
{
    floats given;
    memcpy(&given, place, sizeof given);
    return given;
}

INLINE void store_floats(float *place, floats value)
{
    memcpy(place, &value, sizeof value);
}

/* OpenMP as PyTorch has loaded it into the process. */
void GOMP_parallel(void (*function)(void *), void *given, unsigned threads, unsigned flags);
int omp_get_thread_num(void);
int omp_get_num_threads(void);
