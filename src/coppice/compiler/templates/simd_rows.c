/* Write what some rows hold at most, or in all, frame by frame. */
static void together(const struct pooling *p, const float *in, long row, int rows, float *line) {
  const int frames = p->frames;
  for (int x = 0; x < frames && frames < LANES; x++) {
    float found = in[x];
    for (int r = 1; r < rows; r++) {
      const float next = in[r * row + x];
      found = p->largest ? (found < next ? next : found) : found + next;
    }
    line[x] = found;
  }
  for (int x = 0; x < frames && frames >= LANES; x += LANES) {
    if (x > frames - LANES)
      x = frames - LANES; /* the last vector begins earlier, and some frames are done again */
    vector found = LOAD(in + x);
    if (p->largest)
      for (int r = 1; r < rows; r++)
        found = LARGER(LOAD(in + r * row + x), found);
    else
      for (int r = 1; r < rows; r++)
        found += LOAD(in + r * row + x);
    STORE(line + x, found);
  }
}
