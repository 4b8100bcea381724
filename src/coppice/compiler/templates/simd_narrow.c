/* Numbers as bytes, those of four channels in a cell. Rows are equally long, and so those of a channel are one line. */
static void narrow(const struct value *u, const float *in, float steps, int zero, const struct value *v, cell *out) {
  const long numbers = (v->rows - 1) * v->row + v->frames;
  const float shift = (float)zero + 0.5f;
  for (int c = 0; c < v->channels; c++)
    for (long i = 0; i < numbers; i += LANES) {
      const int channels = u->channels - 4 * c < 4 ? u->channels - 4 * c : 4;
      lanes all = {0};
      for (int k = 0; k < channels; k++) {
        const vector x = LOAD(in + (4 * c + k) * u->channel + u->first + i) * steps + shift;
        const lanes byte = __builtin_convertvector(clipped(x, 0.0f, 255.5f), lanes);
        all |= (lanes)((unsigned_lanes)byte << 8 * k);
      }
      cell *to = out + c * v->channel + v->first + i;
      if (i + LANES <= numbers)
        STORE_LANES(to, all);
      else
        for (int k = 0; i + k < numbers; k++)
          to[k] = (cell)all[k];
    }
}
