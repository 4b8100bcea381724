/* Write what means 0 around a value, which convolutions read. */
static void border_cells(const struct value *v, cell *x, cell zeros) {
  const long last = v->first + v->rows * v->row;
  for (int c = 0; c < v->channels; c++, x += v->channel) {
    for (long i = 0; i < v->first; i++)
      x[i] = zeros;
    for (int y = 0; y < v->rows; y++)
      for (long i = v->first + y * v->row + v->frames; i < v->first + (y + 1) * v->row; i++)
        x[i] = zeros;
    for (long i = last; i < v->channel; i++)
      x[i] = zeros;
  }
}
