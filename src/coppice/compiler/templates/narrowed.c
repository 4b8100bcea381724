/* What a number is as a byte that means 0 at `zero`, `steps` to 1. */
static inline uint8_t narrowed(float x, float steps, int zero, int low, int high) {
  const float byte = x * steps + ((float)zero + 0.5f);
  const float least = (float)low, most = (float)high + 0.5f;
  return (uint8_t)(int)(byte < least ? least : byte > most ? most : byte);
}
