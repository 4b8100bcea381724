static void pool_value(const struct pooling *p, const struct value *u, const float *in, const struct value *v, float *out,
                       float *line) {
  for (int c = 0; c < v->channels; c++)
    pool(p, in + c * u->channel + u->first, u->row, v->rows, v->frames, out + c * v->channel + v->first, v->row, line);
}
