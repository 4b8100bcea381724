/* One vector of frames: as wide as the processor's registers. */
#if defined(__AVX512F__)
#include <immintrin.h>
#define LANES 16
#define MANY_REGISTERS 1
#define LARGER(a, b) ((vector)_mm512_max_ps((__m512)(a), (__m512)(b)))
#define SMALLER(a, b) ((vector)_mm512_min_ps((__m512)(a), (__m512)(b)))
#elif defined(__AVX__)
#include <immintrin.h>
#define LANES 8
#define MANY_REGISTERS 0
#define LARGER(a, b) ((vector)_mm256_max_ps((__m256)(a), (__m256)(b)))
#define SMALLER(a, b) ((vector)_mm256_min_ps((__m256)(a), (__m256)(b)))
#elif defined(__aarch64__)
#include <arm_neon.h>
#define LANES 4
#define MANY_REGISTERS 1
#define LARGER(a, b) ((vector)vmaxq_f32((float32x4_t)(a), (float32x4_t)(b)))
#define SMALLER(a, b) ((vector)vminq_f32((float32x4_t)(a), (float32x4_t)(b)))
#else
#define LANES 4
#define MANY_REGISTERS 0
#define CHOSEN(mask, a, b) ((vector)(((mask) & (lanes)(a)) | (~(mask) & (lanes)(b))))
#define LARGER(a, b) CHOSEN((a) > (b), a, b)
#define SMALLER(a, b) CHOSEN((a) < (b), a, b)
#endif

typedef float vector __attribute__((vector_size(LANES * 4)));
typedef float unaligned __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
/* As many whole numbers of 32 bits: also cells of bytes, and floats that are only copied. */
typedef int32_t lanes __attribute__((vector_size(LANES * 4)));
typedef uint32_t unsigned_lanes __attribute__((vector_size(LANES * 4)));
typedef int32_t unaligned_lanes __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

#define LOAD(p) (*(const unaligned *)(p))
#define STORE(p, x) (*(unaligned *)(p) = (x))
#define LOAD_LANES(p) ((lanes)*(const unaligned_lanes *)(p))
#define STORE_LANES(p, x) (*(unaligned_lanes *)(p) = (x))
#define EVERY(x) ((x) - (vector){0})

/* Of two vectors of whole numbers one after the other, the first number, the third and so on. */
#if LANES == 16
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#elif LANES == 8
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14
#else
#define EVEN 0, 2, 4, 6
#endif
#if defined(__clang__) || __GNUC__ >= 12
#define EVERY_SECOND(a, b) __builtin_shufflevector(a, b, EVEN)
#else
#define EVERY_SECOND(a, b) __builtin_shuffle(a, b, (lanes){EVEN})
#endif

/* Not all networks need all of these. */
#define HELPER static inline __attribute__((unused))

HELPER vector clipped(vector x, float low, float high) {
  const vector least = EVERY(low), most = EVERY(high);
  x = LARGER(least, x);
  return SMALLER(most, x);
}
