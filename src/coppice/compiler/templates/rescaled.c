static inline int32_t rescaled(int32_t total, const struct rescaling *r) {
  total = total > r->limit ? r->limit : total;
  total = total < -r->limit ? -r->limit : total;
  total = (total + (1 << r->before >> 1)) >> r->before;
  return (total * r->factor + (1 << r->after >> 1)) >> r->after;
}

static inline int limited(int x, int low, int high) { return x < low ? low : x > high ? high : x; }
