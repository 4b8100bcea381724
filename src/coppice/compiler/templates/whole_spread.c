/* As spread, of cells; `zeros` means 0. */
static void spread_cells(const struct spread *s, const struct value *u, const cell *in, cell *out, cell zeros) {
  const int rows = (int)(s->channel / (s->phases * s->row));
  for (int c = 0; c < u->channels; c++)
    for (int y = 0; y < rows; y++)
      for (int p = 0; p < s->phases; p++, out += s->row) {
        for (long i = 0; i < s->row; i++)
          out[i] = zeros;
        if (y < s->top || y >= s->top + u->rows)
          continue;
        const cell *from = in + c * u->channel + u->first + (y - s->top) * u->row;
        const int before = s->left > p ? (s->left - p + s->phases - 1) / s->phases : 0;
        for (int i = before, x = before * s->phases + p - s->left; x < u->frames; i++, x += s->phases)
          out[i] = from[x];
      }
}
