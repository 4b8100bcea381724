/* The largest bytes of rows of one channel, or of the four channels of a cell. */
static void pool_bytes(const struct pooling *p, const uint8_t *in, long row, int rows, int frames, uint8_t *out,
                       long out_row, uint8_t *line) {
  const int side = (int)sizeof(cell);
  for (int y = 0; y < rows; y++, out += out_row * side) {
    const int begin = y * p->down - p->top, end = begin + p->high;
    const int from = begin < 0 ? 0 : begin, to = end > p->rows ? p->rows : end;
    for (int i = 0; i < p->frames * side; i++)
      line[i] = in[from * row * side + i];
    for (int r = from + 1; r < to; r++)
      for (int i = 0; i < p->frames * side; i++) {
        const uint8_t next = in[r * row * side + i];
        line[i] = line[i] < next ? next : line[i];
      }
    for (int x = 0; x < frames; x++) {
      const int left = x * p->across - p->left, right = left + p->wide;
      const int first = left < 0 ? 0 : left, last = right > p->frames ? p->frames : right;
      for (int k = 0; k < side; k++) {
        uint8_t found = line[first * side + k];
        for (int i = first + 1; i < last; i++)
          found = found < line[i * side + k] ? line[i * side + k] : found;
        out[x * side + k] = found;
      }
    }
  }
}
