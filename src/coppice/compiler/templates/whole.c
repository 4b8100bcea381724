/* Multiplication by a ratio in 32 bits: cut, shorten, multiply, shorten. */
struct rescaling {
  int32_t limit, before, factor, after;
};
