/* out = one + other, or one * other; the other may have one number for each channel. */
static void combine(int multiply, const struct value *s, const float *one, const struct value *t, const float *other,
                    const struct activation *then, const struct value *v, float *out) {
  for (int c = 0; c < v->channels; c++)
    for (int y = 0; y < v->rows; y++) {
      const float *a = one + c * s->channel + s->first + y * s->row;
      const float *b = other + c * t->channel + t->first + (t->rows == v->rows ? y * t->row : 0);
      float *to = out + c * v->channel + v->first + y * v->row;
      if (t->frames != v->frames || t->rows != v->rows) {
        const float same = *b;
        for (int x = 0; x < v->frames; x++)
          to[x] = multiply ? a[x] * same : a[x] + same;
      } else if (multiply) {
        for (int x = 0; x < v->frames; x++)
          to[x] = a[x] * b[x];
      } else {
        for (int x = 0; x < v->frames; x++)
          to[x] = a[x] + b[x];
      }
      activate(to, v->frames, then);
    }
}
