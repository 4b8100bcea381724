struct convolution {
  const float *weight; /* filter after filter, channel after channel, row after row */
  const float *bias;
  int groups, tall, wide, down, across, apart_rows, apart_frames, top, left;
  struct activation then;
};

/* Sums are added up in the order of the other target: where values are rounded to bytes, the last bit may decide. */

/* What one filter finds at one position, activated; what lies outside the value is zero. */
static float at(const struct convolution *s, const struct value *u, const float *in, const float *weight, int channels,
                float sum, int y, int x) {
  const int row = y * s->down - s->top, frame = x * s->across - s->left;
  for (int c = 0; c < channels; c++, in += u->channel)
    for (int i = 0; i < s->tall; i++, weight += s->wide) {
      const int r = row + i * s->apart_rows;
      if (r < 0 || r >= u->rows)
        continue;
      for (int k = 0; k < s->wide; k++) {
        const int f = frame + k * s->apart_frames;
        if (f >= 0 && f < u->frames)
          sum += in[r * u->row + f] * weight[k];
      }
    }
  activate(&sum, 1, &s->then);
  return sum;
}

/* Each number of the result is the largest, or the mean, of a window of what the filter finds: of one, without pooling. */
static void convolve(const struct convolution *s, const struct value *u, const float *in, const struct pooling *p,
                     const struct value *v, float *out) {
  const int channels = u->channels / s->groups, filters = v->channels / s->groups;
  const long taps = (long)channels * s->tall * s->wide;
  for (int n = 0; n < v->channels; n++) {
    const float *from = in + n / filters * channels * u->channel + u->first;
    for (int y = 0; y < v->rows; y++)
      for (int x = 0; x < v->frames; x++) {
        float found = 0.0f, part[8];
        for (int k = 0; k < p->wide; k++) {
          float column = 0.0f;
          for (int i = 0; i < p->high; i++) {
            const float one = at(s, u, from, s->weight + n * taps, channels, s->bias[n], y * p->down + i, x * p->across + k);
            column = i == 0 ? one : p->largest ? (column < one ? one : column) : column + one;
          }
          if (p->largest || p->wide < 16 || k >= p->wide / 8 * 8) {
            found = k == 0 ? column : p->largest ? (found < column ? column : found) : found + column;
            continue;
          }
          part[k % 8] = k < 8 ? column : part[k % 8] + column; /* as in gathered() */
          if (k == p->wide / 8 * 8 - 1) {
            found = part[0];
            for (int j = 1; j < 8; j++)
              found += part[j];
          }
        }
        out[n * v->channel + v->first + y * v->row + x] = p->largest ? found : found * (1.0f / (float)(p->high * p->wide));
      }
  }
}
