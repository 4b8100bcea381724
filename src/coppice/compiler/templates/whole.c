/* Multiplication by a ratio in 32 bits: cut, shorten, multiply, shorten. */
struct rescaling {
  int32_t limit, before, factor, after;
};

static inline int32_t rescaled(int32_t total, const struct rescaling *r) {
  total = total > r->limit ? r->limit : total;
  total = total < -r->limit ? -r->limit : total;
  total = (total + (1 << r->before >> 1)) >> r->before;
  return (total * r->factor + (1 << r->after >> 1)) >> r->after;
}

static inline int limited(int x, int low, int high) { return x < low ? low : x > high ? high : x; }

/* What a number is as a byte that means 0 at `zero`, `steps` to 1. */
static inline uint8_t narrowed(float x, float steps, int zero, int low, int high) {
  const float byte = x * steps + ((float)zero + 0.5f);
  const float least = (float)low, most = (float)high + 0.5f;
  return (uint8_t)(int)(byte < least ? least : byte > most ? most : byte);
}
