/* Copy a value into a part of another. */
static void copy(const struct value *s, const float *in, const struct value *v, float *out, int channel, int top,
                 int left) {
  for (int c = 0; c < s->channels; c++)
    for (int y = 0; y < s->rows; y++) {
      const float *from = in + c * s->channel + s->first + y * s->row;
      float *to = out + (c + channel) * v->channel + v->first + (y + top) * v->row + left;
      for (int x = 0; x < s->frames; x++)
        to[x] = from[x];
    }
}
