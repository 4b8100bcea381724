/* Copy a value with zeros around it so that frames `phases` apart stand side by side, each phase in a row of its own. */
static void spread(const struct spread *s, const struct value *u, const float *in, float *out) {
  const int rows = (int)(s->channel / (s->phases * s->row));
  for (int c = 0; c < u->channels; c++)
    for (int y = 0; y < rows; y++)
      for (int p = 0; p < s->phases; p++, out += s->row) {
        for (long i = 0; i < s->row; i++)
          out[i] = 0.0f;
        if (y < s->top || y >= s->top + u->rows)
          continue;
        const float *from = in + c * u->channel + u->first + (y - s->top) * u->row;
        const int before = s->left > p ? (s->left - p + s->phases - 1) / s->phases : 0;
        for (int i = before, x = before * s->phases + p - s->left; x < u->frames; i++, x += s->phases)
          out[i] = from[x];
      }
}
