/* Put the bytes of four neighbouring frames of a single channel side by side; beyond the last one there is nothing. */
static void fold(const cell *in, long cells, cell *out) {
  for (long i = 0; i < cells - 3; i++)
    out[i] = (in[i] & 255u) | (in[i + 1] & 255u) << 8 | (in[i + 2] & 255u) << 16 | (in[i + 3] & 255u) << 24;
  for (long i = cells > 3 ? cells - 3 : 0; i < cells; i++) {
    out[i] = 0;
    for (int k = 0; k < 4 && i + k < cells; k++)
      out[i] |= (in[i + k] & 255u) << 8 * k;
  }
}
