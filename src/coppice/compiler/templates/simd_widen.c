/* Bytes as numbers, line by line as well. */
static void widen(const struct value *u, const cell *in, float step, int zero, const struct value *v, float *out) {
  const long numbers = (v->rows - 1) * v->row + v->frames;
  for (int c = 0; c < v->channels; c++)
    for (long i = 0; i < numbers; i += LANES) {
      const lanes byte = LOAD_LANES(in + c / 4 * u->channel + u->first + i) >> 8 * (c % 4) & 255;
      const vector found = step * __builtin_convertvector(byte - zero, vector);
      float *to = out + c * v->channel + v->first + i;
      if (i + LANES <= numbers)
        STORE(to, found);
      else
        for (int k = 0; i + k < numbers; k++)
          to[k] = found[k];
    }
}
