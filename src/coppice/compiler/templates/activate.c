static inline float clipped(float x, float low, float high) {
  x = x < low ? low : x;
  return x > high ? high : x;
}

/* 1 / x for x above 0: a guess from the exponent, three times bettered, is faster than a division of vectors. */
static inline float inverse(float x) {
  union {
    float number;
    uint32_t bits;
  } guess = {x};
  guess.bits = 0x7EF311C7u - guess.bits;
  float y = guess.number;
  y = y * (2.0f - x * y);
  y = y * (2.0f - x * y);
  return y * (2.0f - x * y);
}

/* A fraction of two polynomials, within 1e-6 of tanh: the same on every processor, and in every lane of a vector. */
static inline float tanh_of(float given) {
  const float x = clipped(given, -7.6f, 7.6f), s = x * x;
  float p = s * -6.50359011e-09f + 7.34815831e-06f;
  p = s * p + 0.00271950872f;
  p = s * p + 0.127341926f;
  p = s * p + 0.999999404f;
  float q = s * 0.000199806731f + 0.0229463857f;
  q = s * q + 0.460672945f;
  q = s * q + 1.0f;
  return x * p * inverse(q);
}

static inline float hard_sigmoid_of(float x) { return clipped(x * (1.0f / 6.0f) + 0.5f, 0.0f, 1.0f); }

static void activate(float *x, long numbers, const struct activation *to) {
  const float low = to->low, high = to->high;
  switch (to->kind) {
  case TANH:
    for (long i = 0; i < numbers; i++)
      x[i] = tanh_of(x[i]);
    break;
  case SIGMOID:
    for (long i = 0; i < numbers; i++)
      x[i] = 0.5f * tanh_of(0.5f * x[i]) + 0.5f;
    break;
  case HARD_SWISH:
    for (long i = 0; i < numbers; i++)
      x[i] *= hard_sigmoid_of(x[i]);
    break;
  case HARD_SIGMOID:
    for (long i = 0; i < numbers; i++)
      x[i] = hard_sigmoid_of(x[i]);
    break;
  default:
    for (long i = 0; i < numbers; i++)
      x[i] = clipped(x[i], low, high);
  }
}
