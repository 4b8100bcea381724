/* Copy a value whose channels, rows and frames are `channel`, `row` and `frame` apart in what is read. */
static void permute(const float *in, long channel, long row, long frame, const struct value *v, float *out) {
  for (int c = 0; c < v->channels; c++)
    for (int y = 0; y < v->rows; y++)
      for (int x = 0; x < v->frames; x++)
        out[c * v->channel + v->first + y * v->row + x] = in[c * channel + y * row + x * frame];
}
