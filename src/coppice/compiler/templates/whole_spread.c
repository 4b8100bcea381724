/* As spread, of cells; `zeros` means 0. */
static void spread_cells(const struct spread *s, const struct value *u, const cell *in, cell *out, cell zeros) {
  for (int c = 0; c < u->channels; c++)
    for (int y = 0; y < (int)(s->channel / (s->phases * s->row)); y++)
      for (int p = 0; p < s->phases; p++, out += s->row) {
        const cell *from = in + c * u->channel + u->first + (y - s->top) * u->row;
        const int outside = y < s->top || y >= s->top + u->rows;
        for (int i = 0; i < s->row; i++) {
          const int x = i * s->phases + p - s->left;
          out[i] = outside || x < 0 || x >= u->frames ? zeros : from[x];
        }
      }
}
