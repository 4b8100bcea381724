/* Pool rows of one channel; `line` holds one row of what is pooled. */
static void pool(const struct pooling *p, const float *in, long row, int rows, int frames, float *out, long out_row,
                 float *line) {
  for (int y = 0; y < rows; y++) {
    const int begin = y * p->down - p->top, end = begin + p->high;
    const int from = begin < 0 ? 0 : begin, to = end > p->rows ? p->rows : end;
    for (int x = 0; x < p->frames; x++)
      line[x] = in[from * row + x];
    for (int r = from + 1; r < to; r++) {
      const float *next = in + r * row;
      if (p->largest)
        for (int x = 0; x < p->frames; x++)
          line[x] = line[x] < next[x] ? next[x] : line[x];
      else
        for (int x = 0; x < p->frames; x++)
          line[x] += next[x];
    }
    for (int x = 0; x < frames; x++) {
      const int left = x * p->across - p->left, right = left + p->wide;
      const int first = left < 0 ? 0 : left, last = right > p->frames ? p->frames : right;
      float found = line[first];
      if (p->largest)
        for (int i = first + 1; i < last; i++)
          found = found < line[i] ? line[i] : found;
      else {
        for (int i = first + 1; i < last; i++)
          found += line[i];
        found /= p->count_all ? (float)(p->high * p->wide) : (float)((to - from) * (last - first));
      }
      out[y * out_row + x] = found;
    }
  }
}
