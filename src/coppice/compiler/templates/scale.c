/* out = factor * in + offset, with numbers of each channel and row. */
static void scale(const struct value *s, const float *in, const float *factor, const float *offset,
                  const struct activation *then, const struct value *v, float *out) {
  for (int c = 0; c < v->channels; c++)
    for (int y = 0; y < v->rows; y++) {
      const float *from = in + c * s->channel + s->first + y * s->row;
      float *to = out + c * v->channel + v->first + y * v->row;
      const float by = factor[c * v->rows + y], plus = offset[c * v->rows + y];
      for (int x = 0; x < v->frames; x++)
        to[x] = by * from[x] + plus;
      activate(to, v->frames, then);
    }
}
