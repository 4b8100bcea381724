/* Means of windows of bytes, for as many channels at once as a cell has bytes: `numbers` holds these as numbers. */
static void mean_whole(const struct pooling *p, const struct value *u, cell *in, float step, int zero, int channels,
                       float steps, int zero_out, const struct value *v, cell *out, float *numbers) {
  const int side = (int)sizeof(cell);
  struct value from = *u, to = *v;
  for (int c = 0; c < channels; c += side) {
    const int plane = c / side;
    from.channels = to.channels = channels - c < side ? channels - c : side;
    float *const made = numbers + side * u->channel;
    widen(u, in + plane * u->channel, step, zero, &from, numbers);
    pool_value(p, &from, numbers, &to, made, made + side * v->channel);
    struct value bytes = *v;
    bytes.channels = 1;
    narrow(&to, made, steps, zero_out, &bytes, out + plane * v->channel);
  }
}
