struct whole_convolution {
  const int8_t *weight; /* filter after filter, channel after channel, row after row */
  const int32_t *bias;
  const struct rescaling *to;
  const float *scale; /* what a sum of 1 means */
  float steps;
  int zero_in, zero, low, high;
  int groups, tall, wide, down, across, apart_rows, apart_frames, top, left;
  struct activation then;
};

/* What one filter finds at one position; outside the value lie bytes that mean 0. What those add is off the bias. */
static int32_t total_at(const struct whole_convolution *s, const struct value *u, const cell *in, const int8_t *weight,
                        int channels, int y, int x) {
  const int row = y * s->down - s->top, frame = x * s->across - s->left;
  int32_t total = 0;
  for (int c = 0; c < channels; c++, in += u->channel)
    for (int i = 0; i < s->tall; i++, weight += s->wide) {
      const int r = row + i * s->apart_rows, outside = r < 0 || r >= u->rows;
      if (outside && s->zero_in == 0)
        continue;
      for (int k = 0; k < s->wide; k++) {
        const int f = frame + k * s->apart_frames;
        total += (outside || f < 0 || f >= u->frames ? s->zero_in : in[r * u->row + f]) * weight[k];
      }
    }
  return total;
}

/* Each byte of the result is the largest of a window of what the filter finds: of one, without pooling. */
static void convolve_whole(const struct whole_convolution *s, const struct value *u, const cell *in,
                           const struct pooling *p, const struct value *v, cell *out) {
  const int channels = u->channels / s->groups, filters = v->channels / s->groups;
  const long taps = (long)channels * s->tall * s->wide;
  for (int n = 0; n < v->channels; n++) {
    const cell *from = in + n / filters * channels * u->channel + u->first;
    for (int y = 0; y < v->rows; y++)
      for (int x = 0; x < v->frames; x++) {
        int best = 0;
        for (int i = 0; i < p->high; i++)
          for (int k = 0; k < p->wide; k++) {
            const int32_t total = s->bias[n] + total_at(s, u, from, s->weight + n * taps, channels, y * p->down + i,
                                                        x * p->across + k);
            int found;
            if (s->then.kind == CLIP)
              found = limited(rescaled(total, s->to + n) + s->zero, s->low, s->high);
            else {
              float one = (float)total * s->scale[n];
              activate(&one, 1, &s->then);
              found = narrowed(one, s->steps, s->zero, s->low, s->high);
            }
            best = found > best ? found : best;
          }
        out[n * v->channel + v->first + y * v->row + x] = (cell)best;
      }
  }
}
