/* Write what some rows hold at most, or in all, frame by frame. */
static void together(const struct pooling *p, const float *in, long row, int rows, float *line) {
  for (int x = 0; x < p->frames; x++)
    line[x] = in[x];
  for (int r = 1; r < rows; r++) {
    in += row;
    if (p->largest)
      for (int x = 0; x < p->frames; x++)
        line[x] = line[x] < in[x] ? in[x] : line[x];
    else
      for (int x = 0; x < p->frames; x++)
        line[x] += in[x];
  }
}
