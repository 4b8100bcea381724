/* Each unit: a weight for every number of the value. Units stand 16 side by side, number after number. */
static void dense(const float *weight, const float *bias, const struct activation *then, const struct value *u,
                  const float *in, const struct value *v, float *out) {
  for (int n = 0; n < v->channels; n += 16) {
    float found[16];
    vector sum[16 / LANES];
    for (int i = 0; i < 16 / LANES; i++)
      sum[i] = LOAD(bias + n + i * LANES);
    for (int c = 0; c < u->channels; c++)
      for (int y = 0; y < u->rows; y++)
        for (int x = 0; x < u->frames; x++, weight += 16) {
          const float number = in[c * u->channel + u->first + y * u->row + x];
          for (int i = 0; i < 16 / LANES; i++)
            sum[i] += LOAD(weight + i * LANES) * number;
        }
    for (int i = 0; i < 16 / LANES; i++)
      STORE(found + i * LANES, sum[i]);
    activate(found, 16, then);
    for (int i = 0; i < 16 && n + i < v->channels; i++)
      out[(n + i) * v->channel + v->first] = found[i];
  }
}
