/* Write the zeros around a value, which convolutions read. */
static void border(const struct value *v, float *x) {
  const long last = v->first + v->rows * v->row;
  for (int c = 0; c < v->channels; c++, x += v->channel) {
    for (long i = 0; i < v->first; i++)
      x[i] = 0.0f;
    for (int y = 0; y < v->rows; y++)
      for (long i = v->first + y * v->row + v->frames; i < v->first + (y + 1) * v->row; i++)
        x[i] = 0.0f;
    for (long i = last; i < v->channel; i++)
      x[i] = 0.0f;
  }
}
