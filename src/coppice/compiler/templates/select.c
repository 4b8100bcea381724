/* Channels of a value in another order. */
static void select_channels(const int *order, const struct value *s, const float *in, const struct value *v, float *out) {
  for (int c = 0; c < v->channels; c++)
    for (int y = 0; y < v->rows; y++)
      for (int x = 0; x < v->frames; x++)
        out[c * v->channel + v->first + y * v->row + x] = in[order[c] * s->channel + s->first + y * s->row + x];
}
