static void fill(const struct value *v, float *out, float number) {
  for (int c = 0; c < v->channels; c++)
    for (int y = 0; y < v->rows; y++)
      for (int x = 0; x < v->frames; x++)
        out[c * v->channel + v->first + y * v->row + x] = number;
}
