/* Each unit: a weight for every number of the value, unit after unit. */
static void dense(const float *weight, const float *bias, const struct activation *then, const struct value *u,
                  const float *in, const struct value *v, float *out) {
  for (int n = 0; n < v->channels; n++) {
    float sum = bias[n];
    for (int c = 0; c < u->channels; c++)
      for (int y = 0; y < u->rows; y++)
        for (int x = 0; x < u->frames; x++)
          sum += in[c * u->channel + u->first + y * u->row + x] * *weight++;
    activate(&sum, 1, then);
    out[n * v->channel + v->first] = sum;
  }
}
