/* Copy a value with zeros around it so that frames `phases` apart stand side by side, each phase in a row of its own. */
static void spread(const struct spread *s, const struct value *u, const float *in, float *out) {
  for (int c = 0; c < u->channels; c++)
    for (int y = 0; y < (int)(s->channel / (s->phases * s->row)); y++)
      for (int p = 0; p < s->phases; p++, out += s->row) {
        const float *from = in + c * u->channel + u->first + (y - s->top) * u->row;
        const int outside = y < s->top || y >= s->top + u->rows;
        for (int i = 0; i < s->row; i++) {
          const int x = i * s->phases + p - s->left;
          out[i] = outside || x < 0 || x >= u->frames ? 0.0f : from[x];
        }
      }
}
