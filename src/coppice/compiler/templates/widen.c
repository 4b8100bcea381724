static void widen(const struct value *u, cell *in, float step, int zero, const struct value *v, float *out) {
  for (int c = 0; c < v->channels; c++)
    for (int y = 0; y < v->rows; y++)
      for (int f = 0; f < v->frames; f++)
        out[c * v->channel + v->first + y * v->row + f] = step * (float)(BYTE(in, u, c, y, f) - zero);
}
