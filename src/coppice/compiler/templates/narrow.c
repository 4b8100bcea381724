static void narrow(const struct value *u, const float *in, float steps, int zero, const struct value *v, cell *out) {
  for (int c = 0; c < u->channels; c++)
    for (int y = 0; y < u->rows; y++)
      for (int f = 0; f < u->frames; f++)
        BYTE(out, v, c, y, f) = narrowed(in[c * u->channel + u->first + y * u->row + f], steps, zero, 0, 255);
}
