/* out = one + other, or one * other, of bytes, those of four channels in a cell; the other may have one for each channel. */
static void combine_whole(int multiply, const struct value *s, const cell *one, float step, int zero,
                          const struct value *t, const cell *other, float other_step, int other_zero,
                          const struct activation *then, float steps, int zero_out, const struct value *v, cell *out) {
  const int single = t->frames != v->frames || t->rows != v->rows;
  const long numbers = (v->rows - 1) * v->row + v->frames;
  const float shift = (float)zero_out + 0.5f;
  for (int c = 0; c < v->channels; c++)
    for (long i = 0; i < numbers; i += LANES) {
      const lanes a = LOAD_LANES(one + c * s->channel + s->first + i);
      const cell *from = other + c * t->channel + t->first;
      const lanes b = single ? (lanes){0} + (int32_t)*from : LOAD_LANES(from + i);
      lanes all = {0};
      for (int k = 0; k < 4; k++) {
        const vector x = step * __builtin_convertvector((a >> 8 * k & 255) - zero, vector);
        const vector y = other_step * __builtin_convertvector((b >> 8 * k & 255) - other_zero, vector);
        const vector found = activated(multiply ? x * y : x + y, then) * steps + shift;
        const lanes byte = __builtin_convertvector(clipped(found, 0.0f, 255.5f), lanes);
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
