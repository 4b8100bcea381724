/* What a window that lies within the line holds at most, or in all: in eight parts, which do not wait for each other. */
static inline float gathered(const float *line, int wide, int largest) {
  float found = line[0];
  int i = 1;
  if (wide >= 16) {
    float part[8];
    for (int k = 0; k < 8; k++)
      part[k] = line[k];
    for (i = 8; i + 8 <= wide; i += 8)
      for (int k = 0; k < 8; k++)
        part[k] = largest ? (part[k] < line[i + k] ? line[i + k] : part[k]) : part[k] + line[i + k];
    found = part[0];
    for (int k = 1; k < 8; k++)
      found = largest ? (found < part[k] ? part[k] : found) : found + part[k];
  }
  for (; i < wide; i++)
    found = largest ? (found < line[i] ? line[i] : found) : found + line[i];
  return found;
}

static inline void gather(const struct pooling *p, const float *line, int wide, float share, int frames, float *out) {
  if (p->largest)
    for (int x = 0; x < frames; x++)
      out[x] = gathered(line + x * p->across, wide, 1);
  else
    for (int x = 0; x < frames; x++)
      out[x] = gathered(line + x * p->across, wide, 0) * share;
}

/* Pool rows of one channel; `line` holds one row of what is pooled. */
static void pool(const struct pooling *p, const float *in, long row, int rows, int frames, float *out, long out_row,
                 float *line) {
  for (int y = 0; y < rows; y++, out += out_row) {
    const int begin = y * p->down - p->top, end = begin + p->high;
    const int from = begin < 0 ? 0 : begin, to = end > p->rows ? p->rows : end;
    together(p, in + from * row, row, to - from, line);
    const int whole = p->left == 0 && (frames - 1) * p->across + p->wide <= p->frames;
    const float share = 1.0f / (float)((p->count_all ? p->high : to - from) * p->wide);
    if (whole)
      switch (p->wide) { /* loops of a known length are unrolled */
      case 1:
        gather(p, line, 1, share, frames, out);
        break;
      case 2:
        gather(p, line, 2, share, frames, out);
        break;
      case 3:
        gather(p, line, 3, share, frames, out);
        break;
      case 4:
        gather(p, line, 4, share, frames, out);
        break;
      case 5:
        gather(p, line, 5, share, frames, out);
        break;
      default:
        gather(p, line, p->wide, share, frames, out);
      }
    else
      for (int x = 0; x < frames; x++) {
        const int left = x * p->across - p->left, right = left + p->wide;
        const int first = left < 0 ? 0 : left, last = right > p->frames ? p->frames : right;
        const float found = gathered(line + first, last - first, p->largest);
        const int numbers = p->count_all ? p->high * p->wide : (to - from) * (last - first);
        out[x] = p->largest ? found : found * (1.0f / (float)numbers);
      }
  }
}
