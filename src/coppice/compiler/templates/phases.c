/* Copies of a value with zeros around it, each of the rows and frames that are one stride apart: what a convolution that
   leaves some out reads then lies side by side. */
struct phases {
  int down, across; /* strides */
  int tall, wide;   /* phases of rows, and of frames */
  int rows, row;    /* of a copy; numbers from row to row */
  int gap;          /* zeros after a copy */
  int top, left;    /* zeros before */
};
typedef int32_t __attribute__((may_alias)) word; /* a number or a cell: it is only copied */

/* Vectors that end beyond a row write what the next row, or nobody, needs; so rows are written in order. */
static void part(const struct phases *s, const struct value *u, const void *given, void *parts, int32_t nothing) {
  const lanes none = (lanes){0} + nothing;
  const int row = s->row, across = s->across;
  word *out = parts;
  for (int c = 0; c < u->channels; c++)
    for (int i = 0; i < s->tall; i++)
      for (int k = 0; k < s->wide; k++) {
        /* Zeros, numbers and zeros: the first number of a row is number `first` of the value's. */
        const int before = s->left > k ? (s->left - k + across - 1) / across : 0, first = before * across + k - s->left;
        const int there = first < u->frames ? (u->frames - first + across - 1) / across : 0;
        const int begin = before < row ? before : row, end = before + there < row ? before + there : row;
        for (int r = 0, y = i - s->top; r < s->rows; r++, y += s->down, out += row) {
          int x = 0;
          if (y >= 0 && y < u->rows && begin < end) {
            const word *at = (const word *)given + c * u->channel + u->first + y * u->row + first;
            for (; x < begin; x++)
              out[x] = nothing;
            if (across == 2)
              for (; x < end; x += LANES, at += 2 * LANES)
                STORE_LANES(out + x, EVERY_SECOND(LOAD_LANES(at), LOAD_LANES(at + LANES)));
            else if (across == 1)
              for (; x < end; x += LANES, at += LANES)
                STORE_LANES(out + x, LOAD_LANES(at));
            else
              for (; x < end; x++, at += across)
                out[x] = *at;
            x = end;
          }
          for (; x < row; x += LANES)
            STORE_LANES(out + x, none);
        }
        for (int x = 0; x < s->gap; x += LANES)
          STORE_LANES(out + x, none);
        out += s->gap;
      }
}
