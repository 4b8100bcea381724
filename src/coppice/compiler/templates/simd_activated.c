HELPER vector activated(vector x, const struct activation *to) {
  switch (to->kind) {
  case TANH:
    return tanh_of(x);
  case SIGMOID:
    return sigmoid_of(x);
  case HARD_SWISH:
    return hard_swish_of(x);
  case HARD_SIGMOID:
    return hard_sigmoid_of(x);
  default:
    return clipped(x, to->low, to->high);
  }
}
