struct whole_dense {
  const int8_t *weight; /* unit after unit */
  const int32_t *bias;
  const struct rescaling *to;
  const float *scale;
  int channels, units, zero, low, high;
  float least, most;
};

/* What a unit finds in all bytes of a value; `bytes` is where they can be put side by side. What their zero adds is off
   the bias. */
static void gather_bytes(const struct value *u, cell *in, int channels, uint8_t *bytes) {
  for (int c = 0; c < channels; c++)
    for (int y = 0; y < u->rows; y++)
      for (int f = 0; f < u->frames; f++)
        *bytes++ = BYTE(in, u, c, y, f);
}

static int32_t unit(const struct whole_dense *s, const uint8_t *bytes, int inputs, int n) {
  const int8_t *weight = s->weight + (long)n * inputs;
  int32_t total = 0;
  for (int i = 0; i < inputs; i++)
    total += bytes[i] * weight[i];
  return total + s->bias[n];
}

static void dense_whole(const struct whole_dense *s, const struct value *u, cell *in, const struct value *v, cell *out,
                        float *numbers, uint8_t *bytes) {
  const int inputs = s->channels * u->rows * u->frames;
  gather_bytes(u, in, s->channels, bytes);
  for (int n = 0; n < s->units; n++) {
    const int32_t total = unit(s, bytes, inputs, n);
    if (out)
      BYTE(out, v, n, 0, 0) = (uint8_t)limited(rescaled(total, s->to + n) + s->zero, s->low, s->high);
    else {
      const float x = (float)total * s->scale[n];
      numbers[n * v->channel + v->first] = x < s->least ? s->least : x > s->most ? s->most : x;
    }
  }
}
