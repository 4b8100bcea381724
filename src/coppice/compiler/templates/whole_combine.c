/* out = one + other, or one * other, of bytes; the other may have one for each channel. */
static void combine_whole(int multiply, const struct value *s, const cell *one, float step, int zero,
                          const struct value *t, const cell *other, float other_step, int other_zero,
                          const struct activation *then, float steps, int zero_out, const struct value *v, cell *out) {
  const int single = t->frames != v->frames || t->rows != v->rows;
  for (int c = 0; c < v->channels; c++)
    for (int y = 0; y < v->rows; y++)
      for (int x = 0; x < v->frames; x++) {
        const float a = step * (float)(BYTE(one, s, c, y, x) - zero);
        const float b = other_step * (float)(BYTE(other, t, c, single ? 0 : y, single ? 0 : x) - other_zero);
        float found = multiply ? a * b : a + b;
        activate(&found, 1, then);
        BYTE(out, v, c, y, x) = narrowed(found, steps, zero_out, 0, 255);
      }
}
